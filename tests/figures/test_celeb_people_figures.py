"""The figure of the panel of people: bars are the coefficients that it is given."""

import pytest
import torch
from matplotlib.colors import same_color
from PIL import Image

from perso_lite.figures.celeb_people import WIDEST, finding, person_figure
from perso_lite.figures.style import BLUE, PINK
from perso_lite.teaching.panel import to_png

START = torch.tensor([[0.5, -1.0, 0.0], [2.0, 0.25, -0.5]])
MOVED = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, -3.5]])


def figure_of(coefficients, moved=MOVED):
    picture = Image.new("RGB", (32, 32), "red")
    return person_figure(picture, "somebody", coefficients, START, moved, "found")


def bars_of(axis):
    return [patch for patch in axis.patches if patch.get_width() == 0.7]


def test_bars_are_the_coefficients_and_pink_where_moved():
    figure = figure_of(START + MOVED)
    picture, *charts = figure.axes
    assert picture.get_title() == "somebody" and figure.get_suptitle() == "found"
    for slot, axis in enumerate(charts):
        bars = bars_of(axis)
        heights = [bar.get_height() for bar in bars]
        assert heights == pytest.approx((START + MOVED)[slot].tolist())
        for bar, moved in zip(bars, MOVED[slot].tolist(), strict=True):
            assert same_color(bar.get_facecolor(), PINK if moved else BLUE)
    to_png(figure)


def test_lines_mark_the_start_where_it_is_not_any_more():
    lines = [
        axis.collections[0].get_segments() for axis in figure_of(START + MOVED).axes[1:]
    ]
    assert [[part[0][1] for part in of_slot] for of_slot in lines] == [[-1.0], [-0.5]]
    still = figure_of(START, torch.zeros_like(MOVED))
    assert all(not axis.collections[0].get_segments() for axis in still.axes[1:])


def test_both_charts_have_one_scale_which_holds_all_bars():
    for scale in (0.1, 1, 4):
        chart, other = figure_of(scale * START).axes[1:]
        low, high = chart.get_ylim()
        assert -low == high == other.get_ylim()[1] >= max(WIDEST, 2 * scale)


def test_the_title_says_the_nearest_name_and_the_distance():
    assert finding(("an oka", 0.514), 399, 1.04) == (
        "The nearest of 399 names is an oka: cosine 0.51;\n"
        "1.04 times as far from the mean as half of the names"
    )
    assert finding(None, 399, 0.0).startswith("The mean person")
