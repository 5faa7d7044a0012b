"""CatVersion: in which layers, of what, and with which caption it learns best.

`python -m perso_lite evaluate catversion` learns each shipped toy with a prefix in
other layers (as many numbers each), of keys or values alone, and with other captions,
and scores the pictures as `evaluate tradeoff` does, with CLIP-I plain and masked. It
draws with a contaminated unconditional prompt, at several logit biases, and other words
than the concept's with the prefix on. And both kinds of CLIP-I rank three kinds of
pictures whose order is known.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.base import picture_size
from perso_lite.commands.measuring import (
    Part,
    Point,
    Scores,
    measure,
    measured_part,
    parser,
    scores_as_json,
)
from perso_lite.commands.options import drawing_options
from perso_lite.concepts import Concept, load_concept
from perso_lite.evaluation.drift import drift, drift_by_chance
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.metrics import clip_image_similarity
from perso_lite.evaluation.prompts import concept_prompts, toys
from perso_lite.evaluation.scores import score_concept
from perso_lite.method import attached
from perso_lite.methods import load_method
from perso_lite.methods.catversion.catversion import CatVersion
from perso_lite.sampling import generate
from perso_lite.training import fit
from perso_lite.world.oracle import true_pictures

LENGTHS = (50, 100, 200)  # training steps after which it is scored (ours)
EQUAL_STEPS = 100  # training steps of all ablations (ours)
BIASES = (-4.0, -2.0, 1.0, 2.0)  # beside 0, with which it is trained
# six keys and six values each: thirds of our text encoder, its last three, all layers
LAYERS = {
    "layers 0 to 1": {"layers": [0, 1], "prefix_length": 3},
    "layers 2 to 3": {"layers": [2, 3], "prefix_length": 3},
    "layers 4 to 5": {"layers": [4, 5], "prefix_length": 3},
    "layers 3 to 5": {"layers": [3, 4, 5], "prefix_length": 2},
    "all layers": {"layers": [0, 1, 2, 3, 4, 5], "prefix_length": 1},
}
TRAINED = {"keys alone": {"trained": "keys"}, "values alone": {"trained": "values"}}
CAPTIONS = {
    "rare word": {"initializer_token": "qzx"},
    "no caption": {"caption": "empty"},
    "templates": {"caption": "templates"},
}
PLACEHOLDER = "<lent>"  # for `with_and_without`
NEW_SCENE = "a photo of a {} on a beach"  # for `clip_cases`
CASE_PICTURES = 8  # of each other kind, for the same; they are painted, not generated


# -- what is learned -------------------------------------------------------------------


def catversion_points(
    base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """After each training length; the last also contaminated and at other biases."""
    method = CatVersion(base, concept.class_word, concept.placeholder_token)
    for step in fit(method, concept, max(LENGTHS)):
        if step.index + 1 in LENGTHS:
            yield f"catversion {step.index + 1}", [method]
    method.save(saved(folder, concept))
    method.clean_unconditional = False
    yield "contaminated", [method]
    method.clean_unconditional = True
    for method.prefix_logit_bias in BIASES:
        yield f"bias {method.prefix_logit_bias:g}", [method]


def ablated_points(
    ablations: dict[str, dict],
    base: StableDiffusionPipeline,
    concept: Concept,
    folder: Path,
) -> Iterator[Point]:
    """With each of the settings in turn, after equal steps."""
    for name, options in ablations.items():
        method = CatVersion(
            base, concept.class_word, concept.placeholder_token, **options
        )
        for _ in fit(method, concept, EQUAL_STEPS):
            pass
        yield name, [method]


def saved(folder: Path, concept: Concept) -> Path:
    """Where the concept of the longest training is kept."""
    return folder / f"{concept.name}-catversion.safetensors"


def scored(
    points_of: Callable,
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Scores:
    """The scores of a group of points, with CLIP-I plain and masked."""
    prompts, seeds = concept_prompts(), range(options.seeds)
    drawing, points = drawing_options(options, batch_size=20), {}
    for name, methods in points_of(base, concept, options.out):
        with attached(base, *methods):
            found = score_concept(base, judges, concept, prompts, seeds, **drawing)
        plain = {"clip_image_plain": found.clip_image.tolist()}
        points[name] = scores_as_json(found) | plain
    return points


# -- what it does to other words -------------------------------------------------------


def drifted(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Scores:
    """How far words drift when the prefix acts on them, as it does in the paper's form.

    Here prompts without the placeholder stay as they are, to the last bit. So the
    prefix is lent to another word: its placeholder is read as that word.

    Returns:
        For the class word and for the classes of the next two toys, each attribute's
        drift and, as "chance", the 95 % quantile of drift by chance.
    """
    others = [load_concept(name).class_word for name in toys_after(concept, 2)]
    found: Scores = {}
    for kind, words in (("class word", [concept.class_word]), ("other words", others)):
        pairs = [with_and_without(base, concept, word, options) for word in words]
        pictures = [torch.cat(parts) for parts in zip(*pairs, strict=True)]
        chance = drift_by_chance(judges, *pictures)
        found[f"drift of {kind}"] = {
            k: [v] for k, v in drift(judges, *pictures).items()
        }
        found[f"chance for {kind}"] = {k: [high] for k, (_, high) in chance.items()}
    return found


def toys_after(concept: Concept, count: int) -> list[str]:
    """The names of the next toys in the list, which goes on from its start."""
    names = [*toys(), *toys(), *toys()]
    return names[names.index(concept.name) + 1 :][:count]


def with_and_without(
    base: StableDiffusionPipeline,
    concept: Concept,
    word: str,
    options: argparse.Namespace,
) -> tuple[Tensor, Tensor]:
    """What the base draws for a word, and what it draws with a concept's prefix.

    Raises:
        PersoError: there is no file of the concept (of the group "catversion").
    """
    learned = load_method(saved(options.out, concept), base)
    lent = CatVersion(base, word, PLACEHOLDER)
    lent.load_state_dict(learned.state_dict())
    drawing = drawing_options(options, batch_size=20, output_type="pt")

    def drawn(shown: str) -> Tensor:
        prompts = [prompt.replace("{}", shown) for prompt in concept_prompts()]
        return generate(base, prompts, range(options.seeds), **drawing)

    with lent.attach(base):
        return drawn(word), drawn(PLACEHOLDER)


# -- whether CLIP-I ranks rightly ------------------------------------------------------


def clip_cases(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Scores:
    """CLIP-I, plain and masked, of four kinds of true pictures with true masks.

    A training picture itself, the right subject in a new scene, and in the scene of the
    training pictures the wrong subject (the next toy) or another of its class. Nothing
    is learned. Plain CLIP-I rewards the scene; masked CLIP-I should rank the right
    subject before both others.
    """
    size, count = picture_size(base), CASE_PICTURES
    references, masks = concept.pictures(size), concept.mask_tensor(size, size)
    wrong = load_concept(toys_after(concept, 1)[0])
    scene = concept.captions[0]
    cases = {
        "training picture": (references[:1], masks[:1]),
        "new scene": true_pictures(NEW_SCENE, count, 0, size, concept, "{}"),
        "wrong subject": true_pictures(scene, count, 0, size, wrong, "{}"),
        "another of its class": true_pictures(
            scene.replace("{}", concept.class_word), count, 0, size
        ),
    }
    known, known_masks = references[1:], masks[1:]  # no picture is its own reference
    found: Scores = {}
    for name, (shown, own) in cases.items():
        plain = clip_image_similarity(judges, shown, known)
        masked = clip_image_similarity(
            judges, shown, known, True, known_masks, picture_masks=own
        )
        scores = {"clip_image_plain": plain.tolist(), "clip_image": masked.tolist()}
        found[f"case: {name}"] = scores
    return found


PARTS: dict[str, Part] = {
    "catversion": partial(scored, catversion_points),
    "layers": partial(scored, partial(ablated_points, LAYERS)),
    "trained": partial(scored, partial(ablated_points, TRAINED)),
    "captions": partial(scored, partial(ablated_points, CAPTIONS)),
    "drift": drifted,
    "cases": clip_cases,
}


def main(argv: list[str] | None = None) -> None:
    """Run `evaluate catversion`."""
    options = parser("catversion", __doc__, PARTS).parse_args(argv)
    measure(options, PARTS, "catversion.json", measured_part)
