"""The figure of the panel of Celeb Basis: a person, and where among names they are."""

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from perso_lite.figures.style import BLUE, GRAY, PINK, SMALL, draw_picture, entitle

SHOWN = 10  # directions of each slot
WORDS = ("first word", "last word")


def person_figure(
    picture: Image.Image,
    deviations: Tensor,
    moved: Tensor,
    nearest: tuple[str, float],
    distance: float,
) -> Figure:
    """A picture, and the first coefficients of both slots beside it.

    Args:
        picture: of the person.
        deviations: the coefficients, divided by those of the names along each
            direction, (2, components).
        moved: which of them a slider moved, (2, components).
        nearest: the name whose coefficients point most nearly there, and the cosine.
        distance: from the mean, 1: as half of the names.
    """
    figure = Figure(figsize=(8.2, 3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 5))
    draw_picture(left.subplots(), picture, "")
    axes = right.subplots(2, 1, sharex=True, sharey=True)
    count = min(SHOWN, deviations.shape[1])
    for axis, word, heights, by_slider in zip(
        axes, WORDS, deviations, moved, strict=True
    ):
        colors = [PINK if m else BLUE for m in by_slider[:count].tolist()]
        axis.bar(range(1, count + 1), heights[:count].tolist(), color=colors)
        axis.axhline(0, color=GRAY, linewidth=0.8)
        axis.set_title(f"{word}: coefficients in deviations of the names", **SMALL)
        axis.set_xticks(range(1, count + 1))
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, -2), max(high, 2))
    axes[1].set_xlabel("principal direction (pink: moved by a slider)")
    name, cosine = nearest
    where = f"{distance:.1f} times as far from the mean as half of the names"
    if distance < 1e-3:
        entitle(figure, "The mean person, whom no name is")
    else:
        entitle(figure, f"{where}; nearest: {name} ({cosine:.2f})")
    return figure
