"""The panel of prefixes: values drawn, concepts unchanged, pictures redrawn."""

import math

import numpy as np
import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of
from panel_helpers import pictures_after

from perso_lite import CatVersion, PersoError, fit, generate
from perso_lite.method import state_of
from perso_lite.methods.catversion.analysis import lent, residual_share
from perso_lite.teaching import panels
from perso_lite.teaching.method_panels.catversion import draw_prefix, prefix_explorer

PROMPT = "a <toy> on a beach"
QUICK = {"num_inference_steps": 1, "guidance_scale": 2.0}
SAMPLING = (1, 2.0)


@pytest.fixture
def toy(tiny):
    return disturbed(CatVersion(tiny, "teddy"), 1.0)


@pytest.fixture
def pet(tiny):
    return CatVersion(tiny, "dog", "<pet>", seed=1)


def pictures_in(figure):
    """What was drawn, as numbers (height, width, 3), from left to right."""
    shown = [image.get_array() for axes in figure.axes for image in axes.images]
    return [picture for picture in shown if picture.ndim == 3]


def test_pictures_are_those_without_and_with_the_prefix(tiny, toy):
    before, state = snapshot_of(tiny), state_of(toy)
    given = (PROMPT, "<toy>", "", "0, 1", -1.0, 1)
    figure = draw_prefix(tiny, [toy], SAMPLING, *given)
    assert changes(tiny, before) == [] and state_of(toy) == state
    plain = generate(tiny, "a teddy on a beach", (1,), *SAMPLING)
    toy.prefix_logit_bias = -1.0
    with toy.attach(tiny):
        own = generate(tiny, PROMPT, (1,), *SAMPLING)
    for shown, (picture,) in zip(pictures_in(figure), (plain, own), strict=True):
        assert np.array_equal(shown, np.asarray(picture))
    assert not np.array_equal(*pictures_in(figure))


def test_the_heat_map_and_the_title_show_the_prefixs_share(tiny, toy):
    figure = draw_prefix(tiny, [toy], SAMPLING, PROMPT, "<toy>", "", "0, 1", 0.0, 0)
    (heat,) = (
        i for axes in figure.axes for i in axes.images if i.get_array().ndim == 2
    )
    share = residual_share(tiny, toy, PROMPT)
    expected = share.alpha.flatten(0, 1)[:, :8]  # start, five words, end, padding
    assert np.allclose(heat.get_array(), expected)
    mean = expected.mean(0)
    assert figure.get_suptitle() == (
        f"<toy> gives the prefix {mean[2]:.0%} of its attention, all tokens "
        f"{mean.mean():.0%} on average"
    )


def test_bias_minus_infinity_is_the_base(tiny, toy):
    figure = draw_prefix(
        tiny, [toy], SAMPLING, PROMPT, "<toy>", "", "0, 1", -math.inf, 0
    )
    assert np.array_equal(*pictures_in(figure))


def test_every_control_changes_the_picture(tiny, toy, pet):
    panel = prefix_explorer(tiny, toy, pet, prompt=PROMPT, **QUICK)
    assert repr(panel) == (
        f"Panel(prompt={PROMPT!r}, concept='<toy>', read_as='', layers='0, 1', "
        "bias=0.0, seed=0)"
    )
    changed = {"concept": "<pet>", "read_as": "cat", "layers": "1", "bias": -2.0}
    seen = pictures_after(panel, {**changed, "seed": 2, "prompt": "a <toy> in snow"})
    assert len(set(seen)) == 7


def test_the_chosen_concept_takes_the_place_of_the_other(tiny, toy, pet):
    shown = [
        pictures_in(
            draw_prefix(tiny, both, SAMPLING, text, "<pet>", "", "0, 1", 0.0, 0)
        )
        for both, text in (([toy, pet], PROMPT), ([pet], "a <pet> on a beach"))
    ]
    assert np.array_equal(shown[0], shown[1])


def test_prompts_without_the_word_show_no_share(tiny, toy):
    figure = draw_prefix(
        tiny, [toy], SAMPLING, "a cat on a beach", "<toy>", "", "0, 1", 0.0, 0
    )
    assert figure.get_suptitle() == "The prompt does not say <toy>: no prefix acts"
    assert np.array_equal(*pictures_in(figure))


def test_a_word_that_is_cut_off_is_an_error_in_the_picture(tiny, toy):
    panel = prefix_explorer(tiny, toy, **QUICK)
    panel.controls["prompt"].value = " ".join(["a cat and"] * 30) + " <toy>"
    assert isinstance(panel.error, PersoError)
    panel.controls["prompt"].value = PROMPT
    assert panel.error is None


def test_further_training_changes_the_picture(tiny, toy, concept):
    panel = prefix_explorer(tiny, toy, **QUICK)
    before = panel.picture.value
    list(fit(toy, concept, steps=1, batch_size=1))
    panel.refresh()
    assert panel.error is None and panel.picture.value != before


def test_concepts_need_words_of_their_own_and_the_same_layers(tiny, toy):
    for others in ((), (toy, toy), (toy, CatVersion(tiny, "dog", "<pet>", layers=[1]))):
        with pytest.raises(PersoError, match="placeholders of their own"):
            prefix_explorer(tiny, *others, **QUICK)


def test_panels_offers_it():
    assert "prefix_explorer" in panels.__all__
    assert panels.prefix_explorer is prefix_explorer


# -- the same prefix elsewhere ---------------------------------------------------------


def test_a_lent_prefix_is_a_copy_of_the_numbers(tiny, toy):
    before = state_of(toy)
    copy = lent(toy, "cat", [1])
    assert copy.class_word == "cat" and copy.layers == [1]
    assert torch.equal(copy.prefix_keys, toy.prefix_keys[:, 1:])
    assert torch.equal(copy.prefix_values, toy.prefix_values[:, 1:])
    with torch.no_grad():
        copy.prefix_keys += 1
    assert state_of(toy) == before
    assert lent(toy).configuration() == toy.configuration()


def test_a_word_that_replaces_the_class_word_is_not_kept_when_lent(tiny):
    method = CatVersion(tiny, "teddy", initializer_token="hat")
    assert lent(method).initializer_token == "hat"
    assert lent(method, "cat").initializer_token is None


def test_a_prefix_is_lent_in_its_own_layers_alone(tiny):
    with pytest.raises(PersoError, match="no prefix in layer 0, only in 1"):
        lent(CatVersion(tiny, "teddy", layers=[1]), layers=[0, 1])
