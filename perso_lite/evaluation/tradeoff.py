"""Subject fidelity against prompt fidelity: the shipped measurements, and their use.

Subject fidelity (the instance score) says how like the concept pictures are, prompt
fidelity (the prompt accuracy) how much of their prompt they show. `load_results` reads
what `python -m perso_lite evaluate tradeoff` measured of eight toys; the rest says
which points are dominated and how much area a curve encloses. `figures/tradeoff.py`
draws it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.files import DATA_FOLDER
from perso_lite.evaluation.bootstrap import bootstrap_interval

RESULTS = DATA_FOLDER / "results" / "tradeoff.json"

Results = dict[str, dict[str, list[Tensor]]]  # point -> score -> values of each toy
Place = tuple[float, float]  # instance score, prompt accuracy


def load_results(path: str | Path = RESULTS) -> Results:
    """The measured points: for each and each score, a tensor of values for each toy.

    Raises:
        PersoError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise PersoError(
            f"There is no {path}; `python -m perso_lite evaluate tradeoff` measures it."
        )
    return {
        point: {name: [torch.tensor(v) for v in toys] for name, toys in scores.items()}
        for point, scores in json.loads(path.read_text()).items()
    }


def interval(
    results: Results, point: str, score: str, over: str | None = None
) -> tuple[float, float, float]:
    """Mean and 95 % interval of a score; toys are resampled first, pictures next.

    Args:
        results: of `load_results`.
        point: its name.
        score: "instance", "prompt", "clip_image", "clip_text" or "leaked".
        over: another point: the gain over it, picture by picture.

    Raises:
        PersoError: there is no such point or score.
    """
    values, taken = _values(results, point, score), 0.0
    if over is not None:
        taken = torch.cat(_values(results, over, score))
    groups = torch.cat([torch.full((len(v),), i) for i, v in enumerate(values)])
    return bootstrap_interval(torch.cat(values) - taken, groups=groups)


def _values(results: Results, point: str, score: str) -> list[Tensor]:
    if score not in results.get(point, {}):
        known = ", ".join(p for p, scores in results.items() if score in scores)
        raise PersoError(
            f'"{point}" has no score "{score}" in this measurement; points that have '
            f"it: {known or 'none'}."
        )
    return results[point][score]


def place_of(results: Results, point: str) -> Place:
    """Where a point lies: its mean instance score and prompt accuracy."""
    return tuple(
        torch.cat(_values(results, point, score)).mean().item()
        for score in ("instance", "prompt")
    )


def undominated(places: Mapping[str, Place]) -> list[str]:
    """The points that no other dominates: none is at least as far right and as high."""
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
    results: Results,
    points: Sequence[str],
    corner: str = "class prior",
    bottom: float = 0.5,
) -> Tensor:
    """The hypervolume of points, toy by toy: (toys,).

    Args:
        results: of `load_results`.
        points: of one curve.
        corner: the point whose instance score the area begins at.
        bottom: the prompt accuracy it begins at.

    Raises:
        PersoError: there is no such point.
    """
    scores = ("instance", "prompt")
    values = {p: [_values(results, p, score) for score in scores] for p in points}
    found = []
    for toy, prior in enumerate(_values(results, corner, "instance")):
        places = [
            (x[toy].mean().item(), y[toy].mean().item()) for x, y in values.values()
        ]
        found.append(hypervolume(places, (prior.mean().item(), bottom)))
    return torch.tensor(found)
