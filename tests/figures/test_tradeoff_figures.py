"""Trade-off curves show the points they were given."""

import matplotlib.pyplot as plt
import torch

from perso_lite.figures.tradeoff import show_methods, show_tradeoff


def test_curves_and_marks_are_drawn_where_they_lie():
    figure = show_tradeoff(
        {"a": [(0, 1), (1, 0)]},
        {"here": (0.5, 0.5)},
        title="found",
        labels={"a": ["x", "y"]},
    )
    (axis,) = figure.axes
    curve, mark = axis.lines
    assert list(curve.get_xdata()) == [0, 1]
    assert list(mark.get_xdata()) == [0.5]
    assert [text.get_text() for text in axis.texts] == ["x", "y"]
    plt.close(figure)


def test_a_cross_spans_both_intervals_of_its_point():
    figure = show_tradeoff(
        {"a": [(0, 1), (1, 0)]},
        {},
        title="found",
        crosses={"a": ((1, 0.5, 2), (0, -1, 0.25))},
        xlabel="image",
        ylabel="text",
    )
    (axis,) = figure.axes
    spans = [lines.get_segments()[0].tolist() for lines in axis.collections]
    assert spans == [[[0.5, 0], [2, 0]], [[1, -1], [1, 0.25]]]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("image", "text")
    plt.close(figure)


def test_methods_are_curves_with_one_cross_each():
    def point(x, y):
        return {"instance": [torch.tensor([x])], "prompt": [torch.tensor([y])]}

    results = {
        "class prior": point(0.0, 1.0),
        "gate 0.75": point(0.5, 0.75),
        "gate 0.5": point(0.75, 0.5),
        "word 50": point(0.25, 1.0),
        "oracle": point(1.0, 1.0),
    }
    figure = show_methods(
        results, title="found", crosses_at={"gate": "gate 0.75"}, leave_out=["word"]
    )
    (axis,) = figure.axes
    gate, prior, oracle = axis.lines
    assert list(gate.get_xdata()) == [0.5, 0.75]
    assert list(gate.get_ydata()) == [0.75, 0.5]
    assert (list(prior.get_xdata()), list(oracle.get_xdata())) == ([0], [1])
    assert [text.get_text() for text in axis.texts] == ["0.75", ""]
    horizontal, vertical = axis.collections
    assert horizontal.get_segments()[0].tolist() == [[0.5, 0.75], [0.5, 0.75]]
    assert vertical.get_segments()[0].tolist() == [[0.5, 0.75], [0.5, 0.75]]
    plt.close(figure)
