"""Panels ready to use.

Attention maps, training steps, a prompt box, a comparison, patched prompts, gates,
truncation, prefixes, people, a text encoder's LoRA, masks of photos.

Each combines a plain function that draws a picture with controls for its arguments.
Make your own panels in the same way:

    Panel(draw, beta=slider([0, 0.5, 1]), word=choice(["teddy", "hat"]))
"""

import math
from collections.abc import Sequence
from functools import partial
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from PIL import Image

from perso_lite.attention.layers import Layers, layers_by_label
from perso_lite.attention.maps import AttentionMaps
from perso_lite.errors import PersoError
from perso_lite.figures.pictures import SheetRow, contact_sheet, heat_over
from perso_lite.teaching.compare_panel import compare
from perso_lite.teaching.method_panels.catversion import prefix_explorer
from perso_lite.teaching.method_panels.celeb_basis import person_explorer
from perso_lite.teaching.method_panels.neti import truncation_explorer
from perso_lite.teaching.method_panels.perfusion import gate_explorer, two_gates
from perso_lite.teaching.method_panels.textboost import text_lora_explorer
from perso_lite.teaching.own_pictures.mask_panel import mask_editor
from perso_lite.teaching.panel import Panel, choice, slider, span, text_box
from perso_lite.teaching.patching_panel import prompt_patching
from perso_lite.teaching.prompt_panel import prompt_box

__all__ = [
    "Panel",
    "attention_explorer",
    "choice",
    "compare",
    "gate_explorer",
    "mask_editor",
    "person_explorer",
    "prefix_explorer",
    "prompt_box",
    "prompt_patching",
    "slider",
    "span",
    "text_box",
    "text_lora_explorer",
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
    """The layers of a recording by label; see `layers_by_label`."""
    return layers_by_label(maps.layers, *maps.tokens().shape[-2:])


# -- training --------------------------------------------------------------------------


def training_scrubber(
    steps: Sequence[int],
    pictures: Sequence[Sequence[Image.Image]],
    losses: Sequence[float],
    labels: Sequence[str] = (),
) -> Panel:
    """Show the pictures generated at some steps of a training, and its losses.

    Args:
        steps: numbers of training steps, in ascending order.
        pictures: the pictures generated after each of these steps, the same number of
            pictures per step.
        losses: one loss per step of the training.
        labels: texts below the pictures of a step, for example their prompts; there
            may be fewer than pictures.

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
        lambda step: draw_training(by_step[step], losses, step, labels),
        step=slider(steps, steps[-1]),
    )


def draw_training(
    pictures: Sequence[Image.Image],
    losses: Sequence[float],
    step: int,
    labels: Sequence[str] = (),
) -> Figure:
    """Draw pictures at the left, and the losses with one training step marked.

    Args:
        pictures: generated after `step` steps.
        losses: one loss per step of the training; their running mean is drawn too.
        step: the number of training steps to mark.
        labels: texts below the pictures; there may be fewer than pictures.
    """
    figure = Figure(figsize=(7.6, 3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 4.6))
    _draw_grid(left, pictures, labels)
    _draw_losses(right.subplots(), losses, step)
    return figure


def _draw_grid(
    figure: SubFigure, pictures: Sequence[Image.Image], labels: Sequence[str]
) -> None:
    columns = math.ceil(math.sqrt(len(pictures)))
    grid = figure.subplots(math.ceil(len(pictures) / columns), columns, squeeze=False)
    for axis in grid.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for axis, picture in zip(grid.flat, pictures, strict=False):
        axis.imshow(picture, interpolation="nearest")
    for axis, label in zip(grid.flat, labels, strict=False):
        axis.set_xlabel(fill(label, 48 // columns), fontsize=7, labelpad=2)


def _draw_losses(axis: Axes, losses: Sequence[float], step: int) -> None:
    window = max(1, len(losses) // 10)
    mean = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    middles = np.arange(len(mean)) + (window + 1) / 2
    axis.plot(range(1, len(losses) + 1), losses, ".", color="0.75", label="each step")
    axis.plot(middles, mean, label=f"mean of {window} steps")
    axis.axvline(step, color="firebrick", label=f"after {step} steps")
    axis.set(xlabel="training step", ylabel="loss", ylim=(0, None))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize="small")
