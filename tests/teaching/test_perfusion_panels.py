"""Panels of gates: values drawn, parameters restored, pictures redrawn."""

import io

import numpy as np
import pytest
import torch
from panel_helpers import pictures_after
from PIL import Image

from perso_lite import Perfusion, PersoError, encode_prompts, fit, generate
from perso_lite.base import text_fingerprint
from perso_lite.figures.style import PINK
from perso_lite.methods.perfusion.analysis import token_similarities
from perso_lite.methods.perfusion.covariance import TextCovariance
from perso_lite.methods.perfusion.rank_one import EDITS
from perso_lite.sampling import inference_parameters
from perso_lite.teaching import panels
from perso_lite.teaching.method_panels.perfusion import (
    draw_gate,
    draw_two_gates,
    gate_explorer,
    two_gates,
)
from perso_lite.teaching.panel import to_png

PROMPT = "a <toy> on a beach"
BOTH = "a <toy> next to a <pet>"
QUICK = {"num_inference_steps": 1, "guidance_scale": 2.0}
SAMPLING = (1, 2.0)


@pytest.fixture
def make(tiny):
    inverse = torch.diag(torch.linspace(0.5, 2, 32))
    covariance = TextCovariance(inverse, text_fingerprint(tiny), captions=1)

    def of(class_word="teddy", placeholder_token="<toy>", **options):
        """A concept whose values differ from those of its class word."""
        options = {"covariance": covariance, **options}
        method = Perfusion(tiny, class_word, placeholder_token, **options)
        with torch.no_grad():
            method.target_values += 0.5
        return method

    return of


@pytest.fixture
def toy(make):
    return make(beta=0.35, tau=0.15)


@pytest.fixture
def pet(make):
    return make("dog", "<pet>")


def parameters_of(method):
    return method.beta, method.tau, method.key_locking


def picture_in(figure):
    """The picture that was drawn, as numbers (height, width, 3)."""
    (shown,) = (image for axes in figure.axes for image in axes.images)
    return shown.get_array()


def chart_in(figure):
    (chart,) = (axes for axes in figure.axes if not axes.images)
    return chart


# -- one gate --------------------------------------------------------------------------


def test_shares_are_measured_in_the_metric_with_the_concept_attached(tiny, toy):
    with torch.no_grad():
        toy.embedding += 1
    labels, shares = token_similarities(tiny, toy, PROMPT)
    assert labels == ["start", "a", "<toy>", "on", "a", "beach", "end"]
    with torch.no_grad(), toy.attach(tiny):
        states = encode_prompts(tiny, [PROMPT])[0, :7]
    metric = toy.covariance.inverse @ toy.target_input
    expected = states @ metric / (toy.target_input @ metric)
    assert torch.allclose(shares, expected, atol=1e-5)
    assert shares.dtype == torch.float32
    assert "<toy>" not in tiny.tokenizer.get_vocab()


def test_points_lie_on_the_gate_at_their_shares(tiny, toy):
    with toy.attach(tiny), torch.no_grad():
        states = encode_prompts(tiny, [PROMPT])[0]
    toy.target_input.copy_(states[2])  # so the share of <toy> is 1
    figure = draw_gate(tiny, toy, SAMPLING, PROMPT, 0.75, 0.1, "local", 0)
    chart = chart_in(figure)
    words, others = (marks.get_offsets() for marks in chart.collections)
    assert np.allclose(words[1], (1, 0.92414), atol=1e-5)
    _, shares = token_similarities(tiny, toy, PROMPT)
    assert np.allclose(words[:, 0], shares[1:-1], atol=1e-5)
    metric = toy.covariance.inverse @ toy.target_input
    padding = (states[7:] @ metric / (toy.target_input @ metric)).mean()
    gray = [shares[0], shares[-1], padding]
    assert np.allclose(others[:, 0], gray, atol=1e-5)
    for s, height in (*words, *others):
        assert height == pytest.approx(1 / (1 + np.exp((0.75 - s) / 0.1)), abs=1e-5)
    assert figure.get_suptitle().startswith('gate of "<toy>" 0.92, of all other words')
    pink = [text.get_text() for text in chart.texts if text.get_color() == PINK]
    assert pink == ["<toy>"]


def test_every_word_has_a_label_at_its_own_place(tiny, toy):
    prompt = "a photo of a <toy> and a cat and a dog in a hat on a beach"
    figure = draw_gate(tiny, toy, SAMPLING, prompt, 0.35, 0.15, "local", 0)
    chart = chart_in(figure)
    assert sorted(text.get_text() for text in chart.texts) == sorted(prompt.split())
    places = sorted(text.get_position()[0] for text in chart.texts)
    low, high = chart.get_xlim()
    assert np.diff(places).min() > 0.04 * (high - low)
    assert low <= places[0] and places[-1] <= high + 1e-9


def test_parameters_are_used_for_the_picture_and_restored(tiny, toy):
    before = parameters_of(toy)
    figure = draw_gate(tiny, toy, SAMPLING, PROMPT, 0.1, 0.3, "global", 1)
    assert parameters_of(toy) == before
    expected = []
    for settings in ((0.1, 0.3, "global"), before):
        toy.beta, toy.tau, toy.key_locking = settings
        with toy.attach(tiny):
            (picture,) = generate(tiny, PROMPT, (1,), *SAMPLING)
        expected.append(np.asarray(picture))
    assert np.array_equal(picture_in(figure), expected[0])
    assert not np.array_equal(*expected)


