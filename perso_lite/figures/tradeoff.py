"""Trade-off curves of subject fidelity against prompt fidelity."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perso_lite.evaluation.tradeoff import (
    FIDELITIES,
    Interval,
    Place,
    Results,
    curves_of,
    interval,
    place_of,
)
from perso_lite.figures.style import legend_beside, new_figure


def show_tradeoff(
    curves: Mapping[str, Sequence[Place]],
    marks: Mapping[str, Place],
    *,
    title: str,
    labels: Mapping[str, Sequence[str]] | None = None,
    crosses: Mapping[str, tuple[Interval, Interval]] | None = None,
    xlabel: str = "subject fidelity (instance similarity)",
    ylabel: str = "prompt fidelity (prompt accuracy)",
    size: tuple[float, float] = (9, 4.2),
) -> Figure:
    """Draw one curve per method, and single points.

    Args:
        curves: points by curve name, in the order of an inference parameter or of the
            training steps.
        marks: single points by name, in black.
        title: the finding of the figure.
        labels: for some curves, one label per point.
        crosses: for some curves, the intervals of one point, horizontal and vertical.
        xlabel: of the horizontal axis.
        ylabel: of the vertical axis.
        size: width and height in inches.
    """
    figure, axis = new_figure(figsize=size)
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
        if name in (crosses or {}):
            _draw_cross(axis, *crosses[name], line.get_color())
    for (name, place), marker in zip(marks.items(), "s*^vDX", strict=False):
        axis.plot(*place, f"k{marker}", label=name, markersize=8)
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel)
    legend_beside(axis)
    return figure


def show_methods(
    results: Results,
    *,
    title: str,
    scores: tuple[str, str] = FIDELITIES,
    crosses_at: Mapping[str, str] | None = None,
    leave_out: Sequence[str] = (),
    **options: str | tuple[float, float],
) -> Figure:
    """Draw the measured curves of all methods between class prior and oracle.

    A number marks where a curve begins. Each curve has one point with the intervals of
    both scores.

    Args:
        results: from `load_results`.
        title: the finding of the figure.
        scores: of the horizontal and the vertical axis (ours: "instance", "prompt").
        crosses_at: by curve, the point with the intervals; default: the last one.
        leave_out: names of curves not to draw.
        options: `xlabel`, `ylabel` and `size` of `show_tradeoff`.

    Raises:
        PersoError: a point has no such score.
    """
    curves = {n: points for n, points in curves_of(results).items()
              if n not in leave_out}  # fmt: skip
    crossed = {n: points[-1] for n, points in curves.items()} | dict(crosses_at or {})
    return show_tradeoff(
        {n: [place_of(results, p, scores) for p in ps] for n, ps in curves.items()},
        {end: place_of(results, end, scores) for end in ("class prior", "oracle")},
        title=title,
        labels={
            name: [points[0].rpartition(" ")[2], *[""] * (len(points) - 1)]
            for name, points in curves.items()
        },
        crosses={
            name: tuple(interval(results, point, score) for score in scores)
            for name, point in crossed.items()
        },
        **options,
    )


def _draw_cross(axis: Axes, x: Interval, y: Interval, color: str) -> None:
    """The intervals of a point's two scores: (mean, low, high) each."""
    spans = [[[mean - low], [high - mean]] for mean, low, high in (x, y)]
    style = {"color": color, "alpha": 0.45, "linewidth": 1.5, "fmt": "none"}
    axis.errorbar(x[0], y[0], xerr=spans[0], yerr=spans[1], **style)
