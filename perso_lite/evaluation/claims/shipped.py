"""How claims read the shipped results: most functions return an interval and an n.

An n is a number of toys, people or pairs of toys, or of rounds of a benchmark.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from perso_lite.evaluation.bootstrap import bootstrap_interval
from perso_lite.evaluation.claims.claim import Measured
from perso_lite.evaluation.tradeoff import (
    Interval,
    Results,
    areas,
    interval,
    load_results,
)
from perso_lite.files import DATA_FOLDER
from perso_lite.files.reading import read_json

RESULTS = DATA_FOLDER / "results"
FILES = {
    "five pictures": ("tradeoff", "neti", "catversion"),
    "one picture": ("textboost",),
    "people": ("celeb",),
}
SIXTEEN = ("catversion", "textboost", "neti")  # of which eight more toys were measured
STRANGERS = 15  # the first people; five others are at the corners (celeb.json)
ROUNDS = 15  # of the benchmarks
RANKED = ("new scene", "another of its class")  # the first should be first


def measured(of: str) -> Results:
    """What was measured of one of `FILES` or of "sixteen toys", as one.

    Methods that learned toys from five pictures were measured in several runs, with the
    same toys, prompts and seeds.
    """
    if of == "sixteen toys":
        return with_eight_more()
    found: Results = {}
    for file in FILES[of]:
        found |= load_results(RESULTS / f"{file}.json")
    if of != "people":
        return found
    return {
        point: {score: people[:STRANGERS] for score, people in scores.items()}
        for point, scores in found.items()
        if "two people" not in point
    }


def with_eight_more() -> Results:
    """What was measured of the eight shipped toys and of eight held-out ones."""
    first: Results = {}
    for file in SIXTEEN:
        first |= load_results(RESULTS / f"{file}.json")
    return {
        point: {name: first[point][name] + toys for name, toys in scores.items()}
        for point, scores in load_results(RESULTS / "more_toys.json").items()
    }


def difference(
    of: str, score: str, point: str, over: str | None = None, minus: str | None = None
) -> tuple[Interval, int]:
    """The gain in a score over another point; toys or people are resampled first.

    Args:
        of: "five pictures", "one picture", "people" or "sixteen toys".
        score: its name.
        point: the point that is measured.
        over: another point, perhaps of fewer people; default: none.
        minus: a score that is subtracted first, for example "unseen" from "seen".

    Raises:
        PersoError: there is no such point or score.
    """
    results = measured(of)
    if minus is not None:
        results = {
            name: {score: [a - b for a, b in zip(of[score], of[minus], strict=True)]}
            for name, of in results.items()
            if minus in of
        }
    points = [results.get(name, {}) for name in (point, over) if name]
    count = min(len(scores.get(score, ())) for scores in points)
    shared = {
        name: {key: values[: count or None] for key, values in scores.items()}
        for name, scores in results.items()
    }
    return interval(shared, point, score, over), count


def gain(
    text: str,
    score: str,
    *points: str,
    of: str = "five pictures",
    minus: str | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Measured:
    """A finding: a score of one point, or how much more of it than the second has."""
    measure = partial(difference, of, score, *points, minus=minus)
    return Measured(text, measure, above, below)


def enclosed(over: str) -> tuple[Interval, int]:
    """How much more area Perfusion's file encloses than another method's curve."""
    results = load_results(RESULTS / "tradeoff.json")
    ours, others = (
        areas(results, [point for point in results if point.startswith(f"{name} ")])
        for name in ("perfusion local", over)
    )
    return bootstrap_interval(ours - others), len(ours)


def sides(over: str | None = None) -> tuple[Interval, int]:
    """What each side of a picture has of its own toy.

    Args:
        over: less what another way to draw both has; default: less what the side has of
            the other toy.
    """
    pairs = read_json(RESULTS / "pairs.json", dict)
    ours = pairs["perfusion exact"]
    minus = [pair["other"] for pair in ours]
    if over is not None:
        minus = [pair["own"] for pair in pairs[over]]
    gained = torch.tensor([pair["own"] for pair in ours]) - torch.tensor(minus)
    groups = torch.arange(len(gained)).repeat_interleave(gained.shape[1])
    return bootstrap_interval(gained.flatten(), groups=groups), len(gained)


def apart(point: str) -> tuple[Interval, int]:
    """What each side has of its own person, less what it has of the other."""
    of = load_results(RESULTS / "celeb.json")[point]
    both = {"own": {"side": of["own"]}, "other": {"side": of["other"]}}
    return interval(both, "own", "side", over="other"), len(of["own"])


def recognized(point: str, over: str) -> tuple[Interval, int]:
    """How much more often the nearest of 20 portraits is the right one."""
    found = load_results(RESULTS / "celeb.json")
    return interval(found, point, "recognised", over), len(found[point]["recognised"])


def cost(file: str, *keys: str) -> tuple[Interval, int]:
    """What a benchmark found, for example a ratio of times."""
    found: Any = read_json(RESULTS / f"{file}.json", dict)
    for key in keys:
        found = found[key]
    mean, low, high = found
    return (mean, low, high), ROUNDS


def ranked_right(score: str) -> Tensor:
    """How often a score puts the toy before another of its class: (toys,)."""
    results = load_results(RESULTS / "catversion.json")
    cases = [results[f"case: {name}"][score] for name in RANKED]
    pairs = zip(*cases, strict=True)
    return torch.stack([(r[:, None] > w).float().mean() for r, w in pairs])


def masks_rank() -> tuple[Interval, int]:
    """How much more often the masked score is right than the plain one."""
    gained = ranked_right("clip_image") - ranked_right("clip_image_plain")
    return bootstrap_interval(gained), len(gained)


def other_words_drift(attribute: str) -> tuple[Interval, int]:
    """How much more another word drifts under a prefix than two draws of it differ."""
    results = load_results(RESULTS / "catversion.json")
    drift, chance = (
        torch.cat(results[f"{kind} other words"][attribute])
        for kind in ("drift of", "chance for")
    )
    return bootstrap_interval(drift - chance), len(drift)
