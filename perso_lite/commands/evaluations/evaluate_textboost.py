"""One picture to learn from: TextBoost, its parts, and other methods.

`python -m perso_lite evaluate textboost` learns each shipped toy from its first picture
alone: with TextBoost, with TextBoost that lacks parts or has them in another way, and
with Textual Inversion, DreamBooth-LoRA and Perfusion. All pictures of the toy are what
is drawn is compared with. While a method is attached, the class word is drawn, too: it
should stay what it was. Prompts and the first scores are those of `evaluate tradeoff`.

There are more scores of the new word, each by name in the results:

* "seen" and "unseen": CLIP-I without masks to the picture that was learned from, and to
  the other pictures of the toy. A picture that was copied is nearer to the first.
* "transformed": 1 if the attribute reader sees a transformation (far away, upside down,
  gray ...) in a picture of a neutral prompt, which asks for none. Its seeds were used
  nowhere else.
* "diversity": how far each of those pictures is from the others, as 1 - cos by CLIP.
* "text drift": 1 - cos between text states with the method attached and the base's, for
  prompts that nothing was trained on, as a mean over positions; "start drift" at the
  start token alone.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional as F

from perso_lite.base import picture_size
from perso_lite.commands.evaluate_tradeoff import (
    CLASS_WORD,
    Points,
    concept_prompts,
    end_points,
)
from perso_lite.commands.measuring import Point, Scores, measure, parser, scores_as_json
from perso_lite.commands.options import drawing_options
from perso_lite.concepts import Concept
from perso_lite.conditioning.words import encode_prompts
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.metrics import (
    clip_image_similarity,
    clip_images,
    read_attribute,
)
from perso_lite.evaluation.prompts import base_prompts
from perso_lite.evaluation.scores import (
    ConceptScores,
    class_prior_scores,
    oracle_scores,
    score_concept,
)
from perso_lite.method import attached
from perso_lite.methods import METHODS
from perso_lite.methods.textboost.textboost import TextBoost
from perso_lite.sampling import generate
from perso_lite.training import fit
from perso_lite.world.oracle import true_pictures

STEPS = 120  # of TextBoost (ours)
EARLY = (40, 80)  # steps after which some arms are scored, too (ours)
OTHER_STEPS = {"textual_inversion": 400, "dreambooth_lora": 150, "perfusion": 200}
# what is other than usual
KNOWLEDGE, UNIFORM, PLAIN = (
    {"knowledge_preservation": 0.0},
    {"snr_weighting": False},
    {"augmentation": "none"},
)
PARTS: dict[str, dict[str, Any]] = {
    "augmented in words": {"augmentation": "words"},
    "augmented silently": {"augmentation": "silent"},
    "not augmented": PLAIN,
    "augmented often": {"augmentation_probability": 0.8},  # as in the released code
    "augmented silently and often": {
        "augmentation": "silent",
        "augmentation_probability": 0.8,
    },
    "without knowledge preservation": KNOWLEDGE,
    "with little knowledge preservation": {"knowledge_preservation": 0.1},  # the same
    "at uniform timesteps": UNIFORM,
    "queries, keys and values": {"targets": ["q_proj", "k_proj", "v_proj"]},
    "causality preserved": {"causality_preserved": True},
    # with those above, all eight of with and without three parts
    "without tokens and knowledge": PLAIN | KNOWLEDGE,
    "without tokens and weighting": PLAIN | UNIFORM,
    "without knowledge and weighting": KNOWLEDGE | UNIFORM,
    "without all three": PLAIN | KNOWLEDGE | UNIFORM,
}
SCORED_EARLY = ("", "without knowledge preservation", "at uniform timesteps")
NEUTRAL, FRESH_SEEDS = "a photo of a {}", range(1000, 1012)
BRIEF = (" after ", " drawn at ")  # in the names of points without fresh pictures
UNTRAINED = 64  # prompts of the base's evaluation, for drift


# -- what is learned -------------------------------------------------------------------


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
    name = f"textboost{f' {part}' if part else ''}"
    for step in fit(method, first_picture(concept), STEPS):
        if part in SCORED_EARLY and step.index + 1 in EARLY:
            yield f"{name} after {step.index + 1}", [method]
            yield f"{name} after {step.index + 1}{CLASS_WORD}", [method]
    yield name, [method]
    yield name + CLASS_WORD, [method]
    if options in ({}, KNOWLEDGE):  # those of the notebook's panel
        ending = "_without_knowledge" if options else ""
        method.save(folder / f"{concept.name}-textboost{ending}.safetensors")
    if not options:
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
    "ends": end_points,
    "textboost": partial(textboost_points, {}, ""),
    **{
        part.replace(",", "").replace(" ", "_"): partial(
            textboost_points, changed, part
        )
        for part, changed in PARTS.items()
    },
    **{name: partial(other_points, name) for name in OTHER_STEPS},
}


# -- how it is scored ------------------------------------------------------------------


def scored(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    points_of: Points,
    options: argparse.Namespace,
) -> Scores:
    """The scores of one concept at one group of points: point -> score -> values."""
    prompts, seeds = concept_prompts(), list(range(options.seeds))
    drawing, shared = drawing_options(options, batch_size=20), (judges, concept)
    texts = [entry["prompt"] for entry in base_prompts()[:UNTRAINED]]
    known, points = encode_prompts(base, texts).detach(), {}
    for name, methods in points_of(base, concept, options.out):
        of_class = not methods or name.endswith(CLASS_WORD)
        word = concept.class_word if of_class else concept.placeholder_token
        score = class_prior_scores if of_class else score_concept
        with attached(base, *methods):
            found = score(base, *shared, prompts, seeds, **drawing)
            points[name] = scores_as_json(found)
            if name.endswith(CLASS_WORD):
                continue  # drift is the point's without it
            drifted = text_drift(known, encode_prompts(base, texts).detach())
            drawn = None
            if not any(part in name for part in BRIEF):
                fresh = [NEUTRAL.format(word)], tuple(FRESH_SEEDS)
                drawn = generate(base, *fresh, output_type="pt", **drawing)
        points[name] = all_scores(*shared, found, drawn) | drifted
    if points_of is end_points:
        size = picture_size(base)
        found = oracle_scores(*shared, prompts, seeds, size)
        true, _ = true_pictures(NEUTRAL, len(FRESH_SEEDS), 1000, size, concept, "{}")
        points["oracle"] = all_scores(*shared, found, true)
    return points


def all_scores(
    judges: Judges, concept: Concept, found: ConceptScores, fresh: Tensor | None
) -> dict[str, list[float]]:
    """The scores of a point, but for drift.

    Args:
        judges: as loaded.
        concept: what was learned.
        found: scores of the pictures of all prompts.
        fresh: pictures of the neutral prompt (pictures, 3, height, width) in [0, 1], or
            None if none were drawn.
    """
    references = concept.pictures(found.pictures.shape[-1])
    scores = scores_as_json(found)
    for name, known in {"seen": references[:1], "unseen": references[1:]}.items():
        similar = clip_image_similarity(judges, found.pictures, known)
        scores[name] = similar.tolist()
    if fresh is None:
        return scores
    vectors = clip_images(judges, fresh)  # (pictures, dim)
    others = (vectors.sum(0) - vectors) / (len(vectors) - 1)
    labels = read_attribute(judges, fresh, "augmentation")
    return scores | {
        "transformed": [float(label != "none") for label in labels],
        "diversity": (1 - (vectors * others).sum(1)).tolist(),
    }


def text_drift(known: Tensor, now: Tensor) -> dict[str, list[float]]:
    """1 - cos of text states (texts, tokens, dim), text by text."""
    apart = 1 - F.cosine_similarity(known.float(), now.float(), dim=-1)
    return {
        "text drift": apart.mean(1).tolist(),
        "start drift": apart[:, 0].tolist(),
    }


def main(argv: list[str] | None = None) -> None:
    """Run `evaluate textboost`."""
    options = parser("textboost", __doc__, POINTS).parse_args(argv)
    measure(options, POINTS, "textboost.json", scored)
