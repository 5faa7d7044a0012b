"""The panel that compares: one noise for both sides, scores, and a base left alone."""

import io

import numpy as np
import pytest
import torch
from judge_helpers import untrained_judges
from panel_helpers import pictures_after
from per_layer_helpers import neti_anywhere
from PIL import Image
from tiny_pipeline import weights_hash

from perso_lite import PersoError, generate, load_concept
from perso_lite.base import picture_size
from perso_lite.evaluation.metrics import instance_similarity
from perso_lite.evaluation.scores import (
    class_prior_scores,
    oracle_scores,
    score_concept,
)
from perso_lite.figures.pictures import as_images
from perso_lite.methods.textual_inversion import TextualInversion
from perso_lite.sampling import inference_parameters
from perso_lite.teaching import compare_panel, panels, prompt_panel
from perso_lite.teaching.compare_panel import compare
from perso_lite.world.oracle import true_pictures

PROMPT = "a photo of a {} on a beach"
QUICK = {"guidance_scales": [5, 2], "num_inference_steps": 1, "seeds": (3, 4)}
SAMPLING = {"guidance_scale": 5, "num_inference_steps": 1}


@pytest.fixture(scope="module")
def toy():
    return load_concept("dotty-teddy")


@pytest.fixture(scope="module")
def judges(tiny):
    return untrained_judges(tiny.tokenizer)


@pytest.fixture
def learned(tiny):
    """A word that is drawn otherwise than its class word."""
    method = TextualInversion(tiny, "teddy", "<toy>")
    with torch.no_grad():
        method.vectors += torch.linspace(-2, 2, 32)
    return method


@pytest.fixture
def sheets(monkeypatch):
    """What the panel has put into its figures: (rows, title) of each."""
    seen, draw = [], compare_panel.contact_sheet

    def noting(rows, title="", **options):
        seen.append((rows, title))
        return draw(rows, title, **options)

    monkeypatch.setattr(compare_panel, "contact_sheet", noting)
    return seen


def drawn(base, prompt, seeds=(3,), **options):
    return generate(base, prompt, tuple(seeds), **{**SAMPLING, **options})


def same(one, other):
    return np.array_equal(np.asarray(one), np.asarray(other))


def in_words(scores):
    """The scores as they stand below the pictures."""
    pairs = zip(scores.instance_masked, scores.prompt_accuracy, strict=True)
    return [f"subject {subject:.2f}\nprompt {said:.0%}" for subject, said in pairs]


# -- pictures --------------------------------------------------------------------------


def test_both_sides_start_from_the_same_noise(tiny, learned, sheets):
    compare(tiny, {"base": [], "again": [], "learned": learned}, **QUICK)
    ((row,), _) = sheets[0]
    assert row.titles == ["base", "again"]
    assert same(*row.images)
    (expected,) = drawn(tiny, "a photo of a teddy on a beach")
    assert same(row.images[0], expected)


def test_each_side_is_what_generate_draws_with_the_method(tiny, learned, sheets):
    panel = compare(tiny, {"base": [], "learned": learned}, **QUICK)
    panel.controls["seed"].value = 4
    panel.controls["guidance_scale"].value = 2
    ((row,), _) = sheets[-1]
    options = {"seeds": (4,), "guidance_scale": 2}
    (left,) = drawn(tiny, "a photo of a teddy on a beach", **options)
    with learned.attach(tiny):
        (right,) = drawn(tiny, "a photo of a <toy> on a beach", **options)
    assert same(row.images[0], left) and same(row.images[1], right)
    assert not same(left, right)


def test_the_pictures_are_in_the_figure_pixel_by_pixel(tiny, learned):
    panel = compare(tiny, {"base": [], "learned": learned}, **QUICK)
    figure = Image.open(io.BytesIO(panel.picture.value))
    (expected,) = drawn(tiny, "a photo of a teddy on a beach")
    x, y = 150, 24  # right of the caption, below the label
    enlarged = expected.resize((192, 192), Image.Resampling.NEAREST)
    assert same(figure.crop((x, y, x + 192, y + 192)), enlarged)


def test_all_seeds_are_a_row_for_each_side(tiny, learned, sheets):
    panel = compare(tiny, {"base": [], "learned": learned}, **QUICK)
    panel.controls["seed"].value = "all"
    assert panel.error is None
    rows, title = sheets[-1]
    assert [row.label for row in rows] == ["base", "learned"]
    assert rows[0].titles == ["seed 3", "seed 4"]
    assert title.strip() == f'"{PROMPT}", guidance 5'
    for image, expected in zip(
        rows[0].images,
        drawn(tiny, "a photo of a teddy on a beach", (3, 4)),
        strict=True,
    ):
        assert same(image, expected)


