"""The truncation panel: values drawn, parameters restored, pictures redrawn."""

import io
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from panel_helpers import pictures_after
from per_layer_helpers import neti_anywhere
from PIL import Image

from perso_lite import PersoError, fit, generate
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.methods.space_time.analysis import (
    even_timesteps,
    mapper_output,
    variance_shares,
)
from perso_lite.methods.space_time.mapper import HIDDEN
from perso_lite.sampling import inference_parameters
from perso_lite.teaching import panels
from perso_lite.teaching.method_panels.neti import draw_truncation, truncation_explorer
from perso_lite.teaching.panel import to_png

PROMPT = "a <toy> on a beach"
QUICK = {"num_inference_steps": 1, "guidance_scale": 2.0}
SAMPLING, STOPS = (1, 2.0), (0, 4, HIDDEN)


@pytest.fixture
def make(tiny):
    return partial(neti_anywhere, tiny)


@pytest.fixture
def toy(make):
    return make()


def parameters_of(method):
    return method.truncation_idx, method.bypass_alpha, method.bypass


def images_in(figure):
    """The picture and the heat map, as numbers."""
    shown = [image for axes in figure.axes for image in axes.images]
    return [np.asarray(image.get_array()) for image in shown]


# -- the word over timesteps and layers ------------------------------------------------


def test_the_output_has_the_words_the_layers_read(toy, make):
    words = mapper_output(toy, torch.tensor([20, 700]))
    assert words.shape == (2, toy.num_layers, 32)
    with torch.no_grad():
        assert torch.equal(words, toy.vectors(torch.tensor([20, 700]))[0])
        toy.truncation_idx = 4
        expected, _ = toy.vectors(even_timesteps(toy))
    assert torch.equal(mapper_output(toy, truncation_idx=4), expected)
    assert not torch.equal(mapper_output(toy), expected)
    assert toy.truncation_idx == 4
    for options in ({"over_layers": False}, {"over_time": False}, {"bypass": False}):
        assert (
            mapper_output(make(**options), 3).shape == words[:1].expand(3, -1, -1).shape
        )


def test_timesteps_are_even_from_end_to_end(toy):
    assert even_timesteps(toy, 4).tolist() == [0, 333, 666, 999]
    assert len(even_timesteps(toy)) == 50
    for count in (0, 1001):
        with pytest.raises(PersoError, match=rf"{count} timesteps.*give 1 to 1000"):
            even_timesteps(toy, count)


def test_shares_are_of_what_differs_with_layers_with_time_and_with_both():
    layers = torch.tensor([[-1.0, 1.0]])[..., None]
    times = torch.tensor([[-2.0], [2.0]])[..., None]
    both = 3 * layers * times / 2
    shares = variance_shares(4 + layers + times + both)  # 16 + 1 + 4 + 9
    assert shares == pytest.approx(
        {"layers": 1 / 30, "timesteps": 4 / 30, "both together": 9 / 30}
    )


def test_parameters_are_restored_after_an_error(toy):
    before = parameters_of(toy)
    with (
        pytest.raises(RuntimeError),
        inference_parameters(toy, truncation_idx=3, bypass_alpha=0.7),
    ):
        assert parameters_of(toy) == (3, 0.7, True)
        raise RuntimeError
    assert parameters_of(toy) == before
    with (
        pytest.raises(PersoError, match="truncation_idx is 129"),
        inference_parameters(toy, bypass_alpha=0.7, truncation_idx=129),
    ):
        pass
    assert parameters_of(toy) == before


# -- the panel -------------------------------------------------------------------------


def test_parameters_are_used_for_the_picture_and_restored(tiny, toy):
    before, pictures = parameters_of(toy), []
    for bypass, alpha in (("on", 0.8), ("off", 0.0)):
        figure = draw_truncation(tiny, toy, SAMPLING, STOPS, PROMPT, 4, 1, bypass, 0.8)
        assert parameters_of(toy) == before
        with (
            inference_parameters(toy, truncation_idx=4, bypass_alpha=alpha),
            toy.attach(tiny),
        ):
            (expected,) = generate(tiny, PROMPT, (1,), *SAMPLING)
        pictures.append(images_in(figure)[0])
        assert np.array_equal(pictures[-1], np.asarray(expected))
    assert not np.array_equal(*pictures)


def test_parameters_are_restored_if_drawing_fails(tiny, toy, monkeypatch):
    before = parameters_of(toy)

    def fails(*args):
        raise RuntimeError(f"{toy.truncation_idx} {toy.bypass_alpha}")

    monkeypatch.setattr("perso_lite.teaching.method_panels.neti.generate", fails)
    with pytest.raises(RuntimeError, match=r"4 0.8"):
        draw_truncation(tiny, toy, SAMPLING, STOPS, PROMPT, 4, 0, "on", 0.8)
    assert parameters_of(toy) == before
    assert "<toy>" not in tiny.tokenizer.get_vocab()


