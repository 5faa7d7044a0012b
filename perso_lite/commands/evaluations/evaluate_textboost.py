"""One picture to learn from: TextBoost, its parts, and other methods.

`python -m perso_lite evaluate textboost` learns each shipped toy from its first picture
alone: with TextBoost, with TextBoost that lacks one part or has it in another way, and
with Textual Inversion, DreamBooth-LoRA and Perfusion. All pictures of the toy are what
is drawn is compared with. While TextBoost is attached, the class word is drawn, too: it
should stay what it was. Scores and prompts are those of `evaluate tradeoff`, which has
class prior and oracle.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline

from perso_lite.commands.evaluate_tradeoff import (
    CLASS_WORD,
    Point,
    Points,
    measure,
    parser,
)
from perso_lite.concepts import Concept
from perso_lite.methods import METHODS
from perso_lite.methods.textboost.textboost import TextBoost
from perso_lite.training import fit

STEPS = 120  # of TextBoost (ours)
OTHER_STEPS = {"textual_inversion": 400, "dreambooth_lora": 150, "perfusion": 200}
PARTS: dict[str, dict[str, Any]] = {  # what is other than usual
    "augmented in words": {"augmentation": "words"},
    "augmented silently": {"augmentation": "silent"},
    "not augmented": {"augmentation": "none"},
    "augmented often": {"augmentation_probability": 0.8},  # as in the released code
    "without knowledge preservation": {"knowledge_preservation": 0.0},
    "with little knowledge preservation": {"knowledge_preservation": 0.1},  # the same
    "at uniform timesteps": {"snr_weighting": False},
    "queries, keys and values": {"targets": ["q_proj", "k_proj", "v_proj"]},
    "causality preserved": {"causality_preserved": True},
}


def first_picture(concept: Concept) -> Concept:
    """The concept, as if there was only the first picture of it."""
    captions = concept.captions and concept.captions[:1]
    return replace(
        concept, images=concept.images[:1], masks=concept.masks[:1], captions=captions
    )


def textboost_points(
    options: dict[str, Any],
    part: str,
    base: StableDiffusionPipeline,
    concept: Concept,
    folder: Path,
) -> Iterator[Point]:
    """TextBoost, and what has become of the class word; without LoRA if it is whole."""
    method = TextBoost(base, concept.class_word, concept.placeholder_token, **options)
    for _ in fit(method, first_picture(concept), STEPS):
        pass
    name = f"textboost{f' {part}' if part else ''}"
    yield name, [method]
    yield name + CLASS_WORD, [method]
    if not options:
        method.save(folder / f"{concept.name}-textboost.safetensors")
        for method.lora_scale in (0.5, 0.0):
            yield f"{name} drawn at {method.lora_scale}", [method]


def other_points(
    name: str, base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """Another method, from the same picture."""
    method = METHODS[name](base, concept.class_word, concept.placeholder_token)
    for _ in fit(method, first_picture(concept), OTHER_STEPS[name]):
        pass
    yield name, [method]
    yield name + CLASS_WORD, [method]


POINTS: dict[str, Points] = {
    "textboost": partial(textboost_points, {}, ""),
    **{
        part.replace(",", "").replace(" ", "_"): partial(
            textboost_points, changed, part
        )
        for part, changed in PARTS.items()
    },
    **{name: partial(other_points, name) for name in OTHER_STEPS},
}


def main(argv: list[str] | None = None) -> None:
    """Run `evaluate textboost`."""
    options = parser("textboost", __doc__, POINTS).parse_args(argv)
    measure(options, POINTS, "textboost.json")
