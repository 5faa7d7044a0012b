"""Panels ready to use: attention maps, training steps, a prompt box, gates, truncation.

Each combines a plain function that draws a picture with controls for its arguments.
Make your own panels in the same way:

    Panel(draw, beta=slider([0, 0.5, 1]), word=choice(["teddy", "hat"]))
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from diffusers import StableDiffusionPipeline
from matplotlib.figure import Figure
from PIL import Image

from perso_lite.attention.layers import Layers
from perso_lite.attention.maps import AttentionMaps
from perso_lite.errors import PersoError
from perso_lite.figures.pictures import SheetRow, contact_sheet, heat_over
from perso_lite.method import Method, attached, state_of
from perso_lite.sampling import generate
from perso_lite.teaching.neti_panels import truncation_explorer
from perso_lite.teaching.panel import Panel, choice, slider, text_box
from perso_lite.teaching.perfusion_panels import gate_explorer, two_gates

__all__ = [
    "Panel",
    "attention_explorer",
    "choice",
    "gate_explorer",
    "prompt_box",
    "slider",
    "text_box",
    "training_scrubber",
    "truncation_explorer",
    "two_gates",
]

# -- attention -------------------------------------------------------------------------


def attention_explorer(
    maps: AttentionMaps, picture: Image.Image, word: str | None = None
) -> Panel:
    """Show the attention map of each word of a prompt, by layer and denoising step.

    Args:
        maps: from `record_attention(pipe, keep_steps=True)`; its first picture is used.
        picture: the picture generated while recording.
        word: the start value; default: the first word of more than two letters.

    Raises:
        PersoError: nothing was recorded, its prompt is not known, or steps were not
            kept.
    """
    maps.tokens(steps=0)  # raises if steps were not kept
    words = maps.words()
    word = word or next((w for w in words if len(w) > 2), words[0])
    return Panel(
        partial(draw_attention, maps, picture),
        word=choice(words, word),
        layers=choice(list(layer_choices(maps))),
        step=slider(["all", *range(maps.steps())]),
    )


def draw_attention(
    maps: AttentionMaps, picture: Image.Image, word: str, layers: str, step: int | str
) -> Image.Image:
    """A picture, and beside it the same picture with one word's attention map over it.

    Args:
        maps: recorded while the picture was generated.
        picture: the first picture of the recording.
        word: a word of the prompt.
        layers: a key of `layer_choices`.
        step: a denoising step from 0, or "all" for the mean of all steps.

    Raises:
        PersoError: nothing was recorded, the word is not in the prompt, the prompt is
            not known, or steps were not kept.
    """
    steps = None if step == "all" else step
    heat = maps.word(word, layers=layer_choices(maps)[layers], steps=steps)
    where = layers if layers.startswith("layer ") else f"{layers} layers"
    when = "mean of all steps" if step == "all" else f"step {step}"
    row = SheetRow(
        "",
        [picture, heat_over(picture, heat, size=256)],
        ["the picture", f"brightest: {heat.max():.0%} of a pixel's attention"],
    )
    title = f'where "{word}" looks: {where}, {when}'
    return contact_sheet([row], title, cell=256, label_width=6)


def layer_choices(maps: AttentionMaps) -> dict[str, Layers]:
    """Selections of layers by label: all layers, those of one map size, single ones."""
    size = maps.tokens().shape[-2:]
    rows = {layer.position: layer.size(*size)[0] for layer in maps.layers}
    by_size = {f"{n} px": n for n in sorted(set(rows.values()), reverse=True)}
    single = {
        f"layer {layer.position} ({layer.side}, {rows[layer.position]} px)": [
            layer.position
        ]
        for layer in maps.layers
    }
    return {"all": None, **by_size, **single}


# -- training --------------------------------------------------------------------------


def training_scrubber(
    steps: Sequence[int],
    pictures: Sequence[Sequence[Image.Image]],
    losses: Sequence[float],
) -> Panel:
    """Show the pictures generated at some steps of a training, and its losses.

    Args:
        steps: numbers of training steps, in ascending order.
        pictures: the pictures generated after each of these steps, the same number of
            pictures per step.
        losses: one loss per step of the training.

    Raises:
        PersoError: `steps` and `pictures` differ in length, or both are empty.
    """
    if len(steps) != len(pictures) or not len(steps):
        raise PersoError(
            f"{len(steps)} steps and {len(pictures)} sets of pictures were given, but "
            "every step needs its own set. Give a list of pictures for each step."
        )
    by_step = dict(zip(steps, pictures, strict=True))
    return Panel(
        lambda step: draw_training(by_step[step], losses, step),
        step=slider(steps, steps[-1]),
    )


def draw_training(
    pictures: Sequence[Image.Image], losses: Sequence[float], step: int
) -> Figure:
    """Draw pictures at the left, and the losses with one training step marked.

    Args:
        pictures: generated after `step` steps.
        losses: one loss per step of the training; their running mean is drawn too.
        step: the number of training steps to mark.
    """
    figure = Figure(figsize=(7.6, 3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 4.6))
    columns = math.ceil(math.sqrt(len(pictures)))
    grid = left.subplots(math.ceil(len(pictures) / columns), columns, squeeze=False)
    for axis in grid.flat:
        axis.axis("off")
    for axis, picture in zip(grid.flat, pictures, strict=False):
        axis.imshow(picture, interpolation="nearest")
    window = max(1, len(losses) // 10)
    mean = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    middles = np.arange(len(mean)) + (window + 1) / 2
    axis = right.subplots()
    axis.plot(range(1, len(losses) + 1), losses, ".", color="0.75", label="each step")
    axis.plot(middles, mean, label=f"mean of {window} steps")
    axis.axvline(step, color="firebrick", label=f"after {step} steps")
    axis.set(xlabel="training step", ylabel="loss", ylim=(0, None))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize="small")
    return figure


# -- prompts ---------------------------------------------------------------------------


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
    label = f'"{prompt}", seed {seed}, guidance {guidance_scale:g}'
    return contact_sheet([SheetRow(label, [picture])], cell=256, label_width=180)
