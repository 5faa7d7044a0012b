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
from perso_lite.commands.measuring import Part, Point, Scores, measure, measured_part
from perso_lite.commands.measuring import parser as measuring_parser
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


def thirds(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Scores:
    """CatVersion with as many numbers in each third of the text encoder's layers."""
    layers = {name: evaluate_catversion.LAYERS[name] for name in THIRDS}
    points_of = partial(evaluate_catversion.ablated_points, layers)
    return evaluate_catversion.scored(points_of, base, judges, concept, options)


def one_picture(
    group: str,
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Scores:
    """An arm of TextBoost, early and at its end, without what became of other words."""

    def wanted(point: str) -> bool:
        return "class word" not in point and "drawn at" not in point

    points_of = only(evaluate_textboost.POINTS[group], wanted)
    return evaluate_textboost.scored(base, judges, concept, points_of, options)


def truncated(
    group: str,
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Scores:
    """NeTI, whole and with few units of its mapper."""

    def wanted(point: str) -> bool:
        whole = point in ("neti 200", "neti without dropout")
        return whole or point.endswith(f"truncated {UNITS}")

    points_of = only(evaluate_neti.POINTS[group], wanted)
    return measured(base, judges, concept, points_of, options)


GROUPS: dict[str, Part] = {
    "thirds": thirds,
    "textboost": partial(one_picture, "textboost"),
    "at_uniform_timesteps": partial(one_picture, "at_uniform_timesteps"),
    "without_knowledge_preservation": partial(
        one_picture, "without_knowledge_preservation"
    ),
    "neti": partial(truncated, "neti"),
    "undropped": partial(truncated, "undropped"),
}


def main(argv: list[str] | None = None) -> None:
    """Run `evaluate more`."""
    described = measuring_parser("more", __doc__, GROUPS, "eight held-out toys")
    options = described.parse_args(argv)
    more = (held_out_toys(), rendered_toy)
    measure(options, GROUPS, "more_toys.json", measured_part, *more)