def test_the_heat_map_and_the_bars_are_the_words(tiny, toy):
    figure = draw_truncation(tiny, toy, SAMPLING, STOPS, PROMPT, 4, 0)
    words = {k: mapper_output(toy, truncation_idx=k) for k in STOPS}
    cosine = torch.cosine_similarity(words[4], words[HIDDEN], dim=-1)
    heat = figure.axes[1].images[0]
    assert np.allclose(heat.get_array(), cosine, atol=1e-6)
    assert heat.origin == "lower"  # noise, the last timestep, at the top
    bars = [part for part in figure.axes[2].containers if len(part) == len(STOPS)]
    for part, name in zip(bars, ("layers", "timesteps", "both together"), strict=True):
        expected = [100 * variance_shares(words[k])[name] for k in STOPS]
        assert [bar.get_height() for bar in part] == pytest.approx(expected, abs=1e-4)
        assert [bar.get_facecolor()[3] for bar in part] == [0.3, 1, 0.3]
    title = figure.get_suptitle()
    assert title.startswith("4 of 128 units: ")
    assert title.endswith(f", cosine {cosine.mean():.2f} to the full word")


def test_layers_are_marked_by_their_side(tiny, toy):
    figure = draw_truncation(tiny, toy, SAMPLING, STOPS, PROMPT, 0, 0)
    axis = figure.axes[1]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["down", "mid", "up"]
    sides = [layer.side for layer in cross_attention_layers(tiny.unet)]
    borders = [line.get_xdata()[0] + 0.5 for line in axis.lines]
    assert borders == [sides.index("mid"), sides.index("up")]
    assert figure.get_suptitle().startswith("0 of 128 units: the same word everywhere")


def test_every_control_changes_the_picture(tiny, toy):
    panel = truncation_explorer(tiny, toy, PROMPT, **QUICK)
    assert repr(panel) == (
        f"Panel(prompt={PROMPT!r}, truncation_idx=128, bypass='on', alpha=0.2, seed=0)"
    )
    changes = {"truncation_idx": 4, "alpha": 0.8, "bypass": "off", "seed": 2}
    seen = pictures_after(panel, {**changes, "prompt": "a <toy> on snow"})
    assert len(set(seen)) == 6
    assert Image.open(io.BytesIO(seen[0])).width < 800


def test_a_word_without_a_bypass_has_no_controls_for_one(tiny, make):
    panel = truncation_explorer(tiny, make(bypass=False), **QUICK)
    assert list(panel.controls) == ["prompt", "truncation_idx", "seed"]
    before = panel.picture.value
    panel.controls["truncation_idx"].value = 2
    assert panel.error is None
    assert panel.picture.value != before


def test_parameters_between_the_stops_get_a_stop(tiny, make):
    method = make(truncation_idx=7, bypass_alpha=1 / 3)
    panel = truncation_explorer(tiny, method, truncations=np.arange(0, 9, 4), **QUICK)
    stops = [value for _, value in panel.controls["truncation_idx"].options]
    assert stops == [0, 4, 7, 8, 128]
    assert panel.values["truncation_idx"] == 7
    assert panel.values["alpha"] == 0.333333


def test_an_invalid_prompt_is_explained_in_the_picture(tiny, toy):
    panel = truncation_explorer(tiny, toy, "a cat on a beach", **QUICK)
    panel.controls["prompt"].value = ""
    assert panel.error is None
    panel.controls["prompt"].value = "a <toy> next to a <toy>"
    assert isinstance(panel.error, PersoError)
    panel.controls["prompt"].value = PROMPT
    assert panel.error is None


def test_further_training_changes_the_picture(tiny, toy, concept):
    panel = truncation_explorer(tiny, toy, **QUICK)
    before = panel.picture.value
    panel.refresh()
    assert panel.picture.value == before
    list(fit(toy, concept, steps=1, batch_size=1))
    panel.refresh()
    assert panel.error is None
    assert panel.picture.value != before


def test_panels_offers_it():
    assert "truncation_explorer" in panels.__all__
    assert panels.truncation_explorer is truncation_explorer


def test_figures_become_pictures_and_leave_nothing_open(tiny, toy):
    open_before = plt.get_fignums()
    figure = draw_truncation(tiny, toy, SAMPLING, STOPS, "", HIDDEN, 0, "on", 0.2)
    assert to_png(figure).startswith(b"\x89PNG")
    assert plt.get_fignums() == open_before
