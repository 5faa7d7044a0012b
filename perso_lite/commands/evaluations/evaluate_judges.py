"""Judge the judges: do metrics know which of two pictures is nearer to a toy.

`python -m perso_lite evaluate judges` paints new toys, of which no judge has seen one.
Each metric chooses between the toy in a new scene and a foil, in 2000 triplets with six
kinds of foils. Then a toy becomes another in nine steps, and Kendall's tau says how
well each metric orders the steps. Nothing is learned or generated, so neither base nor
method matters.

`judges.json` has the form that `load_results` reads: points "choice: <kind>" and "tau:
<kind>", in each the metrics, in each one list of values for each of the 16 classes.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.commands.options import LARGEST_SEED, Parser, whole
from perso_lite.evaluation.judges import Judges, load_judges
from perso_lite.evaluation.judging import (
    Description,
    choices,
    kendall_tau,
    metrics,
    nearness,
)
from perso_lite.evaluation.trials import MORPHS, Trial, choice_trials, morph_trials
from perso_lite.files.reading import read_json
from perso_lite.files.writing import check_writable, write_atomically
from perso_lite.world.toys import TOYS

TOGETHER = 8  # trials that are painted at once
Points = dict[str, dict[str, list[list[float]]]]  # point -> metric -> values by class


def judged(
    trials: Iterable[Trial],
    judges: Judges,
    described: Mapping[str, Description],
    found: Callable[[Trial, Tensor], dict[str, float]],
) -> Points:
    """The values of all metrics in all trials.

    Args:
        trials: to judge.
        judges: find the masks of candidates.
        described: the metrics by name.
        found: makes values, by point, of a trial and its nearness (candidates,).
    """
    points: Points = {}
    for part in batches(trials):
        scores = nearness(part, judges, described)
        for trial, by_metric in zip(part, scores, strict=True):
            row = list(TOYS).index(trial.toy.class_word)
            for metric, near in by_metric.items():
                for point, value in found(trial, near).items():
                    of_point = points.setdefault(point, {})
                    lists = of_point.setdefault(metric, [[] for _ in TOYS])
                    lists[row].append(round(value, 4))
    return points


def batches(trials: Iterable[Trial]) -> Iterator[list[Trial]]:
    """Trials, some at a time, with a bar of progress."""
    waiting = list(trials)
    for start in tqdm(range(0, len(waiting), TOGETHER)):
        yield waiting[start : start + TOGETHER]


def choices_of(trial: Trial, near: Tensor) -> dict[str, float]:
    """Whether the toy is nearer than each foil, by point."""
    foils = [f"choice: {kind}" for kind in list(trial.candidates)[1:]]
    return dict(zip(foils, choices(near).tolist(), strict=True))


def tau_of(kind: str, trial: Trial, near: Tensor) -> dict[str, float]:
    """How well a metric orders a morph, by point."""
    return {f"tau: {kind}": kendall_tau(near, -trial.distances())}


def measured(
    options: argparse.Namespace, judges: Judges, described: Mapping[str, Description]
) -> Points:
    """All points: choices in triplets, then tau of morphs of each kind.

    Each part is a file in `options.out`, so an interrupted run can continue.
    """
    count, seed = options.morphs, options.seed
    parts = {
        f"choices-{options.triplets}-{seed}": (
            choice_trials(options.triplets, seed),
            choices_of,
        )
    }
    for kind in MORPHS:
        name = f"{kind.replace(' ', '-')}-{count}-{seed}"
        parts[name] = (morph_trials(count, kind, seed), partial(tau_of, kind))
    points: Points = {}
    for name, (trials, found) in parts.items():
        path = options.out / f"{name}.json"
        if not os.path.exists(path):
            part = judged(trials, judges, described, found)
            write_atomically(path, json.dumps(part).encode())
        points |= read_json(path, dict)
    return points


def main(argv: list[str] | None = None) -> None:
    """Run `evaluate judges`."""
    p = Parser("python -m perso_lite evaluate judges", None, __doc__)
    p.add_argument("--triplets", type=whole(1), default=2000)
    p.add_argument("--morphs", type=whole(1), default=64, help="toys that are morphed")
    p.add_argument("--seed", type=whole(0, LARGEST_SEED), default=0)
    p.add_argument("--out", type=Path, default=Path("evaluation/judges"))
    options = p.parse_args(argv)
    check_writable(options.out / "judges.json")
    judges = load_judges()
    text = json.dumps(measured(options, judges, metrics(judges))) + "\n"
    write_atomically(options.out / "judges.json", text.encode())
