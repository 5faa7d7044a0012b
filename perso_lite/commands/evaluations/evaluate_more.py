"""Eight more toys, where eight did not decide a claim.

`python -m perso_lite evaluate more` measures again, with eight other toys, the points
whose intervals included zero: CatVersion in three thirds of the text encoder, TextBoost
with weighted and with uniform timesteps and without knowledge preservation, and NeTI
with and without nested dropout. Prompts, scores and seeds are those of the first eight
(`evaluate catversion`, `textboost` and `neti`), so that claims are about sixteen toys.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from diffusers import StableDiffusionPipeline

from perso_lite.commands.evaluate_tradeoff import measured
from perso_lite.commands.evaluations import (
    evaluate_catversion,
    evaluate_neti,
    evaluate_textboost,
)
from perso_lite.commands.evaluations.held_out_toys import held_out_toys, rendered_toy
from perso_lite.commands.measuring import (
    Part,
    Point,
    Scores,
    measure,
    measured_part,
    parser,
)
from perso_lite.concepts import Concept
from perso_lite.evaluation.judges import Judges

THIRDS = ("layers 0 to 1", "layers 2 to 3", "layers 4 to 5")  # of CatVersion's LAYERS
UNITS = 16  # of NeTI's mapper, when it is truncated

PointsOf = Callable[..., Iterator[Point]]


def only(points_of: PointsOf, wanted: Callable[[str], bool]) -> PointsOf:
    """The points of a method whose names are wanted."""

    def some(*arguments: Any) -> Iterator[Point]:
        yield from (point for point in points_of(*arguments) if wanted(point[0]))

    return some


def arm_alone(point: str) -> bool:
    """Whether a point of TextBoost is about the new word, drawn as it was learned."""
    return "class word" not in point and "drawn at" not in point


def whole_or_few_units(point: str) -> bool:
    """Whether a point of NeTI is of the whole mapper, or of `UNITS` units of it."""
    whole = point in ("neti 200", "neti without dropout")
    return whole or point.endswith(f"truncated {UNITS}")


def thirds() -> Part:
    """CatVersion with as many numbers in each third of the text encoder's layers."""
    layers = {name: evaluate_catversion.LAYERS[name] for name in THIRDS}
    points_of = partial(evaluate_catversion.ablated_points, layers)
    return partial(evaluate_catversion.scored, points_of)


def some_points(
    scored: Callable[..., Scores],
    points_of: PointsOf,
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Scores:
    """Points of another measurement, scored as it does."""
    return scored(base, judges, concept, points_of, options)


def textboost(group: str) -> Part:
    """An arm of TextBoost, early and at its end, without what became of other words."""
    points_of = only(evaluate_textboost.POINTS[group], arm_alone)
    return partial(some_points, evaluate_textboost.scored, points_of)


def neti(group: str) -> Part:
    """NeTI, whole and with few units of its mapper."""
    points_of = only(evaluate_neti.POINTS[group], whole_or_few_units)
    return partial(some_points, measured, points_of)


GROUPS: dict[str, Part] = {
    "thirds": thirds(),
    "textboost": textboost("textboost"),
    "at_uniform_timesteps": textboost("at_uniform_timesteps"),
    "without_knowledge_preservation": textboost("without_knowledge_preservation"),
    "neti": neti("neti"),
    "undropped": neti("undropped"),
}


def main(argv: list[str] | None = None) -> None:
    """Run `evaluate more`."""
    options = parser("more", __doc__, GROUPS, "eight held-out toys").parse_args(argv)
    more = (held_out_toys(), rendered_toy)
    measure(options, GROUPS, "more_toys.json", measured_part, *more)
