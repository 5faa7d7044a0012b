"""Panels ready to use: each control changes the picture."""

import copy
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from transformers import CLIPTokenizer

from perso_lite.attention.record import record_attention
from perso_lite.base import BASE_FOLDER
from perso_lite.errors import PersoError
from perso_lite.method import state_of
from perso_lite.methods.space_time.neti import NeTI
from perso_lite.methods.textual_inversion import TextualInversion
from perso_lite.sampling import generate
from perso_lite.teaching import panels, prompt_panel
from perso_lite.teaching.panel import Panel, to_png
from perso_lite.teaching.prompt_panel import draw_prompt, unknown_words

PROMPT = "a teddy on a beach"


def picture_of(panel: Panel) -> Image.Image:
    return Image.open(io.BytesIO(panel.picture.value))


# -- attention -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tiny):
    with record_attention(tiny, keep_steps=True) as maps:
        (picture,) = generate(tiny, PROMPT, num_inference_steps=3)
    return maps, picture


def test_the_explorer_offers_words_layers_and_steps(recorded):
    panel = panels.attention_explorer(*recorded)
    words, layers, steps = (
        [option if isinstance(option, str) else option[-1] for option in c.options]
        for c in panel.controls.values()
    )
    assert words == ["a", "teddy", "on", "beach"]
    assert layers[:5] == ["all", "8 px", "4 px", "2 px", "1 px"]
    assert layers[5] == "layer 0 (down, 8 px)"
    assert len(layers) == 5 + 16
    assert steps == ["all", 0, 1, 2]
    assert repr(panel) == "Panel(word='teddy', layers='all', step='all')"


def test_word_layers_and_step_each_change_the_picture(recorded):
    panel = panels.attention_explorer(*recorded, word="beach")
    seen = [panel.picture.value]
    for name, value in [("word", "teddy"), ("layers", "4 px"), ("step", 2)]:
        panel.controls[name].value = value
        assert panel.error is None
        seen.append(panel.picture.value)
    assert len(set(seen)) == 4


def test_every_choice_of_layers_can_be_drawn(recorded):
    maps, picture = recorded
    for layers in panels.layer_choices(maps):
        panels.draw_attention(maps, picture, "teddy", layers, "all")


def test_the_heat_is_that_of_the_layers_asked_for(recorded, monkeypatch):
    maps, picture = recorded
    heats = []
    monkeypatch.setattr(
        panels, "heat_over", lambda picture, heat, size: heats.append(heat) or picture
    )
    panels.draw_attention(maps, picture, "beach", "layer 12 (up, 4 px)", 1)
    assert torch.equal(heats[0], maps.word("beach", layers=[12], steps=1))


def test_the_explorer_says_when_steps_were_not_kept(tiny):
    with record_attention(tiny) as maps:
        (picture,) = generate(tiny, PROMPT, num_inference_steps=1)
    with pytest.raises(PersoError, match="keep_steps=True"):
        panels.attention_explorer(maps, picture)


def test_a_new_word_of_several_vectors_is_one_word(own_tiny):
    method = TextualInversion(own_tiny, "teddy", "<toy>", num_vectors=2)
    with method.attach(own_tiny), record_attention(own_tiny, keep_steps=True) as maps:
        (picture,) = generate(own_tiny, "a <toy> on snow", num_inference_steps=1)
    panel = panels.attention_explorer(maps, picture)
    assert panel.controls["word"].options == ("a", "<toy>", "on", "snow")
    panel.controls["word"].value = "<toy>"
    assert panel.error is None


def test_a_word_in_pieces_is_one_word(tiny):
    with record_attention(tiny, keep_steps=True) as maps:
        (picture,) = generate(tiny, "a rhino on a rhino", num_inference_steps=1)
    panel = panels.attention_explorer(maps, picture)
    assert "rhino" not in maps.labels()
    assert panel.controls["word"].options == ("a", "rhino", "on")


# -- training --------------------------------------------------------------------------


def filled(*names):
    return [Image.new("RGB", (6, 6), name) for name in names]


def test_the_scrubber_shows_each_step_and_starts_at_the_last():
    pictures = [filled("red", "blue", "lime"), filled("cyan", "gold", "pink")]
    panel = panels.training_scrubber([0, 4], pictures, [0.3, 0.2, 0.1, 0.2])
    assert repr(panel) == "Panel(step=4)"
    late = np.asarray(picture_of(panel).convert("RGB"))
    panel.controls["step"].value = 0
    early = np.asarray(picture_of(panel).convert("RGB"))
    red, cyan = (255, 0, 0), (0, 255, 255)
    assert (early == red).all(-1).any()
    assert not (early == cyan).all(-1).any()
    assert (late == cyan).all(-1).any()


def test_the_mark_is_at_the_step():
    figure = panels.draw_training(filled("red"), [0.3, 0.2, 0.1, 0.2, 0.4], 2)
    assert isinstance(figure, Figure)
    (curves,) = (axes for axes in figure.axes if axes.get_xlabel())
    assert list(curves.lines[-1].get_xdata()) == [2, 2]
    assert to_png(figure)


def test_labels_stand_below_the_pictures_they_belong_to():
    pictures = filled("red", "blue", "lime")
    labels = ["a photo of a <toy>", "a <toy> wearing a hat on a beach"]
    figure = panels.draw_training(pictures, [0.3, 0.2, 0.1], 2, labels)
    left = figure.subfigs[0].axes
    assert len(left) == 4
    shown = [" ".join(axis.get_xlabel().split()) for axis in left]
    assert shown == [*labels, "", ""]
    figure.canvas.draw()
    for axis in left[:2]:
        below, picture = axis.xaxis.label.get_window_extent(), axis.get_window_extent()
        assert below.y1 <= picture.y0
        assert below.width <= 1.5 * picture.width


