"""The pictures of an idea show what they say."""

import matplotlib.pyplot as plt
import pytest
import torch

from perso_lite.figures.perfusion import show_two_paths
from perso_lite.figures.spaces import show_gradients, show_mapper, show_spaces


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_each_space_has_as_many_colors_as_vectors():
    figure = show_spaces(steps=5, layers=4, title="found")
    for axis, vectors in zip(figure.axes, (1, 4, 20), strict=True):
        colors = axis.collections[0].get_array().reshape(-1, 3).round(6)
        assert len({tuple(color) for color in colors.tolist()}) == vectors
        assert axis.get_title().endswith(f": {vectors}")


@pytest.mark.parametrize(
    ("draw", "learned"), [(show_mapper, 4), (show_two_paths, 1)], ids=["neti", "gate"]
)
def test_what_is_learned_is_pink(draw, learned):
    (axis,) = draw("found").axes
    boxes = [text.get_bbox_patch() for text in axis.texts]
    pink = plt.matplotlib.colors.to_rgba("pink")
    assert [box.get_facecolor() == pink for box in boxes if box].count(True) == learned
    assert axis.get_title() == "found"


def test_gradients_are_shown_as_they_are():
    times, layers = torch.eye(2), torch.rand(3, 3)
    figure = show_gradients(times, layers, (100, 900), title="found")
    shown = [axis.images[0].get_array() for axis in figure.axes[:2]]
    assert torch.equal(torch.tensor(shown[0]), times)
    assert torch.equal(torch.tensor(shown[1]), layers)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["100", "900"]
