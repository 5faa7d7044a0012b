"""Metrics: exact on hand-made cases, and blind to what they should not see."""

from dataclasses import replace

import pytest
import torch
from judge_helpers import left_half, shade, untrained_judges, with_other_background

from perso_lite.__main__ import main
from perso_lite.commands.evaluate_methods import SCORES, interval_table
from perso_lite.concepts import load_concept
from perso_lite.errors import PersoError
from perso_lite.evaluation.drift import drift, drift_by_chance
from perso_lite.evaluation.ground_truth import truth_of_prompt
from perso_lite.evaluation.judges import ATTRIBUTES, UNKNOWN
from perso_lite.evaluation.metrics import (
    attribute_accuracy,
    clip_image_similarity,
    clip_images,
    clip_text_similarity,
    clip_texts,
    instance_similarity,
    prompt_accuracy,
)
from perso_lite.evaluation.scores import (
    class_prior_scores,
    oracle_scores,
    score_concept,
    score_pictures,
)
from perso_lite.methods.textual_inversion import TextualInversion

PROMPTS = ["a photo of a {}", "a photo of a {} on the beach"]


@pytest.fixture(scope="module")
def judges(tiny):
    return untrained_judges(tiny.tokenizer)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("person", [False, True])
def test_a_picture_is_like_itself(judges, pictures, masked, person):
    for similarity in (instance_similarity, clip_image_similarity):
        one = similarity(judges, pictures[:1], pictures[:1], masked, None, person)
        assert one.tolist() == pytest.approx([1], abs=1e-5)
        other = similarity(judges, pictures[:1], 1 - pictures[:1] ** 4, False)
        assert other.item() < 1 - 1e-4


@pytest.mark.parametrize("similarity", [instance_similarity, clip_image_similarity])
def test_masked_similarity_does_not_see_backgrounds(judges, pictures, similarity):
    def score(drawn, references, masked=True):
        return similarity(judges, drawn, references, masked, left_half(2))

    drawn, known = pictures[:2], pictures[2:]
    other = with_other_background(known)
    assert torch.equal(score(drawn, known), score(drawn, other))
    assert torch.equal(score(drawn, known), score(with_other_background(drawn), known))
    assert not torch.equal(score(drawn, known, False), score(drawn, other, False))
    assert not torch.equal(score(drawn, known), score(drawn, known.flip(3)))


def test_similarity_is_the_mean_over_references(judges, pictures):
    together = instance_similarity(judges, pictures[:2], pictures[2:], False)
    apart = [
        instance_similarity(judges, pictures[:2], p[None], False) for p in pictures
    ]
    assert together.shape == (2,)
    torch.testing.assert_close(together, (apart[2] + apart[3]) / 2)


def test_clip_vectors_are_those_of_the_stock_model(judges, pictures):
    small = torch.nn.functional.interpolate(
        pictures, (32, 32), mode="bilinear", antialias=True
    )
    ids = judges.tokenizer(
        ["a teddy", "a cat on the beach"], padding="max_length", return_tensors="pt"
    ).input_ids
    stock = judges.clip(input_ids=ids, pixel_values=small * 2 - 1)
    ours = clip_texts(judges, ["a teddy", "a cat on the beach"])
    torch.testing.assert_close(clip_images(judges, pictures), stock.image_embeds)
    torch.testing.assert_close(ours, stock.text_embeds)
    scores = clip_text_similarity(
        judges, pictures[:2], ["a teddy", "a cat on the beach"]
    )
    expected = (stock.image_embeds[:2] * stock.text_embeds).sum(1)
    torch.testing.assert_close(scores, expected)


def test_attribute_accuracy_counts_what_has_a_name(judges):
    truths = torch.full((3, len(ATTRIBUTES)), UNKNOWN)
    truths[:, 0] = torch.tensor([2, 2, 2])
    truths[:2, 1] = torch.tensor([5, 5])
    accuracy = attribute_accuracy(judges, shade([2, 5, 2]), truths)
    assert list(accuracy) == list(ATTRIBUTES)
    assert accuracy["class"].tolist() == [1, 0, 1]
    assert accuracy["color"].tolist() == [0, 1]
    assert accuracy["pattern"].tolist() == []


def test_prompt_accuracy_is_the_share_of_what_was_asked(judges):
    beach = ATTRIBUTES["place"].index("beach")
    hat = ATTRIBUTES["accessory"].index("hat")
    assert beach == hat == 1  # so one shade can be right about both
    prompts = [
        "a photo of a <toy> on the beach",
        "a photo of a <toy> in the snow",
        "a photo of a <toy> on the beach wearing a crown",
        "a photo of a <toy>",
    ]
    scores = prompt_accuracy(judges, shade([1, 1, 1, 1]), prompts, "<toy>", "teddy")
    assert scores[:3].tolist() == [1, 0, 0.5]
    assert scores[3].isnan()


