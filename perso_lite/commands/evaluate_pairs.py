"""Two concepts in one picture: whether both are there, each in its own color.

`python -m perso_lite evaluate pairs` attaches two by two the concept files of `evaluate
tradeoff`, each learned alone. It reads the pictures and compares their sides with the
concepts that should be there, for the exact joint edit of Perfusion, the naive ones,
two words of Textual Inversion, two LoRAs, and plain words of the base.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.base import load_base
from perso_lite.commands.evaluate_tradeoff import EARLY
from perso_lite.commands.options import drawing_options, measuring_parser
from perso_lite.concepts import Concept, load_concept
from perso_lite.evaluation.judges import ATTRIBUTES, PICTURE_SIZE, Judges, load_judges
from perso_lite.evaluation.metrics import instance_similarity, read_attributes
from perso_lite.evaluation.prompts import toys
from perso_lite.files.reading import existing_file
from perso_lite.files.writing import check_writable, write_atomically
from perso_lite.method import attached
from perso_lite.methods import load_method
from perso_lite.methods.perfusion.joint_edit import joint_edit
from perso_lite.methods.perfusion.rank_one import EDITS
from perso_lite.sampling import generate

PAIR_PROMPTS = ("a {} next to a {}", "a photo of a {} next to a {} on a beach")
PAIRS = 8
FILES = {  # the ends of the file names; Perfusion after half of its steps (ours)
    "perfusion": f"perfusion-local-{EARLY}",
    "textual_inversion": "textual_inversion",
    "dreambooth_lora": "dreambooth_lora",
}
ROWS = ("class words", "color words", *(f"perfusion {edit}" for edit in EDITS),
        "textual_inversion", "dreambooth_lora")  # fmt: skip
SIDE = 5 / 8  # of a picture: a square at the left or right that contains one thing


def color_of(judges: Judges, concept: Concept) -> str:
    """The color that the reader sees in most of a concept's own pictures."""
    labels = read_attributes(judges, concept.pictures(PICTURE_SIZE))
    column = labels[:, list(ATTRIBUTES).index("color")].tolist()
    return ATTRIBUTES["color"][Counter(column).most_common(1)[0][0]]


def pairs_of(judges: Judges) -> list[tuple[Concept, Concept]]:
    """Pairs of shipped toys of different colors: next in the list, then two apart."""
    concepts = [load_concept(name) for name in toys()]
    colors = {concept.name: color_of(judges, concept) for concept in concepts}
    around = [
        (one, concepts[(i + apart) % len(concepts)])
        for apart in (1, 2)
        for i, one in enumerate(concepts)
    ]
    chosen: dict[frozenset[str], tuple[Concept, Concept]] = {}
    for one, other in around:
        if colors[one.name] != colors[other.name]:
            chosen.setdefault(frozenset((one.name, other.name)), (one, other))
    return list(chosen.values())[:PAIRS]


def read_pair(
    judges: Judges, pictures: Tensor, one: Concept, other: Concept
) -> dict[str, list[bool]]:
    """What the reader finds in pictures that should show both concepts.

    Args:
        judges: as loaded.
        pictures: (pictures, 3, height, width) in [0, 1].
        one: a concept of the pair.
        other: the other one.

    Returns:
        For each picture whether it shows "both" things, both in their colors ("right"),
        and both with at least one in the color of the other ("swapped").
    """
    names = list(ATTRIBUTES)
    labels = read_attributes(judges, pictures)
    wanted = {c.class_word: color_of(judges, c) for c in (one, other)}
    found: dict[str, list[bool]] = {"both": [], "right": [], "swapped": []}
    for row in labels.tolist():
        words = {n: ATTRIBUTES[n][v] for n, v in zip(names, row, strict=True)}
        seen = {
            words["class"]: words["color"],
            words["second class"]: words["second color"],
        }
        both = seen.keys() == wanted.keys()
        exchanged = dict(zip(wanted, reversed(wanted.values()), strict=True))
        found["both"].append(both)
        found["right"].append(both and seen == wanted)
        found["swapped"].append(
            both and any(seen[thing] == exchanged[thing] for thing in wanted)
        )
    return found