def test_the_scrubber_labels_every_step_alike(monkeypatch):
    seen, draw = [], panels.draw_training
    monkeypatch.setattr(
        panels, "draw_training", lambda *given: seen.append(given[2:]) or draw(*given)
    )
    pictures = [filled("red"), filled("cyan")]
    panel = panels.training_scrubber([0, 2], pictures, [0.3, 0.2], ["a <toy>"])
    panel.controls["step"].value = 0
    assert panel.error is None
    assert seen == [(2, ["a <toy>"]), (0, ["a <toy>"])]


def test_the_scrubber_says_when_pictures_are_missing():
    with pytest.raises(PersoError, match="2 steps and 1 sets of pictures"):
        panels.training_scrubber([0, 5], [filled("red")], [0.1] * 5)


# -- prompts ---------------------------------------------------------------------------


def test_prompt_seed_and_guidance_each_change_the_picture(tiny):
    panel = panels.prompt_box(tiny, seeds=[0, 3], num_inference_steps=1)
    assert repr(panel) == (
        "Panel(prompt='a photo of a teddy', seed=0, guidance_scale=5)"
    )
    seen = [panel.picture.value]
    for name, value in [("prompt", "a cat"), ("seed", 3), ("guidance_scale", 12)]:
        panel.controls[name].value = value
        assert panel.error is None
        seen.append(panel.picture.value)
    assert len(set(seen)) == 4


def test_the_prompt_box_draws_what_generate_draws(tiny):
    (expected,) = generate(tiny, PROMPT, (3,), 2, 5.0)
    drawn = draw_prompt(tiny, [], PROMPT, 3, 5.0, 2)
    enlarged = expected.resize((256, 256), Image.Resampling.NEAREST)
    x, y = 180, 6  # right of the label
    shown = drawn.crop((x, y, x + 256, y + 256))
    assert shown.tobytes() == enlarged.tobytes()


def test_the_prompt_box_draws_a_concept_as_it_is_now(own_tiny):
    method = TextualInversion(own_tiny, "teddy", "<toy>")
    panel = panels.prompt_box(own_tiny, method, num_inference_steps=1)
    assert panel.controls["prompt"].value == "a photo of a <toy>"
    before = panel.picture.value
    panel.refresh()
    assert panel.picture.value == before
    with torch.no_grad():
        method.vectors += torch.linspace(-2, 2, method.vectors.shape[-1])
    panel.refresh()
    assert panel.error is None
    assert panel.picture.value != before
    assert "<toy>" not in own_tiny.tokenizer.get_vocab()


@pytest.fixture(scope="module")
def shipped():
    """As much of the shipped base as says which words it knows."""
    if not BASE_FOLDER.is_dir():
        pytest.skip("data/base is not there yet")
    return SimpleNamespace(
        tokenizer=CLIPTokenizer.from_pretrained(BASE_FOLDER / "tokenizer")
    )


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a flamingo on a beach", ["flamingo"]),
        ("A Teddy, a close-up photo of 3 red mugs.", ["mugs"]),
        ("a flamingo next to a Flamingo and a whale", ["flamingo", "whale"]),
        ("the teddy's hat", ["teddy's"]),
        ("a hed in a tow", ["hed", "tow"]),  # pieces of other words
        ("a <toy> in the snow", ["<toy>"]),
        ("", []),
        ("12 !", []),
    ],
)
def test_words_the_shipped_base_never_read_are_found(shipped, prompt, unknown):
    assert unknown_words(shipped, prompt) == unknown


def test_a_learned_word_is_a_word_of_the_base(shipped):
    with_word = copy.deepcopy(shipped)
    with_word.tokenizer.add_tokens(["<toy>"])
    assert unknown_words(with_word, "a <toy> and a flamingo") == ["flamingo"]


def test_nothing_is_said_of_the_words_of_another_base(tiny):
    assert unknown_words(tiny, "a flamingo on a beach") == []


def label_in(prompt, base, monkeypatch):
    labels, draw = [], prompt_panel.contact_sheet

    def noting(rows, **options):
        labels.extend(row.label for row in rows)
        return draw(rows, **options)

    monkeypatch.setattr(prompt_panel, "contact_sheet", noting)
    draw_prompt(base, [], prompt, 3, 5.0, 1)
    return labels[0]


def test_the_label_names_unknown_words(tiny, shipped, monkeypatch):
    def of_shipped(base, prompt):
        return unknown_words(shipped, prompt)

    monkeypatch.setattr(prompt_panel, "unknown_words", of_shipped)
    settings = "seed 3, guidance 5"
    for prompt, remark in [
        ("a flamingo", '("flamingo" is no word of this base)'),
        ("a whale and a yak", '("whale" and "yak" are no words of this base)'),
        ("a teddy", ""),
    ]:
        label = label_in(prompt, tiny, monkeypatch)
        assert label.strip() == f'"{prompt}", {settings} {remark}'.strip()


def test_a_new_inference_parameter_counts_as_a_change(own_tiny):
    method = NeTI(own_tiny, "teddy", "<toy>", bypass_alpha=0.5)
    before = state_of(method)
    assert state_of(method) == before
    method.bypass_alpha = 0.75
    assert state_of(method) != before
