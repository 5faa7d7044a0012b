"""The plane of concept against prompt: the shipped measurements, and how to read them.

To the right a point is more like the concept, upwards it shows more of its prompt.
`load_front` reads what `python -m perso_lite evaluate front` measured of eight toys;
the rest says which points are beaten, how much of the plane a curve encloses, and draws
it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.files import DATA_FOLDER
from perso_lite.evaluation.bootstrap import bootstrap_interval

FRONT = DATA_FOLDER / "judges" / "front.json"

Front = dict[str, dict[str, list[Tensor]]]  # point -> score -> values of each toy
Place = tuple[float, float]  # instance score, prompt accuracy


def load_front(path: str | Path = FRONT) -> Front:
    """The measured points: for each and each score, a tensor of values for each toy.

    Raises:
        PersoError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise PersoError(
            f"There is no {path}; `python -m perso_lite evaluate front` measures it."
        )
    return {
        point: {name: [torch.tensor(v) for v in toys] for name, toys in scores.items()}
        for point, scores in json.loads(path.read_text()).items()
    }


def interval(
    front: Front, point: str, score: str, over: str | None = None
) -> tuple[float, float, float]:
    """Mean and 95 % interval of a score; toys are resampled first, pictures next.

    Args:
        front: of `load_front`.
        point: its name.
        score: "instance", "prompt", "clip_image", "clip_text" or "leaked".
        over: another point: the gain over it, picture by picture.

    Raises:
        PersoError: there is no such point or score.
    """
    values, taken = _values(front, point, score), 0.0
    if over is not None:
        taken = torch.cat(_values(front, over, score))
    groups = torch.cat([torch.full((len(v),), i) for i, v in enumerate(values)])
    return bootstrap_interval(torch.cat(values) - taken, groups=groups)


def _values(front: Front, point: str, score: str) -> list[Tensor]:
    if score not in front.get(point, {}):
        known = ", ".join(p for p, scores in front.items() if score in scores)
        raise PersoError(
            f'"{point}" has no score "{score}" in this measurement; points that have '
            f"it: {known or 'none'}."
        )
    return front[point][score]


def place_of(front: Front, point: str) -> Place:
    """Where a point lies: its mean instance score and prompt accuracy."""
    return tuple(
        torch.cat(_values(front, point, score)).mean().item()
        for score in ("instance", "prompt")
    )


def undominated(places: Mapping[str, Place]) -> list[str]:
    """The points that no other beats: none is at least as far right and as high."""
    return [
        name
        for name, (x, y) in places.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in places.values())
    ]


def hypervolume(places: Sequence[Place], corner: Place) -> float:
    """The area that points enclose with a corner to the left of and below them.

    More is better: it grows with every point that reaches beyond the others. Points
    left of or below the corner add nothing.
    """
    area, height = 0.0, corner[1]
    for x, y in sorted(places, reverse=True):  # from the right
        if x > corner[0] and y > height:
            area += (x - corner[0]) * (y - height)
            height = y
    return area


def areas(
    front: Front,
    points: Sequence[str],
    corner: str = "class prior",
    bottom: float = 0.5,
) -> Tensor:
    """The hypervolume of points, toy by toy: (toys,).

    Args:
        front: of `load_front`.
        points: of one curve.
        corner: the point whose likeness the area begins at.
        bottom: the prompt accuracy it begins at.

    Raises:
        PersoError: there is no such point.
    """
    scores = ("instance", "prompt")
    values = {p: [_values(front, p, score) for score in scores] for p in points}
    found = []
    for toy, prior in enumerate(_values(front, corner, "instance")):
        places = [
            (x[toy].mean().item(), y[toy].mean().item()) for x, y in values.values()
        ]
        found.append(hypervolume(places, (prior.mean().item(), bottom)))
    return torch.tensor(found)


def show_plane(
    curves: Mapping[str, Sequence[Place]],
    marks: Mapping[str, Place],
    *,
    title: str,
    labels: Mapping[str, Sequence[str]] | None = None,
    size: tuple[float, float] = (7.5, 3.8),
) -> Figure:
    """Draw curves, one for each method, and single points on the plane.

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
