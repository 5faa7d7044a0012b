"""The figure of the panel of people: a picture, and the coefficients it is drawn from.

`teaching/method_panels/celeb_basis.py` redraws it whenever a control changes.
"""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from perso_lite.figures.style import (
    BLUE,
    GRAY,
    PINK,
    SMALL,
    draw_picture,
    entitle,
    hide_spines,
)

WIDEST = 3.4  # deviations that the charts reach at least


def person_figure(
    picture: Image.Image,
    caption: str,
    coefficients: Tensor,
    start: Tensor,
    moved: Tensor,
    title: str,
) -> Figure:
    """Draw a picture and, beside it, the first coefficients of both slots.

    All three tensors are (2, shown), of the same directions.

    Args:
        picture: shown at the left.
        caption: shown above the picture.
        coefficients: as drawn, in standard deviations of the names.
        start: the same before anything was moved; marked where it differs.
        moved: what the sliders add; pink where it is not 0.
        title: the finding of the figure; see `finding`.
    """
    figure = Figure(figsize=(8.2, 3.9), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3.6, 4.6))
    draw_picture(left.subplots(), picture, caption)
    charts = right.subplots(2, 1, sharex=True, sharey=True)
    values = [each.numpy() for each in (coefficients, start, moved)]
    for slot, axis in enumerate(charts):
        _draw_slot(axis, *(value[slot] for value in values))
        axis.set_title(f"slot {slot + 1}: deviations along each direction", **SMALL)
    most = 1.1 * max(np.abs(values[0]).max(), np.abs(values[1]).max())
    charts[0].set_ylim(-max(WIDEST, most), max(WIDEST, most))
    charts[1].set_xlabel("direction", fontsize=9)
    right.legend(
        handles=_explained(), loc="outside lower center", ncols=4, fontsize=8,
        frameon=False, handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip
    entitle(figure, title)
    return figure


def _draw_slot(
    axis: Axes, coefficients: np.ndarray, start: np.ndarray, moved: np.ndarray
) -> None:
    """Bars of one slot's coefficients (shown,), and lines where they started."""
    directions = np.arange(1, len(coefficients) + 1)
    axis.axhspan(-1, 1, color="0.94", zorder=0)
    axis.axhline(0, color=GRAY, linewidth=0.8)
    colors = [PINK if changed else BLUE for changed in moved != 0]
    axis.bar(directions, coefficients, 0.7, color=colors)
    other = ~np.isclose(start, coefficients, atol=1e-5)
    ends = directions[other] - 0.4, directions[other] + 0.4
    axis.hlines(start[other], *ends, color="k", linewidth=1.2)
    axis.set_xticks(directions)
    axis.tick_params(labelsize=8, length=2)
    hide_spines(axis)


def _explained() -> list[Artist]:
    """What the colors and the black line mean."""
    return [
        Patch(color=PINK, label="moved by a slider"),
        Patch(color=BLUE, label="not moved"),
        Line2D([], [], color="k", linewidth=1.2, label="the start"),
        Patch(color="0.9", label="within one deviation"),
    ]


def finding(nearest: tuple[str, float] | None, names: int, distance: float) -> str:
    """Say in two lines whom a person resembles, and how far from the mean it is.

    Args:
        nearest: the nearest name and its cosine; None: the mean person.
        names: how many there are to choose from.
        distance: from the mean, 1 where half of the names are nearer.
    """
    if nearest is None:
        return (
            f"The mean person, in the middle of {names} names:\nall coefficients are 0"
        )
    name, cosine = nearest
    where = f"{distance:.2f} times as far from the mean as half of the names"
    return f"The nearest of {names} names is {name}: cosine {cosine:.2f};\n{where}"
