"""A panel for TextBoost: LoRA's scale, tokens for transformations, and checkpoints.

It draws a prompt with the new word and, beside it, the same prompt with the class word,
while the same LoRA is attached: what was learned should be in the first and not in the
second. Below is how far the second prompt's text states have drifted.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from diffusers import StableDiffusionPipeline
from matplotlib.figure import Figure
from torch.nn import functional as F

from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError
from perso_lite.figures.textboost import pictures_over_drift
from perso_lite.method import state_of
from perso_lite.methods.textboost.augmentation import OTHER_PLACES, PLACES
from perso_lite.methods.textboost.textboost import TextBoost
from perso_lite.sampling import generate, inference_parameters
from perso_lite.teaching.panel import Panel, choice, slider, text_box

SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
NO_TOKEN = "none"
Sampling = tuple[int, float]  # denoising steps, guidance scale


def text_lora_explorer(
    base: StableDiffusionPipeline,
    checkpoints: Mapping[str, TextBoost],
    prompt: str | None = None,
    seeds: Sequence[int] = range(4),
    scales: Sequence[float] = SCALES,
    num_inference_steps: int = 10,
    guidance_scale: float = 4.0,
) -> Panel:
    """Vary what is drawn of a text encoder's LoRA, and what the prompt says.

    Args:
        base: the pipeline, without the concept.
        checkpoints: the same concept, learned in one or several ways, by the name of
            the way; further training is noticed. Their own parameters do not change.
        prompt: the start value; default: a photo of the concept on a beach.
        seeds: stops of the slider.
        scales: stops of the slider of `lora_scale`, which starts at 1.
        num_inference_steps: denoising steps; few, for a preview (ours: 10).
        guidance_scale: of classifier-free guidance (ours: 4).

    Raises:
        PersoError: there is no checkpoint, they are of several concepts, or the first
            picture cannot be generated, for example because one is still attached.
    """
    words = {(m.placeholder_token, m.class_word) for m in checkpoints.values()}
    if len(words) != 1:
        raise PersoError(
            f"The checkpoints are of {len(words)} concepts "
            f"({', '.join(sorted(word for word, _ in words)) or 'none'}), but one "
            "prompt is drawn with all of them: give checkpoints of one concept."
        )
    ((word, _),) = words
    tokens = dict.fromkeys(
        t for m in checkpoints.values() for t in m.augmentation_tokens
    )
    return Panel(
        partial(
            draw_text_lora, base, checkpoints, (num_inference_steps, guidance_scale)
        ),
        depends_on=lambda: tuple(map(state_of, checkpoints.values())),
        prompt=text_box(prompt or f"a photo of a {word} on a beach"),
        checkpoint=choice(list(checkpoints)),
        lora_scale=slider(scales, 1.0),
        token=choice([NO_TOKEN, *tokens]),
        seed=slider(seeds),
    )


def draw_text_lora(
    base: StableDiffusionPipeline,
    checkpoints: Mapping[str, TextBoost],
    sampling: Sampling,
    prompt: str,
    checkpoint: str,
    lora_scale: float,
    token: str,
    seed: int,
) -> Figure:
    """The prompt, the same with the class word, and the drift of the latter.

    Args:
        base: the pipeline, without the concept.
        checkpoints: by name; their own parameters do not change.
        sampling: denoising steps and guidance scale.
        prompt: says the concept's word.
        checkpoint: a key of `checkpoints`.
        lora_scale: 0 is the base's text encoder with the word.
        token: the name of a transformation whose token the first prompt says, too, as
            in training; or "none".
        seed: of the noise that both pictures start from.

    Raises:
        PersoError: the scale is no number, the checkpoint has no tokens, it cannot be
            attached, or the prompt is so long that its word would be cut off.
    """
    method = checkpoints[checkpoint]
    plain = prompt.replace(method.placeholder_token, method.class_word)
    if token != NO_TOKEN:
        prompt = with_token(method, prompt, token)
    (before,) = encode_prompts(base, [plain]).detach()  # (tokens, dim)
    with inference_parameters(method, lora_scale=lora_scale), method.attach(base):
        (now,) = encode_prompts(base, [plain]).detach()
        pictures = generate(base, [prompt, plain], (seed,), *sampling)
    drift = 1 - F.cosine_similarity(now.float(), before.float(), dim=-1)
    return pictures_over_drift(pictures, [prompt, plain], drift.clamp(min=0).cpu())


def with_token(method: TextBoost, prompt: str, name: str) -> str:
    """A prompt that says a transformation's token where training does.

    Raises:
        PersoError: the method has no such token.
    """
    if name not in method.augmentation_tokens:
        raise PersoError(
            f'This concept has no token for "{name}"; it has: '
            f"{', '.join(method.augmentation_tokens) or 'none'}."
        )
    place = PLACES.get(name, OTHER_PLACES)[0]
    return method.transformations.caption(prompt, [(name, place)])
