import pytest
import torch
from judge_helpers import untrained_judges

from perso_lite import PersoError
from perso_lite.commands import evaluate, measuring
from perso_lite.commands.evaluations import evaluate_catversion
from perso_lite.evaluation.tradeoff import load_results


@pytest.fixture
def small(monkeypatch):
    """One toy, two prompts, one or two steps of everything."""
    prompts = ["a photo of a {}", "a {} in the snow"]
    monkeypatch.setattr(evaluate_catversion, "concept_prompts", lambda: prompts)
    monkeypatch.setattr(measuring, "toys", lambda: ["dotty-teddy"])
    monkeypatch.setattr(
        evaluate_catversion, "toys_after", lambda _, n: ["star-rocket"] * n
    )
    monkeypatch.setattr(evaluate_catversion, "LENGTHS", (1, 2))
    monkeypatch.setattr(evaluate_catversion, "EQUAL_STEPS", 1)
    monkeypatch.setattr(evaluate_catversion, "BIASES", (-2.0,))


@pytest.mark.slow
def test_all_arms_are_measured_part_by_part(small, base, tmp_path):
    options = ["catversion", "--seeds", "1", "--steps", "1", "--out", str(tmp_path)]
    with pytest.raises(PersoError, match=r"no file .*dotty-teddy-catversion"):
        evaluate.main([*options, "--groups", "drift"])
    evaluate.main([*options, "--groups", "cases"])
    written = (tmp_path / "dotty-teddy-cases.json").stat().st_mtime_ns
    evaluate.main(options)
    assert (tmp_path / "dotty-teddy-cases.json").stat().st_mtime_ns == written

    found = load_results(tmp_path / "catversion.json")
    arms = [
        "catversion 1", "catversion 2", "contaminated", "bias -2",
        "layers 0 to 1", "layers 2 to 3", "layers 4 to 5", "layers 3 to 5",
        "all layers", "keys alone", "values alone", "rare word", "no caption",
        "templates",
    ]  # fmt: skip
    assert list(found) == [
        *arms, "drift of class word", "chance for class word",
        "drift of other words", "chance for other words", "case: training picture",
        "case: new scene", "case: wrong subject", "case: another of its class",
    ]  # fmt: skip
    names = ("instance", "clip_image", "clip_image_plain", "clip_text")
    scores = {arm: [found[arm][name][0].tolist() for name in names] for arm in arms}
    assert all(len(values) == 2 for arm in scores.values() for values in arm)
    assert len({str(values) for values in scores.values()}) == len(arms)
    assert all(0 <= found["drift of class word"][k][0] <= 1 for k in ("class", "place"))


def test_the_words_that_drift_are_those_of_the_next_toys(monkeypatch):
    monkeypatch.setattr(evaluate_catversion, "toys", lambda: ["a", "b", "c"])
    of = type("Named", (), {"name": "b"})
    assert evaluate_catversion.toys_after(of, 2) == ["c", "a"]


def test_layers_that_are_compared_have_as_many_numbers():
    arms = evaluate_catversion.LAYERS.values()
    assert {len(arm["layers"]) * arm["prefix_length"] for arm in arms} == {6}


def test_cases_have_true_masks_and_no_picture_is_its_own_reference(tiny, monkeypatch):
    judges = untrained_judges(tiny.tokenizer)
    seen = []

    def similarity(_, shown, known, masked=False, known_masks=None, picture_masks=None):
        if masked:
            seen.append((shown, picture_masks, known, known_masks))
        return torch.zeros(len(shown))

    monkeypatch.setattr(evaluate_catversion, "clip_image_similarity", similarity)
    monkeypatch.setattr(evaluate_catversion, "picture_size", lambda _: 128)
    concept = evaluate_catversion.load_concept("dotty-teddy")
    options = type("Options", (), {"seeds": 1})
    found = evaluate_catversion.clip_cases(tiny, judges, concept, options)
    assert [len(scores["clip_image"]) for scores in found.values()] == [1, 8, 8, 8]
    assert len(seen) == 4
    for shown, own, known, known_masks in seen:
        assert shown.shape[2:] == own.shape[2:] == (128, 128)
        assert 0.02 < own.mean() < 0.9
        assert len(known) == len(known_masks) == len(concept.images) - 1
        assert not any(torch.equal(shown[0], reference) for reference in known)
