"""Figures of CatVersion: what they draw is what they are given."""

import numpy as np
import pytest
import torch
from PIL import Image

from perso_lite.figures.catversion import (
    prefix_figure,
    show_density,
    show_listening,
    show_prefix,
    token_names,
)
from perso_lite.methods.catversion.analysis import PrefixEffect, ResidualShare
from perso_lite.teaching.panel import to_png

TOKENS = ["<|startoftext|>", "a</w>", "<toy>", *["<|endoftext|>"] * 3]


@pytest.fixture
def share():
    generator = torch.Generator().manual_seed(0)
    alpha, size = torch.rand((2, 3, 4, 6), generator=generator)
    return ResidualShare(TOKENS, alpha, 2 * size)


def heats_in(figure):
    return [i.get_array() for axes in figure.axes for i in axes.images]


def test_padding_is_one_column():
    assert token_names(TOKENS) == (
        ["start", "a", "<toy>", "end", "padding"],
        [*range(5)],
    )
    assert token_names(TOKENS[:4]) == (["start", "a", "<toy>", "end"], [*range(4)])
    assert token_names(TOKENS[:3]) == (["start", "a", "<toy>"], [*range(3)])


def test_maps_show_every_head_of_every_layer(share):
    figure = show_listening({"now": share}, [3, 4, 5], title="found")
    alpha, size = heats_in(figure)
    assert np.allclose(alpha, share.alpha.flatten(0, 1)[:, :5])
    assert np.allclose(size, share.relative_size.flatten(0, 1)[:, :5])
    left = figure.axes[0]
    names = [tick.get_text() for tick in left.get_yticklabels()]
    assert names == ["layer 3", "layer 4", "layer 5"]
    assert left.get_yticks().tolist() == [1.5, 5.5, 9.5]
    assert figure.get_suptitle() == "found"


def test_maps_of_several_prefixes_share_their_scales(share):
    larger = ResidualShare(TOKENS, share.alpha / 2, 3 * share.relative_size)
    figure = show_listening({"one": share, "other": larger}, [3, 4, 5], title="")
    limits = [i.get_clim() for axes in figure.axes for i in axes.images]
    assert limits[0] == limits[2] == (0, 1)
    assert limits[1] == limits[3] == (0, pytest.approx(larger.relative_size.max()))


def test_the_prefix_is_seen_by_all_and_later_tokens_by_none():
    figure = show_prefix(["start", "a", "toy"], 6, [3, 4, 5], "found")
    (mesh,) = figure.axes[1].collections
    seen = np.asarray(mesh.get_array()).reshape(3, 4)
    assert seen.tolist() == [[2, 1, 0, 0], [2, 1, 1, 0], [2, 1, 1, 1]]
    boxes = [text.get_text() for text in figure.axes[0].texts]
    assert boxes.count("$P_K, P_V$") == 6  # three layers, two toys
    assert {f"layer\n{i}" for i in range(6)} < {*boxes}


def test_density_shows_means_over_prompts_and_prefixes():
    effects = {
        layer: [
            PrefixEffect(
                torch.tensor([1.0, 2.0]) * (layer + 1), torch.ones(2, 3) * seed
            )
            for seed in (0, 1)
        ]
        for layer in range(2)
    }
    probes = {"color": torch.tensor([0.1, 0.5, 0.9])}
    trained = {(0, 0): (0.2, 0.1, 0.3), (1, 1): (0.6, 0.5, 0.9)}
    figure = show_density(effects, probes, trained, title="found")
    changes, accuracy, bars = figure.axes
    text, noise = (box.lines[0].get_ydata() for box in changes.containers)
    assert np.allclose(text, [1.5, 3.0]) and np.allclose(noise, [0.5, 0.5])
    assert np.allclose(accuracy.lines[0].get_ydata(), probes["color"])
    assert [bar.get_height() for bar in bars.patches] == [0.2, 0.6]
    ends = [box.lines[2][0].get_segments()[0][:, 1] for box in bars.containers[1::2]]
    assert np.allclose(ends, [[0.1, 0.3], [0.5, 0.9]])


def test_a_figure_for_the_panel_becomes_a_picture(share):
    picture = Image.new("RGB", (8, 8))
    both = {"off": picture, "on": picture}
    assert to_png(prefix_figure(both, share, [3, 4, 5], "<toy>")).startswith(b"\x89PNG")
    title = prefix_figure(both, None, [3, 4, 5], "<toy>").get_suptitle()
    assert title == "The prompt does not say <toy>: no prefix acts"
