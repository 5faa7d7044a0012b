"""The idea of P, P+ and P* in pictures: how many vectors a word has, and why."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from perso_lite.figures.charts import show_flow
from perso_lite.figures.style import entitle, new_figure

SPACES = {  # whether a word's vector varies over time and over layers
    "P, Textual Inversion": (False, False),
    "P+, XTI": (False, True),
    "P*, NeTI": (True, True),
}


def show_spaces(steps: int, layers: int, title: str) -> Figure:
    """Each space as a grid of drawing steps and layers, a color for each vector.

    Args:
        steps: denoising steps.
        layers: cross-attention layers.
        title: the finding of the figure.
    """
    figure, axes = new_figure(1, 3, figsize=(8, 3), sharey=True)
    for axis, (name, (over_time, over_layers)) in zip(
        axes, SPACES.items(), strict=True
    ):
        axis.pcolormesh(
            _tints(steps, layers, over_time, over_layers), edgecolors="w", linewidth=0.6
        )
        count = (steps if over_time else 1) * (layers if over_layers else 1)
        axis.set_title(f"{name}: {count}", fontsize=10, fontweight="normal")
        axis.set(xlabel="drawing step", xticks=[0.5, steps - 0.5])
        axis.set_xticklabels(["first", "last"])
    axes[0].set(ylabel="layer, in order of calls", yticks=[0.5, layers - 0.5])
    axes[0].set_yticklabels(["0", f"{layers - 1}"])
    entitle(figure, title)
    return figure


def _tints(steps: int, layers: int, over_time: bool, over_layers: bool) -> Tensor:
    """A color for each layer and step, (layers, steps, 3) in [0, 1]."""
    layer = torch.linspace(0, 1, layers)[:, None] * over_layers
    step = torch.linspace(0, 1, steps)[None] * over_time
    red, green = 1 - 0.75 * layer + 0 * step, 0.45 + 0.4 * step + 0 * layer
    return torch.stack([red, green, 0.6 + 0.35 * layer - 0.35 * step], dim=-1)


def show_mapper(title: str) -> Figure:
    """From timestep and layer to keys and values, as a flow chart."""
    boxes = {
        "point": (0, 0.5, "timestep $t$\nlayer $l$"),
        "features": (1.75, 0.5, "2048 Fourier\nfeatures $e(t, l)$"),
        "anchors": (3.65, 0.5, "similarity to\n160 anchors"),
        "hidden": (5.5, 0.5, "128 hidden\nunits $h$"),
        "word": (7, 1, "word"),
        "bypass": (7, 0, "bypass"),
        "text": (8.45, 1, "text encoder\n(frozen)"),
        "keys": (10.1, 1, "keys"),
        "values": (10.1, 0, "values"),
    }
    arrows = [
        ("point", "features"), ("features", "anchors"), ("anchors", "hidden"),
        ("hidden", "word"), ("hidden", "bypass"), ("word", "text"), ("text", "keys"),
        ("text", "values"), ("bypass", "values"),
    ]  # fmt: skip
    learned = dict.fromkeys(("anchors", "hidden", "word", "bypass"), "pink")
    colors = {"text": "0.9"} | learned
    return show_flow(boxes, arrows, title=title, colors=colors, size=(9.5, 2.2))


def show_gradients(
    between_times: Tensor, between_layers: Tensor, times: Sequence[int], *, title: str
) -> Figure:
    """Cosines of a word's gradients between timesteps, and between layers.

    Args:
        between_times: (times, times).
        between_layers: (layers, layers).
        times: the timesteps.
        title: the finding of the figure.
    """
    figure, axes = new_figure(1, 2, figsize=(8, 3.3))
    cosines = {"timestep": between_times, "layer": between_layers}
    for axis, (name, table) in zip(axes, cosines.items(), strict=True):
        image = axis.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set(xlabel=name, ylabel=name)
    ticks = {"xticklabels": times, "yticklabels": times}
    axes[0].set(xticks=range(len(times)), yticks=range(len(times)), **ticks)
    figure.colorbar(image, ax=axes, label="cosine of the gradients")
    entitle(figure, title)
    return figure
