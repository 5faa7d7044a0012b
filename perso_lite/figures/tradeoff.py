"""Trade-off curves of subject fidelity against prompt fidelity."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from perso_lite.evaluation.tradeoff import Place
from perso_lite.figures.style import legend_beside


def show_tradeoff(
    curves: Mapping[str, Sequence[Place]],
    marks: Mapping[str, Place],
    *,
    title: str,
    labels: Mapping[str, Sequence[str]] | None = None,
    size: tuple[float, float] = (7.5, 3.8),
) -> Figure:
    """Draw one curve per method, and single points.

    Args:
        curves: points by curve name, in the order of an inference parameter or of the
            training steps.
        marks: single points by name, in black.
        title: the finding of the figure.
        labels: for some curves, one label per point.
        size: width and height in inches.
    """
    figure, axis = plt.subplots(figsize=size)
    for name, places in curves.items():
        (line,) = axis.plot(*zip(*places, strict=True), "o-", label=name, markersize=5)
        texts = (labels or {}).get(name, [""] * len(places))
        for place, text in zip(places, texts, strict=True):
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
    legend_beside(axis)
    return figure
