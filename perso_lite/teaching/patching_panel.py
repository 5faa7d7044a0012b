"""A panel in which some layers read another prompt during some denoising steps.

Where the picture follows the other prompt shows which layers, and which steps, draw
what that prompt asks for (`attention/swap.py`).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache

from diffusers import StableDiffusionPipeline
from PIL import Image

from perso_lite.attention.layers import Layers, layers_by_label
from perso_lite.attention.swap import inject_prompts
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.figures.pictures import SheetRow, contact_sheet
from perso_lite.method import Method, attached, state_of
from perso_lite.sampling import generate
from perso_lite.teaching.panel import Panel, choice, slider, span, text_box

TAKEN = {  # from prompt B, by label
    "keys and values": {"keys": True, "values": True},
    "keys": {"keys": True, "values": False},
    "values": {"keys": False, "values": True},
}
KEPT = 8  # pictures of one prompt alone; moving layers or steps does not change them


def prompt_patching(
    base: StableDiffusionPipeline,
    prompt: str,
    other_prompt: str,
    *methods: Method,
    seeds: Sequence[int] = range(4),
    num_inference_steps: int = 12,
    guidance_scale: float = 5.0,
) -> Panel:
    """Choose layers and steps that read prompt B while prompt A is drawn.

    Args:
        base: the pipeline.
        prompt: the start value of prompt A.
        other_prompt: the start value of prompt B.
        methods: concepts to attach while generating; further training is noticed.
        seeds: stops of the slider.
        num_inference_steps: denoising steps; few, for a preview (ours: 12).
        guidance_scale: of classifier-free guidance (ours: 5).

    Raises:
        PersoError: the first pictures cannot be drawn, for example because two
            concepts have the same placeholder.
    """
    sampling = (num_inference_steps, guidance_scale)

    def state() -> tuple[str, ...]:
        return tuple(state_of(method) for method in methods)

    @lru_cache(KEPT)
    def alone(_: tuple[str, ...], text: str, seed: int) -> Image.Image:
        with attached(base, *methods):
            return generate(base, text, (seed,), *sampling)[0]

    def draw(prompt_A: str, prompt_B: str, seed: int, **patch) -> Image.Image:
        ends = [alone(state(), text, seed) for text in (prompt_A, prompt_B)]
        given = (prompt_A, prompt_B, seed)
        middle = draw_patched(base, methods, sampling, *given, **patch)
        return patching_sheet(ends[0], middle, ends[1], *given, **patch)

    return Panel(
        draw,
        depends_on=state,
        prompt_A=text_box(prompt),
        prompt_B=text_box(other_prompt),
        from_B=choice(list(TAKEN)),
        layers=choice(list(patchable_layers(base))),
        steps=span(num_inference_steps),
        seed=slider(seeds),
    )


def draw_patched(
    base: StableDiffusionPipeline,
    methods: Sequence[Method],
    sampling: tuple[int, float],
    prompt: str,
    other_prompt: str,
    seed: int,
    from_B: str,
    layers: str,
    steps: tuple[int, int],
) -> Image.Image:
    """A prompt's picture in which some layers read another prompt during some steps.

    Args:
        base: the pipeline.
        methods: concepts to attach while generating.
        sampling: denoising steps and guidance scale.
        prompt: prompt A, which is drawn.
        other_prompt: prompt B, which is read by the chosen layers.
        seed: of the noise that the picture starts from.
        from_B: a key of `TAKEN`: what is made of prompt B.
        layers: a key of `patchable_layers`.
        steps: the first step and the last one plus 1; no step if they are equal.

    Raises:
        PersoError: two concepts have the same placeholder, or a prompt is so long that
            a learned word in it would be cut off.
    """
    # PNDM calls the U-Net once more than it has steps: all are all
    when = None if steps == (0, sampling[0]) else steps
    prompts_by = {(patchable_layers(base)[layers], when): other_prompt}
    with ExitStack() as stack:
        stack.enter_context(attached(base, *methods))
        if steps[0] < steps[1]:
            patched = inject_prompts(base, prompts_by, **TAKEN[from_B])
            stack.enter_context(patched)
        return generate(base, prompt, (seed,), *sampling)[0]


def patching_sheet(
    one: Image.Image,
    patched: Image.Image,
    other: Image.Image,
    prompt: str,
    other_prompt: str,
    seed: int,
    from_B: str,
    layers: str,
    steps: tuple[int, int],
) -> Image.Image:
    """The three pictures, with what was patched above them.

    Args:
        one: of prompt A.
        patched: of A, patched with B.
        other: of prompt B.
        prompt: prompt A.
        other_prompt: prompt B.
        seed: of all three.
        from_B: as for `draw_patched`, like the rest.
        layers: label of the layers.
        steps: a range.
    """
    first, end = steps
    where = layers if layers.startswith("layer ") else f"{layers} layers"
    when = f"steps {first} to {end - 1}" if end - first > 1 else f"step {first}"
    label = f"B gives {from_B} to {where} in {when}, seed {seed}"
    if first == end:
        label = f"B gives nothing: no steps, seed {seed}"
    row = SheetRow(label, [one, patched, other], ["A", "A, patched with B", "B"])
    return contact_sheet([row], f'A "{prompt}", B "{other_prompt}"', cell=192)


def patchable_layers(base: StableDiffusionPipeline) -> dict[str, Layers]:
    """The layers that can be chosen, by label; as in the explorer of attention maps."""
    size = base.unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return layers_by_label(cross_attention_layers(base.unet), height, width)