def sides_of(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The lower left and lower right square of pictures, at the pictures' size.

    Args:
        pictures: (pictures, 3, height, width).
    """
    size = pictures.shape[-1]
    side = round(SIDE * size)
    lower, wanted = pictures[:, :, -side:], {"mode": "bilinear", "antialias": True}
    left, right = lower[..., :side], lower[..., -side:]
    shown = [F.interpolate(part, (size, size), **wanted) for part in (left, right)]
    return shown[0], shown[1]


def side_similarity(
    judges: Judges, pictures: Tensor, left: Concept, right: Concept
) -> tuple[Tensor, Tensor]:
    """Instance similarity of the two sides to their own and to the other concept.

    Args:
        judges: as loaded.
        pictures: (pictures, 3, height, width) in [0, 1].
        left: the concept that should be on the left.
        right: the concept that should be on the right.

    Returns:
        For each picture the masked instance similarity to the concept that should be
        there, mean of both sides, (pictures,); and the same to the other concept.
    """
    found, size = {}, pictures.shape[-1]
    for side, square in zip(("left", "right"), sides_of(pictures), strict=True):
        for name, concept in (("left", left), ("right", right)):
            references, masks = concept.pictures(size), concept.mask_tensor(size, size)
            found[side, name] = instance_similarity(
                judges, square, references, True, masks
            )
    own = (found["left", "left"] + found["right", "right"]) / 2
    return own, (found["left", "right"] + found["right", "left"]) / 2


@contextmanager
def pair_attached(
    base: StableDiffusionPipeline,
    row: str,
    pair: tuple[Concept, Concept],
    folder: Path,
) -> Iterator[None]:
    """Inside, both concepts are attached as the row requires.

    Args:
        base: to load and to draw on.
        row: one of `ROWS`.
        pair: the concepts.
        folder: with the files of `evaluate tradeoff`.

    Raises:
        PersoError: a file is missing or damaged.
    """
    kind, _, edit = row.partition(" ")
    if kind not in FILES:
        yield
        return
    paths = [folder / f"{concept.name}-{FILES[kind]}.safetensors" for concept in pair]
    methods = [load_method(path, base) for path in paths]
    with ExitStack() as stack:
        if edit:
            stack.enter_context(joint_edit(base, edit))
        stack.enter_context(attached(base, *methods))
        yield


def words_of(judges: Judges, row: str, pair: tuple[Concept, Concept]) -> list[str]:
    """The words for the prompts' slots."""
    if row == "class words":
        return [concept.class_word for concept in pair]
    if row == "color words":
        return [f"{color_of(judges, c)} {c.class_word}" for c in pair]
    return [concept.placeholder_token for concept in pair]


def pictures_read(
    base: StableDiffusionPipeline,
    judges: Judges,
    row: str,
    pair: tuple[Concept, Concept],
    seeds: Sequence[int],
    drawing: dict[str, float],
) -> dict[str, list]:
    """Draw a pair in both orders, and score it by `read_pair` and `side_similarity`.

    Args:
        base: the pipeline, with the pair attached.
        judges: as loaded.
        row: one of `ROWS`; it chooses the words.
        pair: the concepts.
        seeds: one picture per prompt and seed.
        drawing: more arguments of `generate`.

    Returns:
        By the names of `read_pair`, "own" and "other": one value per picture.
    """
    found: dict[str, list] = {}
    for left, right in (pair, pair[::-1]):
        words = words_of(judges, row, (left, right))
        prompts = [prompt.format(*words) for prompt in PAIR_PROMPTS]
        drawn = generate(base, prompts, tuple(seeds), output_type="pt", **drawing)
        scores = read_pair(judges, drawn, *pair)
        own, other = side_similarity(judges, drawn, left, right)
        scores |= {"own": own.tolist(), "other": other.tolist()}
        for name, values in scores.items():
            rounded = [v if isinstance(v, bool) else round(v, 4) for v in values]
            found.setdefault(name, []).extend(rounded)
    return found


def main(argv: list[str] | None = None) -> None:
    """Measure all rows, and write them as one JSON file."""
    p = measuring_parser("pairs", __doc__, "evaluation/pairs.json")
    p.add_argument("--tradeoff", "--front", default="evaluation/tradeoff", type=Path)
    options = p.parse_args(argv)
    check_writable(options.out)
    kinds = {row.partition(" ")[0] for row in ROWS} & FILES.keys()
    for name, kind in itertools.product(toys(), sorted(kinds)):
        existing_file(options.tradeoff / f"{name}-{FILES[kind]}.safetensors")
    base, judges = load_base(options.base), load_judges()
    table: dict[str, list[dict]] = {row: [] for row in ROWS}
    drawing = drawing_options(options, batch_size=20)
    for pair in tqdm(pairs_of(judges), desc="pairs"):
        for row in ROWS:
            with pair_attached(base, row, pair, options.tradeoff):
                seeds = range(options.seeds)
                found = pictures_read(base, judges, row, pair, seeds, drawing)
            table[row].append({"pair": [concept.name for concept in pair]} | found)
    write_atomically(options.out, (json.dumps(table) + "\n").encode())