def test_drift_is_nothing_for_the_same_and_one_for_all_else(judges):
    before = shade([0, 1, 2, 2])
    assert set(drift(judges, before, before.flip(0)).values()) == {0}
    assert drift(judges, before, shade([3, 3]))["place"] == 1
    assert drift(judges, before, shade([0, 1, 3, 3]), ["color"]) == {"color": 0.5}


def test_drift_by_chance_says_what_sampling_alone_would_do(judges):
    alike, gone = shade([0, 1] * 20), shade([2, 3] * 20)
    mean, high = drift_by_chance(judges, alike, alike, ["place"])["place"]
    assert 0 < mean < high < 0.4
    assert drift(judges, alike, gone)["place"] > high
    few, _ = drift_by_chance(judges, alike[:6], alike[:6], ["place"])["place"]
    assert few > 1.5 * mean


def test_scores_of_a_method_align_with_those_of_its_class(judges, tiny, concept):
    method = TextualInversion(tiny, "teddy", "<toy>")
    torch.nn.init.normal_(method.vectors)
    options = {"num_inference_steps": 2, "guidance_scale": 1}
    with method.attach(tiny):
        ours = score_concept(tiny, judges, concept, PROMPTS, (3, 4), "<toy>", **options)
    prior = class_prior_scores(tiny, judges, concept, PROMPTS, (3, 4), **options)
    assert ours.prompts == prior.prompts == [p for p in PROMPTS for _ in range(2)]
    assert ours.seeds == prior.seeds == [3, 4, 3, 4]
    for name in ("instance", "instance_masked", "clip_image", "clip_image_masked"):
        assert getattr(ours, name).shape == (4,)
        assert not torch.equal(getattr(ours, name), getattr(prior, name))
    assert prior.prompt_accuracy.isnan().tolist() == [True, True, False, False]
    # judged by the class word: what was drawn does not matter for the text
    texts = [p.replace("{}", "teddy") for p in ours.prompts]
    expected = clip_text_similarity(judges, ours.pictures, texts)
    assert torch.equal(ours.clip_text, expected)


def test_a_concept_without_all_masks_is_judged_by_found_ones(judges, concept, pictures):
    bare = type(concept)("bare", "teddy", concept.images, [None] * 3)
    scores = score_pictures(judges, bare, pictures[:1], PROMPTS[:1], [0])
    known = (bare.pixels(128) + 1) / 2
    found = instance_similarity(judges, pictures[:1], known, True, left_half(3))
    assert torch.equal(scores.instance_masked, found)


def test_scoring_needs_an_attached_word_and_slots(judges, tiny, concept):
    with pytest.raises(PersoError, match="does not know <toy>"):
        score_concept(tiny, judges, concept, PROMPTS, (0,), "<toy>")
    with pytest.raises(PersoError, match="a word for red-disc"):
        score_concept(tiny, judges, concept, PROMPTS, (0,))
    with pytest.raises(PersoError, match="no slot"):
        class_prior_scores(tiny, judges, concept, ["a photo of a teddy"], (0,))
    with pytest.raises(PersoError, match="Only shipped concepts"):
        oracle_scores(judges, concept, PROMPTS, (0,))


@pytest.mark.parametrize("name", ["dotty-teddy", "person-a"])
def test_oracle_scores_are_of_true_pictures(judges, name):
    shipped = load_concept(name)
    scores = oracle_scores(judges, shipped, PROMPTS, (0, 1))
    assert scores.pictures.shape == (4, 3, 128, 128)
    assert scores.seeds == [0, 1, 0, 1]
    assert not torch.equal(scores.pictures[0], scores.pictures[1])
    truth = truth_of_prompt(PROMPTS[1], "{}", shipped.class_word)
    assert truth[list(ATTRIBUTES).index("place")] == 1
    again = oracle_scores(judges, shipped, PROMPTS, (1,))
    assert torch.equal(again.pictures, scores.pictures[1::2])


def test_the_table_lies_between_prior_and_oracle_and_counts_gains(judges):
    prompts, seeds = ["a photo of a {}", "a {} on a beach"], [0, 1]
    oracle = oracle_scores(judges, load_concept("dotty-teddy"), prompts, seeds)
    gone = {name: getattr(oracle, name) - 0.25 for name in SCORES}
    prior = replace(oracle, **gone)
    scores = {
        "class prior": [prior] * 2,
        "method": [oracle] * 2,
        "oracle": [oracle] * 2,
    }
    table = interval_table(scores)
    assert list(table) == ["class prior", "method", "oracle", "method - class prior"]
    for name in SCORES:
        mean, low, high = table["method - class prior"][name]
        assert mean == pytest.approx(0.25, abs=1e-6) and high - low < 1e-6
        assert table["method"][name] == table["oracle"][name]


def test_evaluate_wants_to_know_what(capsys):
    assert main(["evaluate"]) == 2
    assert "evaluate base" in capsys.readouterr().err
