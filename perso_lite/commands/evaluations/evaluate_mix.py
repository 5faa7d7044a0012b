"""Any mix: two concepts of two methods in one picture, for every ordered pair.

`python -m perso_lite evaluate mix` attaches two concepts, each learned alone by one of
six methods, and draws "a <one> next to a <other>", in both orders of the concepts. Five
methods learned two toys of different classes, Celeb Basis two people, which the base
never drew next to a toy. With the same seeds it draws each word next to a class word,
and two class words. Concepts that are neither in the folder `--out` nor shipped are
learned first, and kept there.

Scores are of each side of a picture, by the judge of the concept that should be there:

* "left own", "right own": similarity to that concept;
* "left other", "right other": similarity to the concept of the other side;
* "sides": 1 if the attribute reader sees the right class on either side.
"""

import argparse
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from diffusers import StableDiffusionPipeline
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.base import load_base
from perso_lite.commands.evaluate_pairs import sides_of
from perso_lite.commands.evaluations.evaluate_textboost import first_picture
from perso_lite.commands.options import drawing_options, measuring_parser
from perso_lite.concepts import Concept, load_concept
from perso_lite.evaluation.judges import Judges, load_judges
from perso_lite.evaluation.metrics import instance_similarity, read_attribute
from perso_lite.evaluation.mix import (
    MIXED,
    PEOPLE_METHOD,
    PERSON_WORD,
    SIDES,
    TOY_WORD,
    class_word_of,
    point_of,
)
from perso_lite.evaluation.names import face_similarity
from perso_lite.figures.pictures import as_images, save_picture
from perso_lite.files import DATA_FOLDER
from perso_lite.files.reading import read_json
from perso_lite.files.writing import check_writable, write_atomically
from perso_lite.method import Method, attached
from perso_lite.methods import METHODS, load_method
from perso_lite.sampling import generate
from perso_lite.training import fit

PROMPT = "{} next to {}"
TOYS, PEOPLE = ("dotty-teddy", "star-rocket"), ("person-a", "person-b")
STEPS = {  # as in the other evaluations
    "textual_inversion": 400, "perfusion": 200, "neti": 200, "catversion": 200,
    "celeb_basis": 120, "textboost": 120,
}  # fmt: skip
FROM_ONE = ("textboost",)  # these learn from the first picture alone
ASKED = (TOY_WORD, PERSON_WORD, *MIXED)  # for each side
ORDERS = (0, 1)  # which of the two concepts is on the left

Scores = dict[str, list[list[float]]]  # score -> values of each order


@dataclass(frozen=True)
class Side:
    """What is asked for on one side of a picture.

    Attributes:
        concept: that should be there, or whose class should.
        words: in the prompt, with an article unless they are a name.
        method: to attach, if something was learned.
    """

    concept: Concept
    words: str
    method: Method | None = None


# -- what is attached ------------------------------------------------------------------


def learned_concept(
    name: str, base: StableDiffusionPipeline, concept: Concept, folder: Path
) -> Method:
    """A concept as a method learned it: from the folder, shipped, or learned now.

    Args:
        name: of the method.
        base: to load or to learn on.
        concept: a shipped one.
        folder: where it is looked for first, and kept if it is learned.

    Raises:
        PersoError: a file is damaged or of another base.
    """
    file = f"{concept.name}-{name}.safetensors"
    for path in (folder / file, DATA_FOLDER / "learned" / file):
        if os.path.exists(path):
            return load_method(path, base)
    method = METHODS[name](base, concept.class_word, concept.placeholder_token)
    shown = first_picture(concept) if name in FROM_ONE else concept
    for _ in fit(method, shown, STEPS[name]):
        pass
    method.save(folder / file)
    return method


def side_for(
    name: str, base: StableDiffusionPipeline, which: int, folder: Path
) -> Side:
    """One side of a pair.

    Args:
        name: of a method, or `TOY_WORD`, or `PERSON_WORD`.
        base: to load on.
        which: of the two toys, or of the two people.
        folder: of the files.
    """
    people = class_word_of(name) == PERSON_WORD
    concept = load_concept((PEOPLE if people else TOYS)[which])
    if name not in MIXED:
        return Side(concept, f"a {concept.class_word}")
    method = learned_concept(name, base, concept, folder)
    article = "" if name == PEOPLE_METHOD else "a "
    return Side(concept, article + method.placeholder_token, method)


