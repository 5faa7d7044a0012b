"""NeTI and XTI: how fast they learn, and what truncation, inputs and bypass do.

`python -m perso_lite evaluate neti` learns each shipped toy with NeTI and XTI and
scores both after several training lengths. It truncates NeTI's mapper to several
numbers of units, with and without nested dropout, and trains it without timestep,
layer, both, or bypass. Scores, prompts and seeds are those of `evaluate tradeoff`,
which has Textual Inversion, class prior and oracle.
"""

from collections.abc import Iterator
from pathlib import Path

from diffusers import StableDiffusionPipeline

from perso_lite.commands.evaluate_tradeoff import Points, measured
from perso_lite.commands.measuring import Point, measure, parser
from perso_lite.concepts import Concept
from perso_lite.method import Method
from perso_lite.methods.space_time.neti import NeTI
from perso_lite.methods.space_time.xti import ExtendedTextualInversion
from perso_lite.training import fit

LENGTHS = (25, 50, 100, 200)  # training steps after which NeTI and XTI are scored
TRUNCATIONS = (64, 32, 16, 8, 4, 0)  # units that are kept, after the longest training
EQUAL_STEPS = 100  # training steps of all ablations
ABLATIONS = {
    "neti knows neither": {"over_time": False, "over_layers": False},
    "neti knows timestep": {"over_layers": False},
    "neti knows layer": {"over_time": False},
    "neti knows no bypass": {"bypass": False},
    "neti from a random start": {"start_at_class": False},
}


def words(concept: Concept) -> tuple[str, str]:
    """The concept's class word and placeholder token."""
    return concept.class_word, concept.placeholder_token


def neti_points(
    base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """NeTI after each training length; the last also truncated and without bypass."""
    method = NeTI(base, *words(concept))
    yield from after_each_length(method, concept, "neti")
    method.save(folder / f"{concept.name}-neti.safetensors")
    yield from truncated(method, "truncated")
    method.truncation_idx, method.bypass_alpha = None, 0.0
    yield "neti drawn without bypass", [method]


def truncated(method: NeTI, name: str) -> Iterator[Point]:
    """NeTI with its mapper truncated to several numbers of units."""
    for method.truncation_idx in TRUNCATIONS:
        yield f"neti {name} {method.truncation_idx}", [method]


def undropped_points(
    base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """NeTI trained without nested dropout, whole and truncated."""
    method = NeTI(base, *words(concept), nested_dropout=0.0)
    for _ in fit(method, concept, max(LENGTHS)):
        pass
    yield "neti without dropout", [method]
    yield from truncated(method, "without dropout truncated")


def ablated_points(
    base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """NeTI with fewer inputs, without bypass or from a random start, equal steps."""
    for name, options in ABLATIONS.items():
        method = NeTI(base, *words(concept), **options)
        for _ in fit(method, concept, EQUAL_STEPS):
            pass
        yield name, [method]


def xti_points(
    base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """XTI after each training length."""
    method = ExtendedTextualInversion(base, *words(concept))
    yield from after_each_length(method, concept, "xti")


def shared_points(
    base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """XTI with one vector for all layers: Textual Inversion at XTI's learning rate."""
    method = ExtendedTextualInversion(base, *words(concept), shared=True)
    yield from after_each_length(method, concept, "xti shared")


def after_each_length(method: Method, concept: Concept, name: str) -> Iterator[Point]:
    """A method after each of the training lengths."""
    for step in fit(method, concept, max(LENGTHS)):
        if step.index + 1 in LENGTHS:
            yield f"{name} {step.index + 1}", [method]


POINTS: dict[str, Points] = {
    "neti": neti_points,
    "undropped": undropped_points,
    "ablated": ablated_points,
    "xti": xti_points,
    "shared": shared_points,
}


def main(argv: list[str] | None = None) -> None:
    """Run `evaluate neti`."""
    options = parser("neti", __doc__, POINTS).parse_args(argv)
    measure(options, POINTS, "neti.json", measured)
