"""Charts show the numbers they were given."""

from itertools import pairwise

import matplotlib.pyplot as plt
import pytest
import torch

from perso_lite.errors import PersoError
from perso_lite.figures.charts import (
    show_bars,
    show_flow,
    show_intervals,
    show_lines,
    show_matrix,
)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_bars_stand_side_by_side_at_their_ticks():
    figure = show_bars(
        {"keys": [0.1, 0.2, 0.3], "values": torch.tensor([0.4, 0.5, 0.6])},
        ["class", "color", "place"],
        title="found",
    )
    (axis,) = figure.axes
    heights = [round(bar.get_height(), 4) for bar in axis.patches]
    assert heights == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axis.patches)
    assert all(one[1] <= two[0] for one, two in pairwise(edges))
    assert [tick.get_text() for tick in axis.get_xticklabels()] == [
        "class",
        "color",
        "place",
    ]
    assert [text.get_text() for text in axis.get_legend().texts] == ["keys", "values"]
    assert axis.get_title() == "found"


def test_a_bar_for_every_tick_is_wanted():
    with pytest.raises(PersoError, match="'keys' has 2 values for 3 ticks"):
        show_bars({"keys": [1, 2]}, ["a", "b", "c"], title="")


def test_intervals_reach_from_end_to_end():
    figure = show_intervals(
        {"first": (0.5, 0.4, 0.7), "second": (0.2, 0.1, 0.3)},
        title="found",
        xlabel="score",
        reference=("chance", 0.15),
    )
    (axis,) = figure.axes
    assert [bar.get_width() for bar in axis.patches] == [0.5, 0.2]
    lines = [c for c in axis.collections if c.get_segments()]
    ends = sorted(s[:, 0].tolist() for c in lines for s in c.get_segments())
    assert ends == [pytest.approx([0.1, 0.3]), pytest.approx([0.4, 0.7])]
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the first on top


def test_lines_lie_in_their_panels():
    panels = {"left": {"a": [1, 2]}, "right": {"a": [3, 4], "b": torch.tensor([5, 6])}}
    figure = show_lines([10, 20], panels, title="found", xlabel="layer")
    drawn = [[line.get_ydata().tolist() for line in a.lines] for a in figure.axes]
    assert drawn == [[[1, 2]], [[3, 4], [5, 6]]]
    assert [axis.get_title() for axis in figure.axes] == ["left", "right"]


def test_a_matrix_keeps_rows_and_columns():
    values = torch.arange(6.0).view(2, 3)
    figure = show_matrix(values, ["r", "s"], ["x", "y", "z"], title="", label="IoU")
    assert figure.axes[0].images[0].get_array().tolist() == values.tolist()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["r", "s"]


def test_arrows_lead_from_box_to_box():
    boxes = {"text": (0, 0, "a text"), "map": (1, 0.5, "W"), "end": (2, 0, "an answer")}
    ways = [("text", "map"), ("map", "end")]
    figure = show_flow(boxes, ways, title="found", colors={"map": "pink"})
    (axis,) = figure.axes
    texts = [text for text in axis.texts if text.get_text()]
    assert [text.get_text() for text in texts] == ["a text", "W", "an answer"]
    fills = [text.get_bbox_patch().get_facecolor() for text in texts]
    assert fills[0] == fills[2] != fills[1]
    arrows = [text for text in axis.texts if not text.get_text()]
    assert [(arrow.get_position(), arrow.xy) for arrow in arrows] == [
        ((0, 0), (1, 0.5)),
        ((1, 0.5), (2, 0)),
    ]
    figure.draw_without_rendering()


def test_an_arrow_wants_boxes_at_both_ends():
    with pytest.raises(PersoError, match="from 'text' to 'map'"):
        show_flow({"text": (0, 0, "a text")}, [("text", "map")], title="")
