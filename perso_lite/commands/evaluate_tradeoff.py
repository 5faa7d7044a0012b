"""Subject fidelity against prompt fidelity, of every method at many settings.

`python -m perso_lite evaluate tradeoff` learns each shipped toy with Perfusion (keys
locked, or trained too) and with the methods it is compared with. Perfusion's inference
parameters vary, one file for the whole curve; the other methods stop at several
training lengths. The pictures are scored for subject fidelity and prompt fidelity,
beside the class prior and the oracle. At last Perfusion stops at several lengths, too.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.attention.grounding import attention_on_noised, word_grounding
from perso_lite.base import picture_size
from perso_lite.commands.measuring import Point, Scores, measure, parser, scores_as_json
from perso_lite.commands.options import drawing_options
from perso_lite.concepts import Concept
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.prompts import concept_prompts
from perso_lite.evaluation.scores import (
    class_prior_scores,
    oracle_scores,
    score_concept,
)
from perso_lite.figures.pictures import as_images
from perso_lite.method import Method, attached
from perso_lite.methods import METHODS
from perso_lite.training import fit
from perso_lite.world.oracle import true_pictures

# from 0.75 on as in a figure of the authors; the first two, which close the gate, ours
BETAS = (1.0, 0.9, 0.75, 0.65, 0.55, 0.45)
FEW_BETAS = (0.65, 0.45)  # of the other two kinds of keys (ours, for cost)
PERFUSION_STEPS = 200  # ours
PERFUSION_LENGTHS = (25, 50, 100, 200)  # for its seconds to most of what it learns
EARLY = 100  # steps after which a concept is saved for `evaluate pairs`, too (ours)
LENGTHS = {  # training steps after which the others are scored (ours)
    "textual_inversion": (100, 400),
    "dreambooth_lora": (50, 150),
    "custom_diffusion": (50, 150),
}
ONE_ROOM = "a photo of a {} in the bedroom"  # all the pictures of `one_room_points`
NOISE_LEVELS = (200, 400, 600, 800)  # timesteps for `leaked`
# the points whose attention is measured, too
LOOKED_INTO = (
    "class prior", "perfusion local 0.65", "perfusion trained 0.65",
    "one room, perfusion local 0.65", "one room, perfusion trained 0.65",
)  # fmt: skip

# the name of a point ends so if prompts say the class word, with the methods attached
CLASS_WORD = ", class word"


def end_points(
    base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """The class prior: what the base draws anyway."""
    yield "class prior", []


def perfusion_points(
    base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """Perfusion with locked and with trained keys, at several inference parameters."""
    for locking in ("local", "trained"):
        method = METHODS["perfusion"](
            base, concept.class_word, concept.placeholder_token, key_locking=locking
        )
        stem = folder / f"{concept.name}-perfusion-{locking}"
        for step in fit(method, concept, PERFUSION_STEPS):
            if step.index + 1 == EARLY:
                method.save(f"{stem}-{EARLY}.safetensors")
        method.save(f"{stem}.safetensors")
        for lock in ("local", "global") if locking == "local" else ("trained",):
            method.key_locking = lock
            for method.beta in BETAS if lock == "local" else FEW_BETAS:
                yield f"perfusion {lock} {method.beta}", [method]


def other_points(
    name: str, base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """A method without inference parameters, at several training lengths."""
    method = METHODS[name](base, concept.class_word, concept.placeholder_token)
    for step in fit(method, concept, max(LENGTHS[name])):
        if step.index + 1 in LENGTHS[name]:
            yield f"{name} {step.index + 1}", [method]
    method.save(folder / f"{concept.name}-{name}.safetensors")


def length_points(
    base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """Perfusion as it is by default, at several training lengths."""
    method = METHODS["perfusion"](base, concept.class_word, concept.placeholder_token)
    for step in fit(method, concept, max(PERFUSION_LENGTHS)):
        if step.index + 1 in PERFUSION_LENGTHS:
            yield f"perfusion, {step.index + 1} steps", [method]


def one_room_points(
    base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Iterator[Point]:
    """Perfusion from pictures that all show one room, without masks.

    Nothing but its keys keeps the word from learning the room, too: the case in which
    locking them should help most.
    """
    painted, _ = true_pictures(
        ONE_ROOM, len(concept.images), 0, picture_size(base), concept, "{}"
    )
    images = as_images(painted)
    seen = Concept(concept.name, concept.class_word, images, [None] * len(images))
    for locking in ("local", "trained"):
        method = METHODS["perfusion"](
            base, concept.class_word, concept.placeholder_token, key_locking=locking
        )
        for _ in fit(method, seen, PERFUSION_STEPS):
            pass
        yield f"one room, perfusion {locking} 0.65", [method]


# from base, concept and a folder for its files to the points of the concept
Points = Callable[[StableDiffusionPipeline, Concept, Path], Iterator[Point]]

POINTS: dict[str, Points] = {
    "ends": end_points,
    "perfusion": perfusion_points,
    **{name: partial(other_points, name) for name in LENGTHS},
    "one_room": one_room_points,
    "lengths": length_points,
}


def leaked(
    base: StableDiffusionPipeline,
    concept: Concept,
    methods: list[Method],
    prompts: list[str],
    seeds: list[int],
) -> Tensor:
    """The share of the word's attention that is outside the concept, (pictures,).

    It is measured on noised true pictures with known masks, as a mean over
    `NOISE_LEVELS`.

    Args:
        base: the pipeline.
        concept: a shipped one.
        methods: to attach; empty: the class word's attention is measured.
        prompts: with "{}" in place of the word.
        seeds: one picture per prompt and seed.
    """
    word = concept.placeholder_token if methods else concept.class_word
    painted = [
        true_pictures(prompt, 1, seed, picture_size(base), concept, "{}")
        for prompt in prompts
        for seed in seeds
    ]
    pictures, masks = (torch.cat(parts) for parts in zip(*painted, strict=True))
    texts = [prompt.replace("{}", word) for prompt in prompts for _ in seeds]
    shares = []
    with attached(base, *methods):
        for level in NOISE_LEVELS:
            maps = attention_on_noised(base, texts, pictures, level)
            shares.append(1 - word_grounding(maps, word, masks).inside)
    return torch.stack(shares).mean(0)


def measured(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    points_of: Points,
    options: argparse.Namespace,
) -> Scores:
    """The scores of one concept at one group of points: point -> score -> values.

    Args:
        base: to learn and to draw on.
        judges: as loaded.
        concept: a shipped one.
        points_of: the group, one of `POINTS`.
        options: of the command line: seeds, guidance, steps and out.
    """
    prompts, seeds = concept_prompts(), list(range(options.seeds))
    drawing = drawing_options(options, batch_size=20)
    shared = (judges, concept, prompts, seeds)
    points = {}
    for name, methods in points_of(base, concept, options.out):
        with attached(base, *methods):
            new_word = methods and not name.endswith(CLASS_WORD)
            score = score_concept if new_word else class_prior_scores
            points[name] = scores_as_json(score(base, *shared, **drawing))
        if name in LOOKED_INTO:
            shares = leaked(base, concept, methods, prompts[1:], seeds)
            points[name]["leaked"] = shares.tolist()
    if points_of is end_points:
        points["oracle"] = scores_as_json(oracle_scores(*shared, picture_size(base)))
    return points


def main(argv: list[str] | None = None) -> None:
    """Run `evaluate tradeoff`."""
    options = parser("tradeoff", __doc__, POINTS).parse_args(argv)
    measure(options, POINTS, "tradeoff.json", measured)
