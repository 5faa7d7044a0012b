"""Every number with an interval in the documents is what data/results says.

So are those in the notebooks' prose. A number that is not in the tables of this file
fails, too: say there from which result it follows.
"""

import json
import re
from collections.abc import Callable
from functools import cache

import notebook_rules as rules
import pytest
import torch

from perso_lite import bootstrap_interval
from perso_lite.evaluation.claims.shipped import difference, measured, ranked_right
from perso_lite.evaluation.tradeoff import RESULTS, Interval, interval, load_results

ROOT = rules.ROOT
PAGES = ["README.md", "notebooks/README.md", "notebooks/LIBRARY.md"]
PAGES += ["data/README.md"]
NUMBER = r"[-+]?\d+(?:\.\d+)?"
INTERVAL = re.compile(rf"{NUMBER}(?: %)? \[{NUMBER}, {NUMBER}\]")


# -- what was measured -----------------------------------------------------------------


@cache
def results(name: str):
    return load_results(RESULTS.with_name(f"{name}.json"))


@cache
def values(name: str):
    return json.loads(RESULTS.with_name(f"{name}.json").read_text())


@cache
def toys():
    return measured("five pictures")


def gain(point: str, over: str, score: str = "instance") -> Interval:
    return interval(toys(), point, score, over=over)


def one(point: str, over: str, score: str = "instance") -> Interval:
    """The gain of what was learned from one picture."""
    return interval(results("textboost"), point, score, over=over)


def people(point: str, over: str) -> Interval:
    """The gain in identity over the people that both points have."""
    return difference("people", "instance", point, over)[0]


def pairs(row: str, score: str = "own", over: str | None = None) -> Interval:
    """A score of two toys side by side; pairs are resampled first."""
    found = torch.tensor([pair[score] for pair in values("pairs")[row]])
    if over:
        found = found - torch.tensor([pair[score] for pair in values("pairs")[over]])
    groups = torch.arange(len(found)).repeat_interleave(found.shape[1])
    return bootstrap_interval(found.flatten(), groups=groups)


def right_of_its_class(score: str) -> Interval:
    """In which share of pairs the right toy comes before another of its class."""
    return bootstrap_interval(ranked_right(score))


def two_people(kind: str) -> Interval:
    return interval(results("celeb"), f"two people: {kind}", "recognised")


def way_to_the_oracle() -> Interval:
    """From the mean person to the oracle, as a mean without an interval."""
    points = ("celeb basis free 120", "mean person", "oracle")
    of = results("celeb")
    ours, low, high = (torch.cat(of[p]["instance"][:15]).mean() for p in points)
    return ((ours - low) / (high - low)).item(), 0, 0


def opposite(of: Interval) -> Interval:
    """The interval of minus the difference."""
    mean, low, high = of
    return -mean, -high, -low


# -- how it is written -----------------------------------------------------------------


def signed(of: Interval) -> str:
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*of)


def thousandths(of: Interval) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*of)


def plain(of: Interval) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*of)


def percent(of: Interval) -> str:
    return "{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * number for number in of))


def mean(of: Interval) -> str:
    return f"{of[0]:+.2f}"


def mean_percent(of: Interval) -> str:
    return f"{of[0]:.0%}".replace("%", " %")


WORD, GATE, FREE = "textual_inversion 400", "perfusion local 0.65", "neti knows neither"
LORA, CUSTOM = "dreambooth_lora 150", "custom_diffusion 150"
WIDE, CLOSED = "perfusion local 0.45", "perfusion local 1.0"
TRAINED = "perfusion trained 0.65"
STRANGER, CAT = "celeb basis free 120", "catversion 200"
OF_CLASS = ", class word"
UNKEPT = f"textboost without knowledge preservation{OF_CLASS}"
OFTEN = ("textboost augmented often", "textboost augmented silently and often")

