"""Curves of subject fidelity against prompt fidelity."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from perso_lite.evaluation.tradeoff import Place


def show_tradeoff(
    curves: Mapping[str, Sequence[Place]],
    marks: Mapping[str, Place],
    *,
    title: str,
    labels: Mapping[str, Sequence[str]] | None = None,
    size: tuple[float, float] = (7.5, 3.8),
) -> Figure:
    """Draw curves, one for each method, and single points.

    Args:
        curves: by name, places in the order of a dial or of the training.
        marks: single places by name, in black.
        title: what is to be seen.
        labels: for some curves, what to write beside each of their places.
        size: width and height in inches.
    """
    figure, axis = plt.subplots(figsize=size)
    for name, places in curves.items():
        (line,) = axis.plot(*zip(*places, strict=True), "o-", label=name, markersize=5)
        said = (labels or {}).get(name, [""] * len(places))
        for place, text in zip(places, said, strict=True):
            axis.annotate(
                text,
                place,
                (4, 4),
                textcoords="offset points",
                fontsize=7,
                color=line.get_color(),
            )
    for (name, place), marker in zip(marks.items(), "s*^vDX", strict=False):
        axis.plot(*place, f"k{marker}", label=name, markersize=8)
    axis.set(title=title, xlabel="like the concept", ylabel="like the prompt")
    axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