def test_parameters_are_restored_after_an_error(tiny, toy, pet, monkeypatch):
    before, others = parameters_of(toy), parameters_of(pet)

    def fails(*args):
        raise RuntimeError(f"{toy.beta} {toy.tau} {toy.key_locking}")

    monkeypatch.setattr("perso_lite.teaching.method_panels.perfusion.generate", fails)
    with pytest.raises(RuntimeError, match=r"0.9 0.5 global"):
        draw_gate(tiny, toy, SAMPLING, PROMPT, 0.9, 0.5, "global", 0)
    with pytest.raises(RuntimeError, match=r"0.9 0.5 local"):
        draw_two_gates(tiny, toy, pet, SAMPLING, BOTH, 0.9, 0.8, 0.5, "rome", 0)
    assert (parameters_of(toy), parameters_of(pet)) == (before, others)
    assert not hasattr(tiny.unet, "joint_edit")


def test_parameters_out_of_range_leave_the_others_unchanged(toy):
    before = parameters_of(toy)
    with (
        pytest.raises(PersoError, match="tau is -1"),
        inference_parameters(toy, beta=0.9, tau=-1),
    ):
        pass
    assert parameters_of(toy) == before
    with inference_parameters(toy, tau=0.5):
        assert parameters_of(toy) == (before[0], 0.5, before[2])


def test_every_control_changes_the_picture(tiny, toy):
    panel = gate_explorer(tiny, toy, PROMPT, **QUICK)
    assert repr(panel) == (
        f"Panel(prompt={PROMPT!r}, beta=0.35, tau=0.15, key_locking='local', seed=0)"
    )
    changes = {"beta": 0.1, "tau": 0.5, "key_locking": "global", "seed": 2}
    seen = pictures_after(panel, {**changes, "prompt": "a <toy> on snow"})
    assert len(set(seen)) == 6
    assert Image.open(io.BytesIO(seen[0])).width < 800


def test_keys_can_be_what_the_concept_allows(tiny, make):
    for locked in ("local", "trained"):
        panel = gate_explorer(tiny, make(key_locking=locked), **QUICK)
        assert panel.controls["key_locking"].options == (locked, "global")
        assert panel.values["key_locking"] == locked
        panel.controls["key_locking"].value = "global"
        assert panel.error is None


def test_parameters_between_the_stops_get_a_stop(tiny, make):
    method = make(beta=0.333, tau=0.07)
    panel = gate_explorer(tiny, method, betas=np.linspace(0, 1, 3), **QUICK)
    assert [value for _, value in panel.controls["beta"].options] == [0, 0.333, 0.5, 1]
    assert (panel.values["beta"], panel.values["tau"]) == (0.333, 0.07)


def test_stops_are_sorted_floats(tiny, toy):
    panel = gate_explorer(tiny, toy, betas=[1, 0.35, 0, 1], **QUICK)
    labels = [label for label, _ in panel.controls["beta"].options]
    assert labels == ["0.0", "0.35", "1.0"]


def test_prompts_without_the_word_or_without_words_are_drawn(tiny, toy):
    panel = gate_explorer(tiny, toy, "a cat on a beach", **QUICK)
    for prompt in ("", "<toy>", "a rhino", " ".join(["a <toy> and"] * 30)):
        panel.controls["prompt"].value = prompt
        assert panel.error is None


def test_further_training_changes_the_picture(tiny, toy, concept):
    panel = gate_explorer(tiny, toy, **QUICK)
    before = panel.picture.value
    panel.refresh()
    assert panel.picture.value == before
    list(fit(toy, concept, steps=1, batch_size=1))
    panel.refresh()
    assert panel.error is None
    assert panel.picture.value != before


# -- two gates -------------------------------------------------------------------------


@pytest.mark.parametrize("edit", EDITS)
def test_bars_are_the_gates_of_the_joint_edit(tiny, toy, pet, edit, monkeypatch):
    computed, of = [], EDITS[edit]

    def noting(*args):
        computed.append(of(*args)[1])
        return of(*args)

    monkeypatch.setitem(EDITS, edit, noting)
    figure = draw_two_gates(tiny, toy, pet, SAMPLING, BOTH, 0.4, 0.7, 0.2, edit, 0)
    bars = [
        [bar.get_height() for bar in group] for group in chart_in(figure).containers
    ]
    of_words = computed[0][1, 1:7]  # the U-Net's: unguided, prompted
    assert np.allclose(np.transpose(bars), of_words, atol=1e-4)


def test_edits_and_parameters_each_change_the_picture(tiny, toy, pet):
    panel = two_gates(tiny, toy, pet, **QUICK)
    assert panel.values["prompt"] == "a photo of a <toy> next to a <pet>"
    assert panel.controls["edit"].options == tuple(EDITS)
    seen, before = [panel.picture.value], (parameters_of(toy), parameters_of(pet))
    changes = [("beta_one", 0.9), ("beta_other", 0.1), ("tau", 0.5), ("seed", 1)]
    changes += [("edit", edit) for edit in list(EDITS)[1:]]
    for name, value in changes:
        panel.controls[name].value = value
        assert panel.error is None
        seen.append(panel.picture.value)
    assert len(set(seen)) == len(seen)
    assert (parameters_of(toy), parameters_of(pet)) == before


def test_two_gates_are_of_two_concepts(tiny, toy, make):
    for other in (toy, make("dog")):
        with pytest.raises(
            PersoError, match=r"Both concepts are called <toy>.*<toy-2>"
        ):
            two_gates(tiny, toy, other, **QUICK)


# -- both panels -----------------------------------------------------------------------


def test_panels_offers_both():
    assert {"gate_explorer", "two_gates"} <= set(panels.__all__)
    assert panels.gate_explorer is gate_explorer


def test_figures_become_pictures(tiny, toy, pet):
    figure = draw_two_gates(tiny, toy, pet, SAMPLING, "", 0.4, 0.7, 0.2, "exact", 0)
    assert to_png(figure).startswith(b"\x89PNG")
