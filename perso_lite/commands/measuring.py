"""What the measurements of methods share: toy by toy, in parts that can continue.

A *point* is a method at one setting; it has scores, one value for each picture.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline
from tqdm.auto import tqdm

from perso_lite.base import load_base
from perso_lite.commands.options import Parser, measuring_parser
from perso_lite.concepts import Concept, load_concept
from perso_lite.errors import PersoError
from perso_lite.evaluation.judges import Judges, load_judges
from perso_lite.evaluation.prompts import toys
from perso_lite.evaluation.scores import ConceptScores
from perso_lite.files.reading import read_json
from perso_lite.files.writing import check_writable, write_atomically
from perso_lite.method import Method

Point = tuple[str, list[Method]]  # its name in the results, and the attached methods
Scores = dict[str, dict[str, list[float]]]  # point -> score -> values
Part = Callable[[StableDiffusionPipeline, Judges, Concept, argparse.Namespace], Scores]


def parser(
    command: str,
    description: str,
    groups: Iterable[str],
    kind: str = "the eight shipped toys",
) -> Parser:
    """The command line of `python -m perso_lite evaluate <command>`."""
    p = measuring_parser(command, description, f"evaluation/{command}")
    p.add_argument("--concepts", nargs="+", help=f"default: {kind}")
    p.add_argument("--groups", nargs="+", default=list(groups), choices=list(groups))
    return p


def scores_as_json(scores: ConceptScores) -> dict[str, list[float]]:
    """The scores of a point, by their names in the results."""
    values = {
        "instance": scores.instance_masked,
        "prompt": scores.prompt_accuracy,
        "clip_image": scores.clip_image_masked,
        "clip_text": scores.clip_text,
    }
    # JSON has no NaN, the score of a prompt that requests nothing
    return {name: v[~v.isnan()].tolist() for name, v in values.items()}


def measure(
    options: argparse.Namespace,
    groups: Mapping[str, Any],
    result: str,
    of_concept: Callable[..., Scores],
    everything: list[str] | None = None,
    load: Callable[[str], Concept] = load_concept,
) -> None:
    """Measure all toys; one JSON file per part, so an interrupted run can continue.

    The groups that are measured for all toys are gathered in `result`. `of_concept` is
    given base, judges, concept, group and options. For others than toys, give their
    names and how one is loaded.
    """
    everything = toys() if everything is None else everything
    names = options.concepts or everything
    for name in names:
        load(name)  # refused now, and not after hours
    check_writable(options.out / result)
    base, judges = load_base(options.base), load_judges()
    for group in options.groups:
        for name in tqdm(names, desc=group):
            path = options.out / f"{name}-{group}.json"
            if not os.path.exists(path):
                concept = load(name)
                points = of_concept(base, judges, concept, groups[group], options)
                write_atomically(path, json.dumps(points).encode())
    complete = [
        group
        for group in groups
        if all(os.path.exists(options.out / f"{n}-{group}.json") for n in everything)
    ]
    text = gathered(options.out, complete, everything)
    write_atomically(options.out / result, text.encode())


def measured_part(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    part: Part,
    options: argparse.Namespace,
) -> Scores:
    """The scores of one concept at one part, for measurements whose groups are `Part`s.

    Given as `of_concept` to `measure`.
    """
    return part(base, judges, concept, options)


def gathered(
    folder: Path, groups: Iterable[str], names: list[str] | None = None
) -> str:
    """All parts in one JSON text: point -> score -> one list of values per toy."""
    results: dict[str, dict[str, list[list[float]]]] = {}
    for group in groups:
        for name in toys() if names is None else names:
            for point, scores in read_scores(folder / f"{name}-{group}.json").items():
                for score, values in scores.items():
                    of_point = results.setdefault(point, {}).setdefault(score, [])
                    of_point.append([round(value, 4) for value in values])
    return json.dumps(results) + "\n"


def read_scores(path: Path) -> dict[str, dict[str, list[float]]]:
    """The part that was measured of one toy: point -> score -> values.

    Raises:
        PersoError: there is none, or it is damaged.
    """
    part = read_json(path, dict)
    points = [s for s in part.values() if isinstance(s, dict)]
    values = [v for scores in points for v in scores.values()]
    lists = [v for v in values if isinstance(v, list)]
    numbers = all(isinstance(v, float | int) for values in lists for v in values)
    if len(points) < len(part) or len(lists) < len(values) or not numbers:
        raise PersoError(
            f"{path} does not hold scores of these measurements. Remove it, and the "
            "same command measures that part again."
        )
    return part
