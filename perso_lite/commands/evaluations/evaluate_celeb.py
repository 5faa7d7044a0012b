"""Celeb Basis: people from one photo, beside the nearest name and other methods.

`python -m perso_lite evaluate celeb` learns people from a portrait each: fifteen that
the base never drew, and five at the corners of the space of faces. It draws them in
four scenes that the portrait does not show. With the same prompts and seeds it draws
the mean person, a random one, the name whose portrait is nearest, and the truth (the
oracle); for ten people also two free vectors (Textual Inversion), DreamBooth-LoRA, and
the coefficients that a network predicts. Scored are identity (by the judge of people,
which conditions nothing), face numbers, whether a person is there at all, and the
prompt. At last each of the ten holds a balloon, as the base never saw people do, and
meets the next one in a picture.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.base import picture_size
from perso_lite.commands.evaluations.held_out_people import (
    COMPARED,
    held_out_people,
    rendered_person,
)
from perso_lite.commands.evaluations.people_pairs import two_people
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
from perso_lite.concepts import Concept
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.metrics import for_judge, read_attribute
from perso_lite.evaluation.names import face_similarity, true_portraits
from perso_lite.evaluation.scores import ConceptScores, oracle_scores, score_concept
from perso_lite.method import attached
from perso_lite.methods import METHODS, load_method
from perso_lite.methods.celeb_basis.basis import NameBasis, basis_of
from perso_lite.methods.celeb_basis.celeb_basis import CelebBasis
from perso_lite.training import fit
from perso_lite.world.people import THETA

# no article: people are called by a name; the portrait shows none of this
PROMPTS = (
    "a photo of {} on a beach", "{} wearing glasses in a library",
    "a photo of {} in the snow", "a watercolor of {}",
)  # fmt: skip
# the base never saw people hold one, and often leaves it out
BALLOONS = (
    "{} holding a balloon", "{} holding a balloon on a beach",
    "{} holding a balloon in the snow", "{} holding a balloon in a library",
)  # fmt: skip
LENGTHS = (30, 60, 120)  # training steps after which it is scored (ours)
RADII = (0.5, 1.0, 2.0)  # for drawing, beside that of training (ours)
OTHER_STEPS = {"textual_inversion": 200, "dreambooth_lora": 100}  # ours
MEAN_DEVIATION = 0.25  # of a uniform face number from its mean

Points = Callable[
    [StableDiffusionPipeline, Judges, Concept, argparse.Namespace], Iterator[Point]
]


def celeb_points(
    source: str,
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Iterator[Point]:
    """After each training length; of free weights, the last also at other radii."""
    word = (concept.class_word, concept.placeholder_token)
    method = CelebBasis(base, *word, source=source)
    for step in fit(method, concept, max(LENGTHS)):
        if step.index + 1 in LENGTHS:
            yield f"celeb basis {source} {step.index + 1}", [method]
    method.without_network().save(saved(options.out, concept, source))
    if source == "free":
        for method.radius in RADII:
            yield f"celeb basis at radius {method.radius:g}", [method]


def saved(folder: Path, concept: Concept, source: str = "free") -> Path:
    """Where the person of the longest training is kept."""
    ending = "" if source == "free" else f"-{source}"
    return folder / f"{concept.name}-celeb_basis{ending}.safetensors"


def unlearned_points(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Iterator[Point]:
    """The mean person, a random one, and the name whose portrait is nearest."""
    word, basis = (concept.class_word, concept.placeholder_token), basis_of(base)
    seed = held_out_people().index(concept.name)
    yield "mean person", [CelebBasis(base, *word, radius=0)]
    yield "random person", [CelebBasis(base, *word, seed=seed)]
    name = nearest_name(judges, concept, basis)
    as_named = {"initializer_name": name, "training_radius": None}
    all_directions = basis.num_components
    yield "nearest name", [CelebBasis(base, *word, all_directions, **as_named)]


def nearest_name(judges: Judges, concept: Concept, basis: NameBasis) -> str:
    """The name of a basis whose true portrait the judge finds nearest to the photo."""
    portraits = true_portraits(basis.names)
    photo = concept.pictures(portraits.shape[-1])
    return basis.names[int(face_similarity(judges, photo, portraits).mean(0).argmax())]


def other_points(
    name: str,
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Iterator[Point]:
    """Another method, from the same portrait; Textual Inversion with two vectors."""
    settings = {"num_vectors": 2} if name == "textual_inversion" else {}
    word = (concept.class_word, concept.placeholder_token)
    method = METHODS[name](base, *word, **settings)
    for _ in fit(method, concept, OTHER_STEPS[name]):
        pass
    method.save(options.out / f"{concept.name}-{name}.safetensors")
    yield name, [method]


def balloon_points(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Iterator[Point]:
    """The mean person, and what other groups learned, from its files in `options.out`.

    Raises:
        PersoError: a file is missing or damaged.
    """
    word = (concept.class_word, concept.placeholder_token)
    yield "balloon: mean person", [CelebBasis(base, *word, radius=0)]
    for name in ("celeb_basis", *OTHER_STEPS):
        path = options.out / f"{concept.name}-{name}.safetensors"
        yield f"balloon: {name}", [load_method(path, base)]


def scored(
    points_of: Points,
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
    prompts: Sequence[str] = PROMPTS,
) -> Scores:
    """The scores of one person at a group of points: point -> score -> values."""
    seeds, drawing = range(options.seeds), drawing_options(options, batch_size=20)
    points = {}
    for name, methods in points_of(base, judges, concept, options):
        texts = [prompt_for(methods, prompt) for prompt in prompts]
        with attached(base, *methods):
            found = score_concept(base, judges, concept, texts, seeds, **drawing)
        points[name] = person_scores(judges, concept, found)
    return points


def painted(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Scores:
    """The scores of the truth."""
    size = picture_size(base)
    found = oracle_scores(judges, concept, PROMPTS, range(options.seeds), size)
    return {"oracle": person_scores(judges, concept, found)}


def prompt_for(methods: list, prompt: str) -> str:
    """A prompt as it was said in training: with an article, unless it is a name."""
    named = all(isinstance(method, CelebBasis) for method in methods)
    return prompt if named else prompt.replace("{}", "a {}")


@torch.no_grad()
def person_scores(
    judges: Judges, concept: Concept, found: ConceptScores
) -> dict[str, list[float]]:
    """The usual scores, whether a person is drawn, and errors of the face numbers.

    An error of 1 is that of the mean person, on average over all people.
    """
    people = read_attribute(judges, found.pictures, "class")
    theta = torch.tensor(concept.truth["theta"])
    guess = judges.faces.theta(for_judge(found.pictures, judges.faces)).cpu()
    errors: Tensor = (guess - theta).abs() / MEAN_DEVIATION  # (pictures, 18)
    scores = scores_as_json(found)
    scores["person"] = [float(label == "person") for label in people]
    scores["face error"] = errors.mean(1).tolist()
    columns = zip(THETA, errors.unbind(1), strict=True)
    return scores | {f"error of {n}": column.tolist() for n, column in columns}


def compared(
    part: Part,
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    options: argparse.Namespace,
) -> Scores:
    """The scores of a part, but nothing for people after the first `COMPARED`."""
    if concept.name in held_out_people()[COMPARED:]:
        return {}
    return part(base, judges, concept, options)


GROUPS: dict[str, Part] = {
    "free": partial(scored, partial(celeb_points, "free")),
    "unlearned": partial(scored, unlearned_points),
    "oracle": painted,
    **{
        name: partial(compared, partial(scored, partial(other_points, name)))
        for name in OTHER_STEPS
    },
    "network": partial(compared, partial(scored, partial(celeb_points, "network"))),
    "balloon": partial(compared, partial(scored, balloon_points, prompts=BALLOONS)),
    "pairs": partial(compared, two_people),
}


def main(argv: list[str] | None = None) -> None:
    """Run `evaluate celeb`."""
    options = parser("celeb", __doc__, GROUPS, "20 people").parse_args(argv)
    people = (held_out_people(), rendered_person)
    measure(options, GROUPS, "celeb.json", measured_part, *people)