def test_parameters_are_used_for_one_side_and_restored(tiny, sheets):
    method = neti_anywhere(tiny)
    before = method.configuration()
    choices = {
        "as it is": [method],
        "no bypass": (method, {"bypass_alpha": 0.0}),
        "two units": [(method, {"truncation_idx": 2, "bypass_alpha": 0.9})],
    }
    panel = compare(tiny, choices, "a {} on a beach", **QUICK)
    panel.controls["left"].value = "two units"
    assert panel.error is None
    assert method.configuration() == before
    ((row,), _) = sheets[-1]
    assert row.titles == ["two units", "no bypass"]
    for image, (name, value) in zip(
        row.images, [("truncation_idx", 2), ("bypass_alpha", 0.0)], strict=True
    ):
        given = {"bypass_alpha": 0.9, name: value}
        with inference_parameters(method, **given), method.attach(tiny):
            (expected,) = drawn(tiny, "a <toy> on a beach")
        assert same(image, expected)
    assert not same(*row.images)


def test_several_methods_are_attached_at_once(tiny, learned, sheets):
    other = TextualInversion(tiny, "dog", "<pet>")
    compare(tiny, {"both": [learned, other]}, "a {} and a <pet>", **QUICK)
    ((row,), _) = sheets[-1]
    with learned.attach(tiny), other.attach(tiny):
        (expected,) = drawn(tiny, "a <toy> and a <pet>")
    assert row.titles == ["both", "both"]
    assert same(row.images[1], expected)


def test_the_base_is_left_bit_identical(tiny, learned, toy, judges):
    def state():
        hooks = [m for m in tiny.unet.modules() if m._forward_pre_hooks]
        return weights_hash(tiny), len(tiny.tokenizer), len(hooks)

    before, prompt = state(), "a teddy on a beach"
    (picture,) = drawn(tiny, prompt)
    tokenizer = tiny.tokenizer
    choices = {"base": [], "learned": learned, "NeTI": neti_anywhere(tiny)}
    panel = compare(tiny, choices, judges=judges, concept=toy, **QUICK)
    panel.controls["left"].value = "NeTI"
    assert panel.error is None
    panel.controls["prompt"].value = "a {} and " * 30 + "a {}"
    assert state() == before and tiny.tokenizer is tokenizer
    assert same(drawn(tiny, prompt)[0], picture)


def test_every_control_changes_the_picture(tiny, learned):
    choices = {"base": [], "learned": learned}
    panel = compare(tiny, choices, **QUICK)
    assert repr(panel) == (
        f"Panel(prompt={PROMPT!r}, left='base', right='learned', guidance_scale=5, "
        "seed=3)"
    )
    changes = {"guidance_scale": 2, "seed": "all", "left": "learned", "right": "base"}
    assert len(set(pictures_after(panel, {**changes, "prompt": "a {} on snow"}))) == 6


def test_further_training_changes_the_picture(tiny, learned):
    panel = compare(tiny, {"base": [], "learned": learned}, **QUICK)
    before = panel.picture.value
    panel.refresh()
    assert panel.picture.value == before
    with torch.no_grad():
        learned.vectors -= torch.linspace(-4, 4, 32)
    panel.refresh()
    assert panel.picture.value != before


# -- scores and true pictures ----------------------------------------------------------


@pytest.mark.parametrize("seed", [4, "all"])
def test_scores_are_those_of_the_library(tiny, learned, toy, judges, sheets, seed):
    choices = {"base": [], "learned": learned}
    panel = compare(tiny, choices, PROMPT, judges, toy, **QUICK)
    panel.controls["seed"].value = seed
    rows, _ = sheets[-1]
    notes = [note for row in rows for note in row.notes]
    seeds = (3, 4) if seed == "all" else (seed,)
    given = (judges, toy, [PROMPT], seeds)
    with learned.attach(tiny):
        ours = score_concept(tiny, *given, "<toy>", **SAMPLING)
    prior = class_prior_scores(tiny, *given, **SAMPLING)
    oracle = oracle_scores(*given, size=picture_size(tiny))
    assert notes == in_words(prior) + in_words(ours) + in_words(oracle)


def test_the_true_picture_is_the_last_and_has_the_concept(tiny, learned, toy, sheets):
    compare(tiny, {"base": [], "learned": learned}, concept=toy, **QUICK)
    ((row,), _) = sheets[-1]
    assert row.titles == ["base", "learned", "true picture"]
    assert not row.notes  # without judges
    (expected,) = as_images(true_pictures(PROMPT, 1, 3, 32, toy, "{}")[0])
    assert same(row.images[2], expected)


