"""A panel to type a prompt and see a quick picture; which words a base never read."""

import re
from collections.abc import Sequence
from functools import partial

from diffusers import StableDiffusionPipeline
from PIL import Image

from perso_lite.figures.pictures import SheetRow, contact_sheet
from perso_lite.method import Method, attached, state_of
from perso_lite.sampling import generate
from perso_lite.teaching.panel import Panel, slider, text_box
from perso_lite.world.captions import vocabulary


def prompt_box(
    base: StableDiffusionPipeline,
    *methods: Method,
    prompt: str | None = None,
    placeholder: str = "what should be in the picture?",
    seeds: Sequence[int] = range(8),
    guidance_scales: Sequence[float] = (1, 2, 3, 5, 8, 12),
    num_inference_steps: int = 12,
) -> Panel:
    """Type a prompt and see a quick picture.

    Args:
        base: the pipeline.
        methods: concepts to attach while generating; further training is noticed.
        prompt: the start value; default: a photo of the first concept, or of a teddy.
        placeholder: shown while the prompt box is empty.
        seeds: stops of the slider.
        guidance_scales: stops of the slider, which starts at 5 if that is a stop.
        num_inference_steps: denoising steps; few, for a preview (ours: 12).

    Raises:
        PersoError: the first picture cannot be generated, for example because two
            concepts have the same placeholder.
    """
    if prompt is None:
        word = methods[0].placeholder_token if methods else "teddy"
        prompt = f"a photo of a {word}"
    start = 5 if 5 in guidance_scales else None
    return Panel(
        partial(draw_prompt, base, methods, num_inference_steps=num_inference_steps),
        depends_on=lambda: tuple(state_of(method) for method in methods),
        prompt=text_box(prompt, placeholder),
        seed=slider(seeds),
        guidance_scale=slider(guidance_scales, start),
    )


def draw_prompt(
    base: StableDiffusionPipeline,
    methods: Sequence[Method],
    prompt: str,
    seed: int,
    guidance_scale: float,
    num_inference_steps: int = 12,
) -> Image.Image:
    """One enlarged picture, labeled with its prompt, seed and guidance scale.

    If the base learned from captions of the toy world, the label also names words of
    the prompt that it never read.

    Args:
        base: the pipeline.
        methods: concepts to attach while generating.
        prompt: the prompt.
        seed: of the noise that the picture starts from.
        guidance_scale: of classifier-free guidance.
        num_inference_steps: denoising steps.

    Raises:
        PersoError: two concepts have the same placeholder, or the prompt is so long
            that a learned word in it would be cut off.
    """
    with attached(base, *methods):
        (picture,) = generate(
            base, prompt, (seed,), num_inference_steps, guidance_scale
        )
        remark = remark_on_words(base, prompt)
    label = f'"{prompt}", seed {seed}, guidance {guidance_scale:g}'
    label += f" ({remark})" if remark else ""
    return contact_sheet([SheetRow(label, [picture])], cell=256, label_width=180)


# -- words that a base never read ------------------------------------------------------


def remark_on_words(base: StableDiffusionPipeline, prompt: str) -> str:
    """A remark for a label if a prompt has words that the base never read; else ""."""
    words = [f'"{word}"' for word in unknown_words(base, prompt)]
    if not words:
        return ""
    are_no = "is no word" if len(words) == 1 else "are no words"
    return f"{' and '.join(words)} {are_no} of this base"


def unknown_words(base: StableDiffusionPipeline, prompt: str) -> list[str]:
    """The words of a prompt that a base of the toy world never read, each once.

    Such a base, as the shipped one, has every word of the world as one token, even the
    invented names. Of any other base nothing is said.

    Args:
        base: the pipeline; the words of attached concepts are known.
        prompt: the prompt; the case of its letters does not matter.
    """
    tokens, world = base.tokenizer.get_vocab(), set(vocabulary())
    if not all(f"{word}</w>" in tokens for word in world):
        return []
    words = re.findall(r"<[^\s<>]+>|[^\W\d_]+(?:'[^\W\d_]+)?", prompt.lower())
    known = world | {token for token in tokens if token[0] == "<"}
    return [word for word in dict.fromkeys(words) if word not in known]
