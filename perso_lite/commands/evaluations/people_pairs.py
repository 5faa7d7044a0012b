"""Two new people in one picture: whether each is recognised, in its place.

Each person for whom other methods learn, too, meets the next one in the list, in both
orders, as they were learned alone by Celeb Basis and by Textual Inversion; and the
truth is painted.
"""

import argparse
import random
from dataclasses import replace

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.base import picture_size
from perso_lite.commands.evaluate_pairs import sides_of
from perso_lite.commands.evaluations.held_out_people import (
    COMPARED,
    held_out_people,
    rendered_person,
)
from perso_lite.commands.measuring import Scores
from perso_lite.commands.options import drawing_options
from perso_lite.concepts import Concept
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.names import face_similarity
from perso_lite.method import attached
from perso_lite.methods import load_method
from perso_lite.sampling import generate
from perso_lite.world.oracle import scene_for, thing_from_truth
from perso_lite.world.render import render

PROMPTS = ("a photo of {} and {}", "{} and {} on a beach")
# the ends of the file names, and whether the words have an article
FILES = {"celeb_basis": "{}", "textual_inversion": "a {}"}


def two_people(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Scores:
    """The scores of one person beside the next one: point -> score -> values.

    Args:
        base: to draw on.
        judges: as loaded.
        concept: the person.
        options: of the command line: seeds, guidance, steps, and out, the folder with
            the files of both people (of the groups "free" and "textual_inversion").

    Raises:
        PersoError: a file is missing or damaged.
    """
    names = held_out_people()[:COMPARED]
    after = names[(names.index(concept.name) + 1) % len(names)]
    pair = (concept, rendered_person(after))
    orders, points, portraits = (pair, pair[::-1]), {}, all_portraits()
    drawing = drawing_options(options, batch_size=20, output_type="pt")
    for kind, wording in FILES.items():
        paths = [options.out / f"{c.name}-{kind}.safetensors" for c in pair]
        methods, drawn = [load_method(path, base) for path in paths], []
        with attached(base, *methods):
            for order in orders:
                words = [wording.format(c.placeholder_token) for c in order]
                prompts = [prompt.format(*words) for prompt in PROMPTS]
                shown = generate(base, prompts, range(options.seeds), **drawing)
                drawn.append(shown)
        points[f"two people: {kind}"] = sides_scores(judges, drawn, orders, portraits)
    painted = [
        painted_pair(order, options.seeds, picture_size(base)) for order in orders
    ]
    truth = sides_scores(judges, painted, orders, portraits)
    return points | {"two people: oracle": truth}


def all_portraits() -> Tensor:
    """The portraits of all people, (people, 3, 128, 128) in [0, 1]."""
    people = [rendered_person(name) for name in held_out_people()]
    return torch.cat([person.pictures(128) for person in people])


def painted_pair(people: tuple[Concept, Concept], count: int, size: int) -> Tensor:
    """The truth for the prompts, (prompts * count, 3, size, size) in [0, 1]."""
    scenes = []
    for prompt in PROMPTS:
        for index in range(count):
            rng = random.Random(f"{prompt}/{index}")
            scene = scene_for(prompt.format("a person", "a person"), rng)
            things = tuple(thing_from_truth(person.truth) for person in people)
            scenes.append(replace(scene, things=things))
    return render(scenes, size)[0].clamp(0, 1)


def sides_scores(
    judges: Judges,
    pictures: list[Tensor],
    orders: tuple[tuple[Concept, Concept], ...],
    portraits: Tensor,
) -> dict[str, list[float]]:
    """How well the sides of pictures show the people who should be there.

    Args:
        judges: as loaded.
        pictures: for each order, (pictures, 3, height, width) in [0, 1].
        orders: who should be on the left, and on the right.
        portraits: of all people, from `all_portraits`.

    Returns:
        For each picture the mean of both sides: "own", the cosine to the portrait of
        whoever should be there; "other", to that of the other person; and "recognised",
        whether the right portrait of all 20 is the nearest.
    """
    names = held_out_people()
    found: dict[str, list[Tensor]] = {"own": [], "other": [], "recognised": []}
    for drawn, order in zip(pictures, orders, strict=True):
        left, right = (names.index(person.name) for person in order)
        sides = zip(sides_of(drawn), (left, right), (right, left), strict=True)
        scores: dict[str, list[Tensor]] = {name: [] for name in found}
        for side, own, other in sides:
            alike = face_similarity(judges, side, portraits)  # (pictures, people)
            scores["own"].append(alike[:, own])
            scores["other"].append(alike[:, other])
            scores["recognised"].append((alike.argmax(1) == own).float())
        for name, of_sides in scores.items():
            found[name].append(torch.stack(of_sides).mean(0))
    return {name: torch.cat(parts).tolist() for name, parts in found.items()}