def test_what_the_world_cannot_paint_is_drawn_with_a_remark(
    tiny, learned, toy, judges, sheets
):
    choices = {"base": [], "learned": learned}
    panel = compare(tiny, choices, PROMPT, judges, toy, **QUICK)
    panel.controls["prompt"].value = "a {} next to a rhino"
    assert panel.error is None
    ((row,), _) = sheets[-1]
    assert row.titles == ["base", "learned"]
    assert row.label.endswith("(the world cannot paint it)")
    (expected,) = drawn(tiny, "a teddy next to a rhino")
    assert same(row.images[0], expected)
    with learned.attach(tiny):
        learnt = drawn(tiny, "a <toy> next to a rhino", output_type="pt")
    plain = drawn(tiny, "a teddy next to a rhino", output_type="pt")
    shown = torch.cat([plain, learnt])
    scores = instance_similarity(
        judges, shown, toy.pictures(32), True, toy.mask_tensor(32, 32)
    )
    assert row.notes == [f"subject {score:.2f}" for score in scores]


def test_a_prompt_that_requests_nothing_has_no_prompt_score(
    tiny, learned, toy, judges, sheets
):
    compare(tiny, {"l": learned}, "a photo of a {}", judges, toy, **QUICK)
    ((row,), _) = sheets[-1]
    assert [note.count("\n") for note in row.notes] == [0, 0, 0]


def test_a_prompt_without_the_slot_is_drawn_without_scores(
    tiny, learned, toy, judges, sheets
):
    panel = compare(tiny, {"learned": learned}, PROMPT, judges, toy, **QUICK)
    panel.controls["prompt"].value = "a teddy on a beach"
    assert panel.error is None
    ((row,), _) = sheets[-1]
    assert row.titles == ["learned", "learned"] and not row.notes
    assert row.label.endswith('(no "{}" in it for the concept)')


def test_a_concept_of_your_own_is_scored_but_not_painted(
    tiny, learned, concept, judges, sheets
):
    choices = {"base": [], "learned": learned}
    compare(tiny, choices, PROMPT, judges, concept, **QUICK)
    ((row,), _) = sheets[-1]
    assert row.titles == ["base", "learned"]
    assert [note.count("\n") for note in row.notes] == [1, 1]


def test_a_class_that_the_world_lacks_is_drawn_without_scores(
    tiny, concept, judges, sheets
):
    method = TextualInversion(tiny, "rhino", "<rhino>", initializer_token="cat")
    concept = type(concept)("mine", "rhino", concept.images, concept.masks)
    compare(tiny, {"base": [], "mine": method}, PROMPT, judges, concept, **QUICK)
    ((row,), _) = sheets[-1]
    assert row.titles == ["base", "mine"] and not row.notes
    assert "cannot paint" in row.label


def test_remarks_stand_together(tiny, toy, sheets, monkeypatch):
    monkeypatch.setattr(prompt_panel, "unknown_words", lambda base, prompt: ["rhino"])
    compare(tiny, {"base": []}, "a {} and a rhino", None, toy, **QUICK)
    ((row,), _) = sheets[-1]
    assert row.label.endswith(
        '("rhino" is no word of this base; the world cannot paint it)'
    )


# -- mistakes --------------------------------------------------------------------------


def test_an_error_becomes_a_picture_and_the_panel_works_on(tiny, learned):
    panel = compare(tiny, {"learned": learned}, **QUICK)
    fine = panel.picture.value
    panel.controls["prompt"].value = "a hat and " * 12 + "a {}"
    assert isinstance(panel.error, PersoError)
    assert "<toy> is cut off" in str(panel.error)
    assert panel.picture.value != fine
    panel.controls["prompt"].value = PROMPT
    assert panel.error is None and panel.picture.value == fine


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (lambda ti: {}, "nothing to compare"),
        (lambda ti: {"base": []}, "which class word"),
        (lambda ti: {"a": "Perfusion"}, "The choice 'a' is neither"),
        (lambda ti: {"a": [ti, "b"]}, "The choice 'a' is neither"),
        (lambda ti: {"a": {"beta": 1}}, "The choice 'a' is neither"),
        (lambda ti: {"a": None}, "The choice 'a' is neither"),
        (lambda ti: {"a": (ti, ti)}, "The choice 'a' is neither"),
        (lambda ti: {"a": [(ti,)]}, "The choice 'a' is neither"),
        (lambda ti: {"a": ti, "b": (ti, {"beta": 1})}, "no inference parameter beta"),
        (lambda ti: {"a": [ti, ti]}, "already in the vocabulary"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(tiny, learned, choices, message):
    with pytest.raises(PersoError, match=message):
        compare(tiny, choices(learned), **QUICK)


def test_values_out_of_range_are_refused_before_anything_is_drawn(tiny, monkeypatch):
    def draws(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(compare_panel, "generate", draws)
    method = neti_anywhere(tiny)
    choices = {"a": [], "b": (method, {"truncation_idx": 129})}
    with pytest.raises(PersoError, match="truncation_idx is 129"):
        compare(tiny, choices, **QUICK)


def test_judges_need_a_concept(tiny, learned, judges):
    with pytest.raises(PersoError, match="give concept"):
        compare(tiny, {"a": learned}, judges=judges, **QUICK)


def test_it_is_among_the_panels():
    assert panels.compare is compare
    assert "compare" in panels.__all__