Claim = tuple[str, Callable[[Interval], str], Callable[[], Interval]]
# words with {} for the number, how the number is written, what it is
CLAIMS: dict[str, list[Claim]] = {
    "README.md": [
        ("adds {} of a toy", plain, lambda: gain(WIDE, CLOSED)),
        ("falls by only {}", plain, lambda: opposite(gain(WIDE, CLOSED, "clip_text"))),
        ("over the class word: {}", signed, lambda: gain(WORD, "class prior")),
        ("the layer ({})", signed, lambda: gain("neti knows layer", FREE)),
        ("does not ({})", signed, lambda: gain("neti 100", "neti knows layer")),
        ("each with {} of its own", plain, lambda: pairs("perfusion exact")),
        (
            "two LoRAs have {} less",
            plain,
            lambda: pairs("perfusion exact", over="dreambooth_lora"),
        ),
        ("known people ({})", signed, lambda: people(STRANGER, "nearest name")),
        ("made for it ({})", signed, lambda: one("perfusion", "textboost")),
        ("in {} of pairs", percent, lambda: right_of_its_class("clip_image_plain")),
    ],
    "data/README.md": [
        ("({} over the class word)", signed, lambda: gain(WORD, "class prior")),
        ("{} over that vector", signed, lambda: gain(GATE, WORD)),
        ("{} over DreamBooth-LoRA", signed, lambda: gain(GATE, LORA)),
        ("{} over Custom Diffusion", signed, lambda: gain(GATE, CUSTOM)),
        ("CLIP-T {} and", mean, lambda: gain(LORA, GATE, "clip_text")),
        ("and {})", mean, lambda: gain(CUSTOM, GATE, "clip_text")),
        ("rises by {}", plain, lambda: gain(WIDE, CLOSED)),
        ("falls by {}", plain, lambda: opposite(gain(WIDE, CLOSED, "clip_text"))),
        ("({} outside)", thousandths, lambda: gain(GATE, TRAINED, "leaked")),
        ("of the toy ({})", signed, lambda: gain(GATE, TRAINED)),
        ("after 400 ({})", signed, lambda: gain("neti 100", WORD)),
        ("learn ({})", signed, lambda: gain("neti 100", "neti knows no bypass")),
        ("the layer ({})", signed, lambda: gain("neti knows layer", FREE)),
        ("does not ({})", signed, lambda: gain("neti 100", "neti knows layer")),
        ("than XTI ({})", signed, lambda: gain(CAT, "xti 200")),
        ("than Perfusion ({})", signed, lambda: gain(CAT, GATE)),
        (
            "here ({} against the first two)",
            signed,
            lambda: gain("layers 4 to 5", "layers 0 to 1"),
        ),
        ("score in {}", percent, lambda: right_of_its_class("clip_image_plain")),
        ("each side has {} of its own", plain, lambda: pairs("perfusion exact")),
        (
            "two LoRAs have {} less",
            plain,
            lambda: pairs("perfusion exact", over="dreambooth_lora"),
        ),
        ("(identity {}", signed, lambda: people(STRANGER, "nearest name")),
        ("people; {} of the way", mean_percent, way_to_the_oracle),
        ("still more ({}", signed, lambda: people("textual_inversion", STRANGER)),
        ("its class word ({})", signed, lambda: one("textboost", "class prior")),
        ("from it ({})", signed, lambda: one("textboost", "perfusion")),
        ("less of it ({})", signed, lambda: one(f"textboost{OF_CLASS}", UNKEPT)),
        ("({} of the pictures)", signed, lambda: one(*OFTEN, "transformed")),
        (
            "step of Perfusion takes {}",
            plain,
            lambda: values("perfusion_cost")["training"]["perfusion"],
        ),
        (
            "concepts attached {}",
            plain,
            lambda: values("perfusion_cost")["drawing"]["4 concepts"],
        ),
        (
            "its training step takes {}",
            plain,
            lambda: values("neti_cost")["training"]["neti"],
        ),
        (
            "alone takes {} of the U-Net",
            plain,
            lambda: list(values("neti_cost")["text beside the U-Net"].values())[-1],
        ),
        ("prompt {}", plain, lambda: values("neti_cost")["drawing"]["first picture"]),
        ("of CatVersion takes {}", plain, lambda: values("step_cost")["catversion"]),
        ("of Celeb Basis {}", plain, lambda: values("step_cost")["celeb_basis"]),
        ("of TextBoost {}", plain, lambda: values("step_cost")["textboost"]),
    ],
    "notebooks/06_catversion.ipynb": [
        ("{}", plain, lambda: values("step_cost")["catversion"])
    ],
    "notebooks/07_celeb_basis.ipynb": [
        ("{}", plain, lambda: values("step_cost")["celeb_basis"]),
        ("nearest in {}", percent, lambda: two_people("celeb_basis")),
        ("more often, in {}", percent, lambda: two_people("textual_inversion")),
    ],
}


