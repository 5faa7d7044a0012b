"""The trade-off between subject fidelity and prompt fidelity: the shipped results.

Subject fidelity is the instance score (similarity to the concept), prompt fidelity the
prompt accuracy (the share of the prompt that is shown). `load_results` reads what
`python -m perso_lite evaluate tradeoff` measured with eight toys. The rest finds the
points that are not dominated, and the area that a curve encloses. figures/tradeoff.py
draws it.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from perso_lite.errors import PersoError, shortened
from perso_lite.evaluation.bootstrap import bootstrap_interval
from perso_lite.files import DATA_FOLDER
from perso_lite.files.reading import read_json

RESULTS = DATA_FOLDER / "results" / "tradeoff.json"

Results = dict[str, dict[str, list[Tensor]]]  # point -> score -> (values,) per toy
Place = tuple[float, float]  # two scores: of subject fidelity, of prompt fidelity
Interval = tuple[float, float, float]  # mean, and the ends of its 95 % interval
FIDELITIES = ("instance", "prompt")  # ours, by judges that know the world's toys
CLIP_FIDELITIES = ("clip_image", "clip_text")  # those of the papers' figures


def load_results(path: str | Path = RESULTS) -> Results:
    """The measured points: by point and score, one tensor (values,) per toy.

    Raises:
        PersoError: there is no such file, or it is damaged.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise PersoError(
            f"There is no {path}; `python -m perso_lite evaluate tradeoff` measures it."
        )
    points = read_json(path, dict)
    try:
        return {
            point: {name: [torch.tensor(v) for v in toys] for name, toys in of.items()}
            for point, of in points.items()
        }
    except (AttributeError, TypeError, ValueError, RuntimeError) as reason:
        raise PersoError(
            f"{path} does not hold lists of scores ({shortened(reason)}). Measure "
            "again with `python -m perso_lite evaluate tradeoff`."
        ) from reason


def interval(
    results: Results, point: str, score: str, over: str | None = None
) -> Interval:
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


def place_of(
    results: Results, point: str, scores: tuple[str, str] = FIDELITIES
) -> Place:
    """A point's means of two scores: by default instance score and prompt accuracy.

    Raises:
        PersoError: there is no such point or score.
    """
    x, y = (torch.cat(_values(results, point, score)).mean() for score in scores)
    return x.item(), y.item()


def curves_of(results: Results) -> dict[str, list[str]]:
    """The points that differ in one number, by the rest of their names, in order.

    The number is an inference parameter or a number of training steps: "perfusion local
    0.65" is a point of the curve "perfusion local".
    """
    curves: dict[str, list[str]] = {}
    for point in results:
        name, _, setting = point.rpartition(" ")
        if setting.replace(".", "").isdigit():
            curves.setdefault(name.replace("_", " "), []).append(point)
    return curves


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
