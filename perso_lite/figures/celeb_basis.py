"""Figures of Celeb Basis: the method, names mixed, ranks, distances, face numbers.

Each function returns a matplotlib figure; a cell ends with `plt.show()`. The title
states the finding.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from perso_lite.figures.charts import Interval, show_flow
from perso_lite.figures.style import (
    BLUE,
    GRAY,
    PINK,
    SMALL,
    draw_picture,
    entitle,
    legend_beside,
    new_figure,
)

SLOT_NAMES = ("first word", "last word")
SLOT_COLORS = (BLUE, "#e08214")
CLOUD_STYLES = (  # of names, and of what is compared with them
    {"color": "0.65", "marker": ".", "s": 12}, {"color": PINK, "marker": "o", "s": 40},
    {"color": BLUE, "marker": "s", "s": 40}, {"color": "k", "marker": "^", "s": 40},
)  # fmt: skip

# -- the method ------------------------------------------------------------------------


def show_parts(title: str) -> Figure:
    """The method as a flow chart, from the photo to the prompt; pink is learned."""
    boxes = {
        "photo": (0, 1, "one photo"),
        "feature": (1.9, 1, "face network F,\nfrozen (option)"),
        "weights": (4.1, 1, "weights $h$,\n2 x p numbers"),
        "sphere": (6.1, 1, "on a sphere\n$a = r\\,\\ell\\,h / |h|$"),
        "names": (1.9, 0, "token vectors\nof the names"),
        "basis": (4.1, 0, "mean $m$ and\ndirections $B$"),
        "vectors": (6.1, 0, "two vectors\n$v = m + a B$"),
        "prompt": (8.2, 0, '"a photo of $v_1\\,v_2$\non a beach"'),
        "unet": (8.2, 1, "text encoder and\nU-Net, frozen"),
    }
    arrows = [
        ("photo", "feature"), ("feature", "weights"), ("weights", "sphere"),
        ("sphere", "vectors"), ("names", "basis"), ("basis", "vectors"),
        ("vectors", "prompt"), ("prompt", "unet"),
    ]  # fmt: skip
    colors = {"weights": "pink", "feature": "0.9", "unet": "0.9", "basis": "0.9"}
    return show_flow(boxes, arrows, title=title, colors=colors, size=(9.5, 2.3))


# -- the space of names ----------------------------------------------------------------


def show_mixture(
    pictures: Sequence[Image.Image],
    parts: Sequence[float],
    numbers: Mapping[str, Tensor],
    *,
    title: str,
) -> Figure:
    """Pictures along a line between two names, and what the judge reads in them.

    Args:
        pictures: one for each part.
        parts: how much of the second name, from 0 to 1.
        numbers: for each face number, what is read, (parts,).
        title: the finding of the figure.
    """
    figure, _ = new_figure(figsize=(9, 4.2))
    figure.clear()
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    for axis, picture, part in zip(
        above.subplots(1, len(pictures)), pictures, parts, strict=True
    ):
        draw_picture(axis, picture, f"t = {part:.1f}")
    axis = below.subplots()
    for name, values in numbers.items():
        axis.plot(parts, values.numpy(), "o-", markersize=4, label=words(name))
    axis.set(
        xlabel="part of the second name, t", ylabel="face number", ylim=(-0.05, 1.05)
    )
    legend_beside(axis)
    entitle(figure, title)
    return figure


def show_spectrum(
    deviations: Tensor,
    few: Tensor,
    agreement: Tensor,
    rank: int,
    *,
    title: str,
) -> Figure:
    """How far names spread along each direction, and where directions end.

    Args:
        deviations: of all names along each direction, (2, components).
        few: of a few names in one slot, (components,).
        agreement: of the directions of those few names, computed in two ways: the
            cosine without its sign, (components,).
        rank: how many directions the few names have.
        title: the finding of the figure.
    """
    figure, axes = new_figure(1, 3, figsize=(9.6, 2.8))
    for slot, color, name in zip(deviations, SLOT_COLORS, SLOT_NAMES, strict=True):
        axes[0].plot(slot.numpy(), color=color, label=name)
    axes[0].set_title("all names: deviation", **SMALL)
    axes[0].set(xlabel="direction", ylim=(0, None))
    axes[0].legend(frameon=False, fontsize=8)
    charts = {"few names: deviation": few, "the same in two computations": agreement}
    for axis, (name, values) in zip(axes[1:], charts.items(), strict=True):
        axis.plot(values.numpy(), ".-", color=SLOT_COLORS[0])
        axis.axvline(rank - 0.5, color=PINK, linestyle=":", label=f"rank {rank}")
        axis.set_title(name, **SMALL)
        axis.set(xlabel="direction", ylim=(-0.02 * float(values.max()), None))
    axes[2].legend(frameon=False, fontsize=8)
    entitle(figure, title)
    return figure


def show_cloud(cloud: Mapping[str, Tensor], *, title: str) -> Figure:
    """How far pairs of vectors are from the mean, inside and outside of the basis.

    Args:
        cloud: distances by the name of what has them, (points, 2 slots, 2); the last
            axis is inside and outside. The first entry are the names.
        title: the finding of the figure.
    """
    figure, axes = new_figure(1, 2, figsize=(9, 3.2), sharex=True, sharey=True)
    for slot, axis in enumerate(axes):
        for (name, points), style in zip(cloud.items(), CLOUD_STYLES, strict=False):
            inside, outside = points[:, slot].T.numpy()
            axis.scatter(inside, outside, label=name, **style)
        axis.set_title(f"the token of the {SLOT_NAMES[slot]}", **SMALL)
        axis.set_xlabel("distance from the mean, along the basis")
    axes[0].set(ylabel="outside of the basis", xlim=(0, None))
    legend_beside(axes[1])
    entitle(figure, title)
    return figure


# -- face numbers ----------------------------------------------------------------------


def show_face_numbers(
    scores: Mapping[str, Mapping[str, float | Interval]],
    *,
    title: str,
    xlabel: str,
    reference: tuple[str, float] | None = None,
) -> Figure:
    """A score of each face number, the largest on top; several are drawn side by side.

    Args:
        scores: for each series by face number a value, or its mean and interval.
        title: the finding of the figure.
        xlabel: what the values are.
        reference: a name and a value, drawn as a dotted line.
    """
    first = next(iter(scores.values()))
    order = sorted(first, key=lambda name: mean_of(first[name]))
    figure, axis = new_figure(figsize=(7.5, 0.9 + 0.22 * len(order)))
    shifts = np.linspace(0.2, -0.2, len(scores)) if len(scores) > 1 else [0.0]
    for (label, values), shift, color in zip(
        scores.items(), shifts, (PINK, BLUE, "0.3"), strict=False
    ):
        places = np.arange(len(order)) + shift
        means = [mean_of(values[name]) for name in order]
        axis.plot(means, places, "o", color=color, markersize=4, label=label)
        for place, name in zip(places, order, strict=True):
            if isinstance(values[name], tuple):
                axis.plot(values[name][1:], [place, place], color=color, linewidth=1)
    axis.set_yticks(range(len(order)), [words(name) for name in order])
    if reference:
        axis.axvline(reference[1], color=GRAY, linestyle=":", label=reference[0])
    axis.set(title=title, xlabel=xlabel)
    legend_beside(axis)
    return figure


def mean_of(value: float | Interval) -> float:
    """A number itself, or the mean of an interval."""
    return value[0] if isinstance(value, tuple) else float(value)


def words(name: str) -> str:
    """The name of a face number as it is read: "hair hue"."""
    return name.replace("_", " ")
