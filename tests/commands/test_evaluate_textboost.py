import json

import pytest

from perso_lite.commands import evaluate
from perso_lite.commands import evaluate_tradeoff as tradeoff
from perso_lite.commands.evaluations import evaluate_textboost
from perso_lite.commands.evaluations.evaluate_textboost import first_picture
from perso_lite.evaluation.tradeoff import load_results


@pytest.fixture
def small(monkeypatch):
    """One toy, two prompts, one or two steps of everything."""
    monkeypatch.setattr(tradeoff, "toys", lambda: ["dotty-teddy"])
    prompts = ["a photo of a {}", "a {} in the snow"]
    monkeypatch.setattr(tradeoff, "concept_prompts", lambda: prompts)
    monkeypatch.setattr(evaluate_textboost, "STEPS", 2)
    steps = dict.fromkeys(evaluate_textboost.OTHER_STEPS, 1)
    monkeypatch.setattr(evaluate_textboost, "OTHER_STEPS", steps)


def test_only_the_first_picture_is_left(concept):
    single = first_picture(concept)
    assert single.images == concept.images[:1] and single.masks == concept.masks[:1]
    assert len(concept.images) == 3 and single.class_word == concept.class_word


def test_groups_have_names_for_files_and_parts_are_settings(tiny):
    assert len(evaluate_textboost.POINTS) == 13
    assert all(name.replace("_", "").isalpha() for name in evaluate_textboost.POINTS)
    usual = evaluate_textboost.TextBoost(tiny, "teddy").settings()
    for changed in evaluate_textboost.PARTS.values():
        (setting,) = changed
        assert usual[setting] != changed[setting]


@pytest.mark.slow
def test_one_picture_is_learned_by_all_and_interruptions_do_not_matter(small, tmp_path):
    options = ["--seeds", "1", "--steps", "1", "--out", str(tmp_path), "--groups"]
    evaluate.main(["textboost", *options, "textboost", "not_augmented"])
    found = load_results(tmp_path / "textboost.json")
    assert list(found) == [
        "textboost", "textboost, class word", "textboost drawn at 0.5",
        "textboost drawn at 0.0", "textboost not augmented",
        "textboost not augmented, class word",
    ]  # fmt: skip
    assert (tmp_path / "dotty-teddy-textboost.safetensors").exists()
    kept = tmp_path / "dotty-teddy-textboost.json"
    part = json.loads(kept.read_text())
    part["textboost"]["instance"] = [0.25, 0.5]
    kept.write_text(json.dumps(part))  # what is there is not measured again
    evaluate.main(["textboost", *options, "textual_inversion"])
    found = load_results(tmp_path / "textboost.json")
    assert found["textboost"]["instance"][0].tolist() == [0.25, 0.5]
    assert "textual_inversion, class word" in found
    scores = {json.dumps({n: v[0].tolist() for n, v in point.items()}) for point in
              found.values()}  # fmt: skip
    assert len(scores) == len(found) == 8
