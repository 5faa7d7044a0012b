"""Figures of mixes: what is drawn is what was given."""

import itertools

import torch
from matplotlib.colors import to_hex
from PIL import Image

from perso_lite.evaluation.mix import LOST, MIXED, RIGHT, point_of
from perso_lite.figures.mix import FRAMES, show_mix, show_three

WORDS = ("toy word", "person word")


def results():
    """Every pair is right, but for one whose left side is like its class word."""
    found = {}
    for left, right in itertools.product((*WORDS, *MIXED), repeat=2):
        own = [0.1 if name in WORDS else 0.6 for name in (left, right)]
        if (left, right) == ("neti", "perfusion"):
            own[0] = 0.1
        values = {"left own": own[0], "left other": 0.0, "right own": own[1],
                  "right other": 0.0}  # fmt: skip
        found[point_of(left, right)] = {
            name: [torch.full((3,), value)] * 2 for name, value in values.items()
        }
    return found


def test_a_cell_has_a_picture_two_numbers_and_the_frame_of_its_verdict():
    pictures = {"neti + catversion": Image.new("RGB", (8, 8), "red")}
    measured = results()
    del measured["textboost + celeb_basis"]
    figure = show_mix(measured, pictures, title="a finding")
    assert len(figure.axes) == 36
    cells = dict(zip(itertools.product(MIXED, MIXED), figure.axes, strict=True))
    frames = {
        pair: to_hex(axis.spines["left"].get_edgecolor())
        for pair, axis in cells.items()
    }
    assert frames.pop(("neti", "perfusion")) == FRAMES[LOST]
    assert to_hex("black") == frames.pop(("textboost", "celeb_basis"))
    assert cells["textboost", "celeb_basis"].get_title() == ""
    assert set(frames.values()) == {FRAMES[RIGHT]}
    assert cells["neti", "perfusion"].get_title() == "0.10 | 0.60"
    assert [len(axis.images) for axis in figure.axes].count(1) == 1
    assert len(cells["neti", "catversion"].images) == 1
    assert cells["neti", MIXED[0]].get_ylabel() == "neti"
    assert cells[MIXED[-1], "celeb_basis"].get_xlabel() == "celeb\nbasis"


def test_three_concepts_are_above_what_was_drawn():
    red, blue = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    concepts = {"one": red, "two": red, "three": red}
    rows = {"neti, perfusion, catversion": [blue] * 4, "others": [blue]}
    figure = show_three(concepts, rows, title="a finding")
    shown = [len(axis.images) for axis in figure.axes]
    assert shown == [1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    assert figure.axes[0].get_title() == "one"
    assert figure.axes[4].get_title(loc="left") == "neti, perfusion, catversion"
