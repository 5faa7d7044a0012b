"""Figures of Celeb Basis: what they draw is what they are given."""

import numpy as np
import pytest
import torch
from PIL import Image

from perso_lite.figures.celeb_basis import (
    show_cloud,
    show_face_numbers,
    show_mixture,
    show_parts,
    show_spectrum,
)
from perso_lite.teaching.panel import to_png


def texts(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def test_the_weights_alone_are_learned():
    (axis,) = show_parts("found").axes
    pink = [
        text.get_text()
        for text in axis.texts
        if text.get_bbox_patch() and text.get_bbox_patch().get_facecolor()[1] < 0.8
    ]
    assert pink == ["weights $h$,\n2 x p numbers"]
    assert axis.get_title(loc="left") or axis.get_title() == "found"


def test_a_mixture_shows_a_picture_and_a_value_for_each_part():
    pictures = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 99, 255)]
    numbers = {"skin": torch.tensor([0.1, 0.4, 0.9]), "hair_hue": torch.zeros(3)}
    figure = show_mixture(pictures, [0.0, 0.5, 1.0], numbers, title="found")
    *shown, lines = figure.axes
    assert [axis.get_title() for axis in shown] == ["t = 0.0", "t = 0.5", "t = 1.0"]
    assert [axis.images[0].get_array()[0, 0, 0] for axis in shown] == [0, 99, 255]
    assert np.allclose(lines.lines[0].get_ydata(), [0.1, 0.4, 0.9])
    assert [line.get_label() for line in lines.lines] == ["skin", "hair hue"]
    assert figure.get_suptitle() == "found"


def test_the_cliff_is_drawn_behind_the_last_direction_of_the_names():
    deviations, few = torch.rand(2, 9), torch.tensor([3.0, 2.0, 0.0, 0.0])
    agreement = torch.tensor([1.0, 1.0, 0.2, 0.1])
    figure = show_spectrum(deviations, few, agreement, 2, title="found")
    left, middle, right = figure.axes
    assert np.allclose([line.get_ydata() for line in left.lines], deviations)
    for axis, values in ((middle, few), (right, agreement)):
        drawn, cliff = axis.lines
        assert np.allclose(drawn.get_ydata(), values)
        assert set(cliff.get_xdata()) == {1.5}  # between the directions 1 and 2


def test_the_cloud_has_each_slot_in_its_chart():
    cloud = {"names": torch.rand(7, 2, 2), "learned": torch.rand(1, 2, 2)}
    axes = show_cloud(cloud, title="found").axes
    for slot, axis in enumerate(axes):
        names, learned = (part.get_offsets() for part in axis.collections)
        assert np.allclose(names, cloud["names"][:, slot])
        assert np.allclose(learned, cloud["learned"][:, slot])


def test_face_numbers_are_sorted_by_the_first_series():
    scores = {
        "ours": {"skin": 0.2, "eye_hue": 0.9, "beard": 0.5},
        "other": {
            "skin": (0.3, 0.1, 0.4),
            "eye_hue": (1, 0.9, 1.1),
            "beard": (0, 0, 0),
        },
    }
    reference = ("mean person", 1.0)
    figure = show_face_numbers(scores, title="t", xlabel="x", reference=reference)
    (axis,) = figure.axes
    assert texts(axis) == ["skin", "beard", "eye hue"]  # the last one is on top
    ours, other, skin, *_, line = axis.lines
    assert np.allclose(ours.get_xdata(), [0.2, 0.5, 0.9])
    assert np.allclose(other.get_xdata(), [0.3, 0, 1])
    assert np.allclose(skin.get_xdata(), [0.1, 0.4])
    assert set(line.get_xdata()) == {1.0}
    assert ours.get_ydata()[0] > other.get_ydata()[0] == skin.get_ydata()[0]


@pytest.mark.parametrize("title", ["found", "a finding " * 8])
def test_the_figures_become_pictures(title):
    figure = show_cloud({"names": torch.rand(3, 2, 2)}, title=title)
    assert to_png(figure)[:4] == b"\x89PNG"
