"""Charts of the kinds that notebooks need most often, each in one call.

Each function returns a matplotlib figure; a cell ends with `plt.show()`. The title
states the finding, so write it first.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.figures.style import entitle, legend_beside, new_figure

Interval = tuple[float, float, float]  # mean, lower end, upper end


def show_bars(
    series: Mapping[str, Sequence[float] | Tensor],
    ticks: Sequence[str],
    *,
    title: str,
    ylabel: str = "",
    size: tuple[float, float] = (6.5, 2.6),
) -> Figure:
    """Groups of bars, one color per series.

    Args:
        series: one value per tick, by the name of the series.
        ticks: labels below the groups.
        title: the finding of the figure.
        ylabel: what the values are.
        size: width and height in inches.

    Raises:
        PersoError: the number of values in a series differs from that of the ticks.
    """
    for name, values in series.items():
        if len(values) != len(ticks):
            raise PersoError(
                f"{name!r} has {len(values)} values for {len(ticks)} ticks: give one "
                "value for each tick."
            )
    figure, axis = new_figure(figsize=size)
    width = 0.8 / len(series)
    for i, (name, values) in enumerate(series.items()):
        middle = np.arange(len(ticks)) + width * (i - (len(series) - 1) / 2)
        axis.bar(middle, np.asarray(values), 0.92 * width, label=name)
    axis.set_xticks(range(len(ticks)), ticks)
    axis.set(title=title, ylabel=ylabel)
    if len(series) > 1:
        legend_beside(axis)
    return figure


def show_intervals(
    intervals: Mapping[str, Interval],
    *,
    title: str,
    xlabel: str,
    reference: tuple[str, float] | None = None,
    size: tuple[float, float] = (6.5, 2.4),
) -> Figure:
    """Horizontal bars with confidence intervals.

    Args:
        intervals: mean, lower and upper end by name, as from `bootstrap_interval`.
        title: the finding of the figure.
        xlabel: what the values are.
        reference: a name and a value, drawn as a dotted line.
        size: width and height in inches.
    """
    figure, axis = new_figure(figsize=size)
    for name, (mean, low, high) in intervals.items():
        axis.barh(name, mean, xerr=[[mean - low], [high - mean]], capsize=3)
    axis.invert_yaxis()  # the first one on top
    axis.set(title=title, xlabel=xlabel)
    if reference:
        axis.axvline(reference[1], color="gray", linestyle=":", label=reference[0])
        legend_beside(axis)
    return figure


def show_lines(
    x: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float] | Tensor]],
    *,
    title: str,
    xlabel: str,
    ylabel: str = "",
    size: tuple[float, float] = (7.5, 2.8),
) -> Figure:
    """Lines over a shared x axis, in one panel or several side by side.

    Args:
        x: positions of the values on the x axis.
        panels: for each panel title the lines by name, one value per x.
        title: the finding of the figure.
        xlabel: what x is.
        ylabel: what the values are.
        size: width and height of the whole figure in inches.
    """
    figure, axes = new_figure(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for axis, (name, lines) in zip(axes[0], panels.items(), strict=True):
        for label, values in lines.items():
            axis.plot(x, np.asarray(values), marker="o", markersize=4, label=label)
        axis.set_xlabel(xlabel)
        axis.set_title(name, fontsize=10, fontweight="normal")
    axes[0, 0].set_ylabel(ylabel)
    legend_beside(axes[0, -1])
    entitle(figure, title)
    return figure


def show_matrix(
    values: Tensor,
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    title: str,
    label: str,
    ylabel: str = "",
    size: tuple[float, float] = (7.5, 2.4),
) -> Figure:
    """A heat map of numbers (rows, columns).

    Args:
        values: not negative, (rows, columns).
        rows: labels at the left.
        columns: labels below.
        title: the finding of the figure.
        label: what the values are.
        ylabel: what the rows are.
        size: width and height in inches.
    """
    figure, axis = new_figure(figsize=size)
    image = axis.imshow(np.asarray(values), cmap="viridis", vmin=0, aspect="auto")
    axis.set_xticks(range(len(columns)), columns, fontsize=7)
    axis.set_yticks(range(len(rows)), rows)
    axis.set(title=title, ylabel=ylabel)
    figure.colorbar(image, label=label)
    return figure


def show_flow(
    boxes: Mapping[str, tuple[float, float, str]],
    arrows: Sequence[tuple[str, str]],
    *,
    title: str,
    colors: Mapping[str, str] | None = None,
    size: tuple[float, float] = (7.5, 2.2),
) -> Figure:
    """A flow chart: boxes with text in them, and arrows between the boxes.

    Args:
        boxes: x and y of the center, and the text, by the name of the box.
        arrows: names of the boxes that each arrow starts from and points to.
        title: the finding of the figure.
        colors: colors of boxes by name; other boxes are white.
        size: width and height in inches.

    Raises:
        PersoError: an arrow starts from or points to an unknown box.
    """
    figure, axis = new_figure(figsize=size)
    patches = {}
    for name, (x, y, words) in boxes.items():
        box = {"boxstyle": "round,pad=0.4", "facecolor": (colors or {}).get(name, "w")}
        text = axis.text(x, y, words, ha="center", va="center", fontsize=9, bbox=box)
        patches[name] = text.get_bbox_patch()
    for ends in arrows:
        if not patches.keys() >= set(ends):
            raise PersoError(
                f"There is no box for an arrow from {ends[0]!r} to {ends[1]!r}: give "
                f"names of boxes, {', '.join(boxes)}."
            )
        start, end = (boxes[name][:2] for name in ends)
        clipped = dict(zip(("patchA", "patchB"), map(patches.get, ends), strict=True))
        arrow = {"arrowstyle": "->", "shrinkA": 2, "shrinkB": 2} | clipped
        axis.annotate("", end, start, arrowprops=arrow)
    xs, ys, _ = zip(*boxes.values(), strict=True)
    axis.set_xlim(min(xs) - 0.8, max(xs) + 0.8)
    axis.set_ylim(min(ys) - 0.4, max(ys) + 0.4)
    axis.axis("off")
    axis.set_title(title)
    return figure
