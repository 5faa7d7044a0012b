"""What the figures share: colors, titles, legends, color bars and axes."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from PIL import Image

if TYPE_CHECKING:  # imports diffusers, which charts and pictures do not need
    from perso_lite.conditioning.cross_attention import CrossAttentionLayer

STYLE = {  # matplotlib's settings in every notebook (`setup`)
    "figure.figsize": (6.25, 3.75),  # inches: 600 x 360 pixels
    "figure.dpi": 96,
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",  # a title is a finding, so it is long
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
}
FOR_FILES = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")  # no windows
BLUE, PINK, GRAY = "#2878b5", "#d6277f", "0.55"
SMALL = {"fontsize": 9, "fontweight": "normal", "loc": "center"}  # title of one chart


def new_figure(
    rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, np.ndarray | Axes]:
    """A figure and its axes; matplotlib keeps it only if it can show it.

    A notebook or a window shows what is open and closes it. Elsewhere, in a script that
    draws into files, every figure would stay in memory.

    Args:
        rows: of charts.
        columns: of charts.
        options: of `matplotlib.pyplot.subplots`.
    """
    figure, axes = plt.subplots(rows, columns, **options)
    if matplotlib.get_backend().lower() in FOR_FILES:
        plt.close(figure)
    return figure, axes


def entitle(figure: Figure, title: str) -> None:
    """Set a bold title at the left, above all charts of a figure."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")


def hide_spines(axis: Axes) -> None:
    """Remove the top and the right line of a chart's frame."""
    axis.spines[["top", "right"]].set_visible(False)


def legend_beside(axis: Axes) -> None:
    """Add a legend at the right of a chart, where it covers no data."""
    axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))


def draw_picture(axis: Axes, picture: Image.Image, caption: str) -> None:
    """Show a picture with a caption above it, without axes."""
    axis.imshow(picture, interpolation="antialiased")
    axis.set_title(caption, **SMALL)
    axis.axis("off")


def color_bar(
    drawn: ScalarMappable, axes: Axes | np.ndarray, ticks: Sequence[float] | None = None
) -> Colorbar:
    """Add a color bar without a frame at the right of one or several charts."""
    near = axes if isinstance(axes, Axes) else axes.flat[0]
    bar = near.figure.colorbar(drawn, ax=axes, pad=0.02, ticks=ticks)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    return bar


def mark_sides(axis: Axes, layers: "Sequence[CrossAttentionLayer]") -> None:
    """Name the U-Net's sides below an x axis of layers, with white lines between."""
    sides = layers_by_side(layers)
    for positions in list(sides.values())[1:]:
        axis.axvline(positions[0] - 0.5, color="w", linewidth=1)
    axis.set_xticks([*map(fmean, sides.values())], sides)
    axis.tick_params(length=0, labelsize=8)


def layers_by_side(layers: "Sequence[CrossAttentionLayer]") -> dict[str, list[int]]:
    """The positions of the layers on each side of the U-Net: down, mid, up."""
    sides: dict[str, list[int]] = {}
    for layer in layers:
        sides.setdefault(layer.side, []).append(layer.position)
    return sides
