"""Figures of NeTI: the word, the Fourier features, the anchors, the truncation."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from per_layer_helpers import neti_anywhere

from perso_lite import PersoError
from perso_lite.figures.neti import (
    anchor_activations,
    principal_plane,
    show_anchors,
    show_kernel,
    show_word_scatter,
)
from perso_lite.figures.truncation import finding
from perso_lite.methods.space_time.analysis import mapper_output
from perso_lite.methods.space_time.mapper import FourierFeatures
from perso_lite.teaching.panel import to_png


@pytest.fixture
def make(tiny):
    return partial(neti_anywhere, tiny)


@pytest.fixture
def toy(make):
    return make()


def test_principal_components_have_the_largest_variance():
    vectors = torch.zeros(4, 5) + 7
    vectors[:, 1] += torch.tensor([-4.0, 4, 0, 0])
    vectors[:, 3] += torch.tensor([0.0, 0, 3, -3])
    places, shares = principal_plane(vectors)
    expected = torch.tensor([[4.0, 0], [4, 0], [0, 3], [0, 3]])
    assert torch.allclose(places.abs(), expected, atol=1e-5)
    assert shares == pytest.approx([16 / 25, 9 / 25])
    assert principal_plane(torch.ones(3, 2))[1] == [0, 0]


def test_words_are_drawn_by_time_and_by_layer(toy):
    figure = show_word_scatter(toy, 3)
    by_time, by_layer = (axes.collections[0] for axes in figure.axes[:2])
    layers = toy.num_layers
    assert by_time.get_array().tolist() == np.repeat([0, 500, 999], layers).tolist()
    assert by_layer.get_array().tolist() == [*range(layers)] * 3
    places, _ = principal_plane(mapper_output(toy, 3).flatten(0, 1))
    assert np.allclose(by_layer.get_offsets(), places)
    to_png(show_word_scatter(toy, 3, truncation_idx=0))  # the same word everywhere


def test_the_kernel_is_the_similarity_of_fourier_features():
    torch.manual_seed(0)
    features = FourierFeatures()
    figure = show_kernel(features, timestep=200, layer=3)
    heat, curve = figure.axes[:2]
    points = torch.tensor([[200.0, 3], [230, 3], [200, 4]])
    one, later, next_layer = features(points)
    drawn = heat.images[0].get_array()  # (layers, times)
    assert drawn.shape == (16, 1000)
    assert drawn[3, 200] == pytest.approx(1, abs=1e-5)
    assert drawn[3, 230] == pytest.approx(float(one @ later), abs=1e-4)
    assert drawn[4, 200] == pytest.approx(float(one @ next_layer), abs=1e-4)
    kernel, gaussian = (line.get_ydata() for line in curve.lines)
    assert np.abs(kernel - gaussian).max() < 0.1
    assert gaussian[230] == pytest.approx(np.exp(-0.405), abs=0.05)  # (0.03 * 30)^2 / 2
    assert "33 timesteps" in figure.get_suptitle() or "34" in figure.get_suptitle()


def test_anchors_answer_where_they_lie(toy, make):
    points = [(300, 2), (900, 5)]
    before, other = toy.mapper, make(seed=1).mapper
    grids = anchor_activations(before, points)
    assert grids.shape == (2, 10, toy.num_layers)
    for grid, at in zip(grids, [(3, 2), (9, 5)], strict=True):
        assert divmod(int(grid.argmax()), toy.num_layers) == at
    figure = show_anchors(before, other, points)
    drawn = [axes.images[0].get_array() for axes in figure.axes[:4]]
    expected = [*grids, *anchor_activations(other, points)]
    assert np.allclose(drawn, torch.stack(expected))
    rings = [axes.lines[0].get_xydata()[0].tolist() for axes in figure.axes[:4]]
    assert rings == [[2, 300], [5, 900]] * 2


def test_two_numbers_have_no_anchors(make):
    plain = make(positional_encoding=False).mapper
    with pytest.raises(PersoError, match=r"no anchors.*positional_encoding=True"):
        show_anchors(plain, plain, [(0, 0)])


def test_neti_figures_become_pictures_and_leave_nothing_open(toy):
    open_before = plt.get_fignums()
    for figure in (
        show_word_scatter(toy),
        show_kernel(FourierFeatures()),
        show_anchors(toy.mapper, toy.mapper, [(0, 0)]),
    ):
        assert to_png(figure).startswith(b"\x89PNG")
    assert plt.get_fignums() == open_before


def test_the_title_of_the_truncation_states_the_finding():
    assert finding(0, 0.59, 0) == (
        "0 of 128 units: the same word everywhere, cosine 0.59 to the full word"
    )
    assert finding(8, 0.881, 0.122) == (
        "8 of 128 units: 12.2% of the word differs with time and layer, "
        "cosine 0.88 to the full word"
    )
    assert finding(128, 1, 0.1) == (
        "All 128 units: 10.0% of the word differs with time and layer"
    )
    assert finding(128, 1, 0) == "All 128 units: the same word everywhere"
