"""Figures of judged metrics: where each told the truth.

They draw what `python -m perso_lite evaluate judges` measured. Each function returns a
matplotlib figure, which a cell shows if the call is its last line.
"""

from collections.abc import Callable, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perso_lite.errors import PersoError
from perso_lite.evaluation.tradeoff import Results, interval
from perso_lite.figures.style import color_bar, new_figure

CHOICE, TAU = "choice: ", "tau: "  # what the names of points begin with


def show_choices(
    results: Results, *, title: str, size: tuple[float, float] = (9.5, 4.6)
) -> Figure:
    """The share of right choices of every metric (rows) for every foil (columns).

    White is a coin, blue is better, red is worse: such a metric prefers the foil. Small
    numbers are the 95 % interval.

    Args:
        results: from `load_results`, of `evaluate judges`.
        title: the finding of the figure.
        size: width and height in inches.

    Raises:
        PersoError: the results have no choices.
    """

    def percent(share: float) -> str:
        return f"{100 * share:.0f} %"

    ends = (0.0, 1.0)
    return _draw_table(results, CHOICE, "right choices", percent, ends, title, size)


def show_taus(
    results: Results, *, title: str, size: tuple[float, float] = (6.2, 4.4)
) -> Figure:
    """Kendall's tau of every metric (rows) with the truth, for every morph (columns).

    1: always less similar the more the toy is changed. White, 0: no order.

    Args:
        results: as for `show_choices`.
        title: the finding of the figure.
        size: width and height in inches.

    Raises:
        PersoError: the results have no tau.
    """

    def decimal(tau: float) -> str:
        return f"{tau:.2f}"

    return _draw_table(results, TAU, "Kendall's tau", decimal, (-1, 1), title, size)


def _draw_table(
    results: Results,
    prefix: str,
    label: str,
    written: Callable[[float], str],
    ends: tuple[float, float],
    title: str,
    size: tuple[float, float],
) -> Figure:
    """A heat map of the points whose names begin with `prefix`, with numbers."""
    points, scores, cells = _table(results, prefix)
    means, middle = cells[..., 0], sum(ends) / 2
    figure, axis = new_figure(figsize=size, layout="constrained")
    image = axis.imshow(means, cmap="RdBu", vmin=ends[0], vmax=ends[1], aspect="auto")
    strong = np.abs(means - middle) > 0.36 * (ends[1] - ends[0])
    for (row, column), dark in np.ndenumerate(strong):
        texts = [written(value) for value in cells[row, column]]
        _write(axis, (column, row), texts, "w" if dark else "k")
    axis.set_yticks(range(len(scores)), scores)
    names = [fill(point.removeprefix(prefix), 16) for point in points]
    axis.set_xticks(range(len(points)), names, fontsize=8)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title(title)
    color_bar(image, axis).set_label(label)
    return figure


def _table(results: Results, prefix: str) -> tuple[list[str], list[str], np.ndarray]:
    """Points that begin with `prefix`, their scores, intervals (scores, points, 3)."""
    points = [point for point in results if point.startswith(prefix)]
    if not points:
        raise PersoError(
            f'No point begins with "{prefix}"; `python -m perso_lite evaluate judges` '
            "measures such points."
        )
    scores = list(results[points[0]])
    cells = [[interval(results, point, score) for point in points] for score in scores]
    return points, scores, np.array(cells)


def _write(axis: Axes, at: tuple[int, int], texts: Sequence[str], color: str) -> None:
    """A mean in a cell, and its interval in small letters below."""
    x, y = at
    mean, low, high = texts
    style = {"ha": "center", "color": color}
    axis.text(x, y, mean, va="bottom", fontsize=10, **style)
    span = f"{low.removesuffix(' %')} to {high}"
    axis.text(x, y + 0.06, span, va="top", fontsize=7, **style)