# -- how it is scored ------------------------------------------------------------------


def similarity(judges: Judges, squares: Tensor, own: Concept, to: Concept) -> Tensor:
    """Similarity of squares to a concept, by the judge of their own one, (pictures,).

    Args:
        judges: as loaded.
        squares: (pictures, 3, height, width) in [0, 1].
        own: the concept that should be there; it decides which judge looks.
        to: the concept to compare with.
    """
    size = squares.shape[-1]
    if own.class_word == "person":
        return face_similarity(judges, squares, to.pictures(size)).mean(1)
    masks = to.mask_tensor(size, size)
    return instance_similarity(judges, squares, to.pictures(size), True, masks)


def side_scores(
    judges: Judges, pictures: Tensor, left: Concept, right: Concept
) -> dict[str, list[float]]:
    """All scores of pictures that should show two concepts.

    Args:
        judges: as loaded.
        pictures: (pictures, 3, height, width) in [0, 1].
        left: the concept that should be on the left.
        right: the other one.
    """
    pair, found = (left, right), {}
    squares = sides_of(pictures)
    for index, side in enumerate(SIDES):
        own, other = pair[index], pair[1 - index]
        for name, to in (("own", own), ("other", other)):
            alike = similarity(judges, squares[index], own, to)
            found[f"{side} {name}"] = [round(v, 4) for v in alike.tolist()]
    columns = [
        read_attribute(judges, pictures, column) for column in ("class", "second class")
    ]
    wanted = (left.class_word, right.class_word)
    found["sides"] = [float(seen == wanted) for seen in zip(*columns, strict=True)]
    return found


def scored_pair(
    base: StableDiffusionPipeline,
    judges: Judges,
    left: str,
    right: str,
    options: argparse.Namespace,
) -> Scores:
    """The scores of a pair in both orders; the first picture of methods is kept.

    Args:
        base: to draw on.
        judges: as loaded.
        left: of `ASKED`.
        right: the same.
        options: of the command line: seeds, guidance, steps, out.
    """
    drawing = drawing_options(options, batch_size=20, output_type="pt")
    found: Scores = {}
    for order in ORDERS:
        sides = [
            side_for(name, base, which, options.out)
            for name, which in ((left, order), (right, 1 - order))
        ]
        methods = [side.method for side in sides if side.method is not None]
        prompt = PROMPT.format(*(side.words for side in sides))
        with attached(base, *methods):
            drawn = generate(base, [prompt], range(options.seeds), **drawing)
        if order == 0 and len(methods) == 2:
            path = options.out / f"{point_of(left, right)}.png"
            save_picture(as_images(drawn[:1])[0], path)
        scores = side_scores(judges, drawn, *(side.concept for side in sides))
        for name, values in scores.items():
            found.setdefault(name, []).append(values)
    return found


def main(argv: list[str] | None = None) -> None:
    """Measure all pairs; one file for each, so an interrupted run can continue."""
    p = measuring_parser("mix", __doc__, "evaluation/mix", seeds=8)
    p.add_argument("--left", nargs="+", default=ASKED, choices=ASKED)
    options = p.parse_args(argv)
    result = options.out / "mix.json"
    check_writable(result)
    base, judges = load_base(options.base), load_judges()
    pairs = list(itertools.product(ASKED, repeat=2))
    for left, right in tqdm(pairs, desc="pairs"):
        path = part_of(options.out, left, right)
        if left in options.left and not os.path.exists(path):
            scores = scored_pair(base, judges, left, right, options)
            write_atomically(path, json.dumps(scores).encode())
    points = {}
    for pair in pairs:
        path = part_of(options.out, *pair)
        if os.path.exists(path):
            points[point_of(*pair)] = read_json(path, dict)
    write_atomically(result, (json.dumps(points) + "\n").encode())


def part_of(folder: Path, left: str, right: str) -> Path:
    """The file of one pair."""
    return folder / f"{point_of(left, right)}.json"
