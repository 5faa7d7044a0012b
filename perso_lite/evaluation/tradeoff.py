"""The trade-off between subject fidelity and prompt fidelity: the shipped results.

Subject fidelity is the instance score (similarity to the concept), prompt fidelity the
prompt accuracy (the share of the prompt that is shown). `load_results` reads what
`python -m perso_lite evaluate tradeoff` measured with eight toys. The rest finds the
points that are not dominated, and the area that a curve encloses. figures/tradeoff.py
draws it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.evaluation.bootstrap import bootstrap_interval
from perso_lite.files import DATA_FOLDER

RESULTS = DATA_FOLDER / "results" / "tradeoff.json"

Results = dict[str, dict[str, list[Tensor]]]  # point -> score -> (values,) per toy
Place = tuple[float, float]  # instance score, prompt accuracy


def load_results(path: str | Path = RESULTS) -> Results:
    """The measured points: by point and score, one tensor (values,) per toy.

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
    """Mean and 95 % interval of a score; toys are resampled first, then pictures.

    Args:
        results: from `load_results`.
        point: its name.
        score: "instance", "prompt", "clip_image", "clip_text" or "leaked".
        over: the name of another point; the interval is then of the gain over it,
            picture by picture.

    Returns:
        The mean and the ends of its interval, from `bootstrap_interval`.

    Raises:
        PersoError: there is no such point or score.
    """
    values, baseline = _values(results, point, score), 0.0
    if over is not None:
        baseline = torch.cat(_values(results, over, score))
    groups = torch.cat([torch.full((len(v),), i) for i, v in enumerate(values)])
    return bootstrap_interval(torch.cat(values) - baseline, groups=groups)


def _values(results: Results, point: str, score: str) -> list[Tensor]:
    if score not in results.get(point, {}):
        known = ", ".join(p for p, scores in results.items() if score in scores)
        raise PersoError(
            f'"{point}" has no score "{score}" in this measurement; points that have '
            f"it: {known or 'none'}."
        )
    return results[point][score]


def place_of(results: Results, point: str) -> Place:
    """A point's mean instance score and mean prompt accuracy.

    Raises:
        PersoError: there is no such point.
    """
    return tuple(
        torch.cat(_values(results, point, score)).mean().item()
        for score in ("instance", "prompt")
    )


def undominated(places: Mapping[str, Place]) -> list[str]:
    """The points that no other dominates (is at least as good in both, not equal)."""
    return [
        name
        for name, (x, y) in places.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in places.values())
    ]


def hypervolume(places: Sequence[Place], corner: Place) -> float:
    """The area between points and a corner to the left of and below them.

    Larger is better: every point that no other dominates adds to it. Points left of or
    below the corner add nothing.
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
    """The hypervolume of a curve, toy by toy: (toys,).

    Args:
        results: from `load_results`.
        points: names of the curve's points.
        corner: the area begins at the instance score of this point (ours: class prior).
        bottom: the area begins at this prompt accuracy (ours: 0.5).

    Raises:
        PersoError: there is no such point.
    """
    scores = ("instance", "prompt")
    values = {p: [_values(results, p, score) for score in scores] for p in points}
    volumes = []
    for toy, prior in enumerate(_values(results, corner, "instance")):
        places = [
            (x[toy].mean().item(), y[toy].mean().item()) for x, y in values.values()
        ]
        volumes.append(hypervolume(places, (prior.mean().item(), bottom)))
    return torch.tensor(volumes)