def prose_of(page: str) -> str:
    """A page in one line, without its tables."""
    path = ROOT / page
    text = (
        rules.markdown(rules.read(path))
        if path.suffix == ".ipynb"
        else path.read_text()
    )
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    return " ".join(" ".join(lines).split())


ALL_PAGES = [*PAGES, *(f"notebooks/{path.name}" for path in rules.NOTEBOOKS)]


@pytest.mark.parametrize("page", ALL_PAGES)
def test_numbers_in_prose_are_the_results(page):
    prose, written = prose_of(page), []
    for words, style, measure in CLAIMS.get(page, []):
        number = style(measure())
        assert words.format(number) in prose, f"{page}: {words.format(number)}"
        written.append(number)
    unknown = [found for found in INTERVAL.findall(prose) if found not in written]
    assert unknown == [], f"{page}: say in CLAIMS where these are from"


def rows_of(page: str, first: str) -> dict[str, list[str]]:
    """The rows of the table whose head has `first`, by their first cell."""
    text = (ROOT / page).read_text()
    table = next(t for t in re.findall(r"(?:^\|.*\n)+", text, re.M) if first in t)
    cells = [
        [c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()
    ]
    return {name: rest for name, *rest in cells[2:]}


def test_the_table_of_methods_is_the_results():
    rows = rows_of("data/README.md", "prompt accuracy")
    point_of = {point.replace("_", " "): point for point in toys()}
    point_of["neti 200, truncated to 4 units"] = "neti truncated 4"
    assert len(rows) >= 15
    for row, cells in rows.items():
        for score, cell in zip(("instance", "prompt", "clip_text"), cells, strict=True):
            of = interval(toys(), point_of[row], score)
            assert cell == "{:.3f} [{:.3f}, {:.3f}]".format(*of), (row, score)


@pytest.mark.parametrize("page", ["data/README.md", "data/PROVENANCE.md"])
def test_the_table_of_the_base_is_the_results(page):
    rows, named = rows_of(page, "asked for"), values("base")
    names = {
        "both toys of a pair, sides right": "both of a pair",
        "both colors of a pair": "both, with their colors",
        "framing named in the prompt": "augmentation",
    }
    assert len(rows) == len(named)
    for row, cells in rows.items():
        of = named[names.get(row, row.replace("new combination", "new"))]
        drawn, low, high = (100 * number for number in of["drawn"])
        wanted = [f"{of['n']}", f"{drawn:.1f} % [{low:.1f}, {high:.1f}]"]
        ends = ("true renders", "through the autoencoder")
        wanted += [f"{100 * of[end]:.1f} %" for end in ends]
        assert cells == wanted, row


TIMES = {  # a word in the head of a table, its result, and the parts in its columns
    "ours beside theirs": ("public_scripts_cost", ("toy", "sd15")),
    "concepts attached": (
        "concepts_cost",
        tuple(f"{count} concepts" for count in (1, 2, 4, 8)),
    ),
    "cross-attention recorded": ("recording_cost", ("pictures: 1", "pictures: 4")),
}


@pytest.mark.parametrize("head", TIMES)
def test_the_tables_of_times_are_the_results(head):
    name, columns = TIMES[head]
    of = values(name)
    if name == "concepts_cost":
        of = of["toy"]  # by method, then by count
    else:
        of = {row: {c: of[c].get(row) for c in columns} for row in of[columns[0]]}
    rows = rows_of("data/PROVENANCE.md", head)
    said = {row.lower().replace(" ", "_"): cells for row, cells in rows.items()}
    assert said == {
        row.lower().replace(" ", "_"): [
            plain(of[row][c]) if of[row][c] else "not measured" for c in columns
        ]
        for row in of
    }


def test_an_altered_number_is_found(monkeypatch):
    prose = prose_of("data/README.md").replace("+0.39 [+0.29", "+0.40 [+0.29")
    monkeypatch.setitem(globals(), "prose_of", lambda page: prose)
    with pytest.raises(AssertionError, match="over that vector"):
        test_numbers_in_prose_are_the_results("data/README.md")


def test_a_number_from_nowhere_is_found(monkeypatch):
    prose = prose_of("README.md") + " It has 0.99 [0.98, 1.00]."
    monkeypatch.setitem(globals(), "prose_of", lambda page: prose)
    with pytest.raises(AssertionError, match="where these are from"):
        test_numbers_in_prose_are_the_results("README.md")
