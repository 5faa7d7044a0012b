"""Panels ready to use: where words look, a training step by step, a prompt box, gates.

Each is a plain function that draws a picture, with controls for its arguments. Panels
of your own are made the same way:

    Panel(draw, beta=slider([0, 0.5, 1]), word=choice(["teddy", "hat"]))
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from diffusers import StableDiffusionPipeline
from matplotlib.figure import Figure
from PIL import Image

from perso_lite.attention.maps import AttentionMaps
from perso_lite.conditioning.cross_attention import Layers
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

# -- where words look ------------------------------------------------------------------


def attention_explorer(
    maps: AttentionMaps, picture: Image.Image, word: str | None = None
) -> Panel:
    """See where each word of a prompt looks, by layer and step.

    Args:
        maps: from `record_attention(pipe, keep_steps=True)`; its first picture is used.
        picture: the picture that was drawn.
        word: to start with; default: the first one of more than two letters.

    Raises:
        PersoError: nothing was recorded, its prompt is not known, or steps were not
            kept.
    """
    maps.tokens(steps=0)  # says what is missing if steps were not kept
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
    """The picture, and beside it the same with one word's share of attention over it.

    Args:
        maps: recorded while it was drawn.
        picture: the first that was recorded.
        word: of its prompt.
        layers: a key of `layer_choices`.
        step: from 0, or "all".
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
    """Layers to choose from, by names to show: all, by map size, one by one."""
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
    """Go back and forth through a training that was drawn from now and then.

    Args:
        steps: after how many steps pictures were drawn, in ascending order.
        pictures: what was drawn each time, as many each time.
        losses: of every step.

    Raises:
        PersoError: steps and pictures are not as many.
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
    """Pictures drawn after a step, and the losses with the step marked.

    Args:
        pictures: any number, at the left.
        losses: of every step of the training; a running mean is drawn over them.
        step: how many were done.
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
    """Type a prompt, see a quick picture.

    Args:
        base: the pipeline.
        methods: concepts to attach while drawing, as they are at that moment.
        prompt: to start with; default: a photo of the first concept, or of a teddy.
        placeholder: shown while the box is empty.
        seeds: to choose from.
        guidance_scales: to choose from; starts at 5 if it is there.
        num_inference_steps: few, for a preview (ours: 12).
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
    """One picture, enlarged, with what it was made of beside it."""
    with attached(base, *methods):
        (picture,) = generate(
            base, prompt, (seed,), num_inference_steps, guidance_scale
        )
    label = f'"{prompt}", seed {seed}, guidance {guidance_scale:g}'
    return contact_sheet([SheetRow(label, [picture])], cell=256, label_width=180)
