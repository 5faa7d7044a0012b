"""Figures of mixes: every ordered pair of methods, and three concepts in one picture.

Each function returns a matplotlib figure, which a cell shows if the call is its last
line. The title states the finding.
"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from perso_lite.evaluation.mix import (
    LOST,
    MIXED,
    RIGHT,
    SIDES,
    WEAK,
    point_of,
    side_of_mix,
    verdict_of_mix,
)
from perso_lite.evaluation.tradeoff import Results
from perso_lite.figures.style import SMALL, draw_picture, entitle, new_figure

FRAMES = {RIGHT: "#5aa02c", WEAK: "#e08214", LOST: "#c23b22"}  # by verdict
CELL, SMALL_CELL = 1.45, 0.9  # inches, with and without pictures


def show_mix(
    results: Results, pictures: Mapping[str, Image.Image], *, title: str
) -> Figure:
    """All ordered pairs: rows are the left concept's methods, columns the right one's.

    Above each picture are the similarities of its two sides to their own concepts; its
    frame has the color of the verdict.

    Args:
        results: from `load_mix`; the cell of a pair that was not measured is empty.
        pictures: one of each pair, by its name (`point_of`); without one, the cell has
            the color of the verdict.
        title: the finding of the figure.
    """
    count = len(MIXED)
    cell = CELL if pictures else SMALL_CELL
    size = (count * cell + 0.6, count * (cell + 0.25) + 0.7)
    figure, axes = new_figure(count, count, figsize=size, squeeze=False)
    for left, row in zip(MIXED, axes, strict=True):
        for right, axis in zip(MIXED, row, strict=True):
            axis.set(xticks=[], yticks=[])
            if point_of(left, right) in results:
                picture = pictures.get(point_of(left, right))
                _draw_pair(axis, results, left, right, picture)
        row[0].set_ylabel(left.replace("_", "\n"), fontsize=9, fontweight="bold")
    for right, axis in zip(MIXED, axes[-1], strict=True):
        axis.set_xlabel(right.replace("_", "\n"), fontsize=9, fontweight="bold")
    entitle(figure, title)
    return figure


def _draw_pair(
    axis: Axes, results: Results, left: str, right: str, picture: Image.Image | None
) -> None:
    """One cell: the picture, two numbers and the frame."""
    sides = [side_of_mix(results, left, right, side) for side in SIDES]
    if picture is not None:
        axis.imshow(picture, interpolation="antialiased")
    frame = FRAMES[verdict_of_mix(results, left, right)]
    axis.set_facecolor((frame, 0.35))
    axis.set_title(" | ".join(f"{side.own[0]:.2f}" for side in sides), pad=4, **SMALL)
    axis.set_box_aspect(1)
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color(frame)
        spine.set_linewidth(3)


def show_three(
    concepts: Mapping[str, Image.Image],
    rows: Mapping[str, Sequence[Image.Image]],
    *,
    title: str,
) -> Figure:
    """Three concepts, and pictures that should show all of them.

    Args:
        concepts: a training picture of each, by its name; they are the first row.
        rows: pictures by what drew them, for example "neti, perfusion, catversion".
        title: the finding of the figure.
    """
    columns = max(len(concepts), *(len(row) for row in rows.values()))
    size = (columns * 1.7, (1 + len(rows)) * 2.0 + 0.4)
    figure, axes = new_figure(1 + len(rows), columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, picture) in zip(axes[0], concepts.items(), strict=False):
        draw_picture(axis, picture, name)
    for row, (name, pictures) in zip(axes[1:], rows.items(), strict=True):
        for axis, picture in zip(row, pictures, strict=False):
            draw_picture(axis, picture, "")
        row[0].set_title(name, fontsize=9, loc="left")
    entitle(figure, title)
    return figure
