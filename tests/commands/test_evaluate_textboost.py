import itertools
import json

import pytest
import torch

from perso_lite.commands import evaluate, measuring
from perso_lite.commands.evaluations import evaluate_textboost
from perso_lite.commands.evaluations.evaluate_textboost import (
    all_scores,
    first_picture,
    text_drift,
)
from perso_lite.concepts import load_concept
from perso_lite.evaluation.judges import load_judges
from perso_lite.evaluation.scores import score_pictures
from perso_lite.evaluation.tradeoff import load_results


@pytest.fixture
def small(monkeypatch):
    """One toy, two prompts, one or two steps of everything."""
    monkeypatch.setattr(measuring, "toys", lambda: ["dotty-teddy"])
    prompts = ["a photo of a {}", "a {} in the snow"]
    monkeypatch.setattr(evaluate_textboost, "concept_prompts", lambda: prompts)
    monkeypatch.setattr(evaluate_textboost, "STEPS", 2)
    monkeypatch.setattr(evaluate_textboost, "EARLY", (1,))
    monkeypatch.setattr(evaluate_textboost, "FRESH_SEEDS", (1000, 1001))
    steps = dict.fromkeys(evaluate_textboost.OTHER_STEPS, 1)
    monkeypatch.setattr(evaluate_textboost, "OTHER_STEPS", steps)


def test_only_the_first_picture_is_left(concept):
    single = first_picture(concept)
    assert single.images == concept.images[:1] and single.masks == concept.masks[:1]
    assert len(concept.images) == 3 and single.class_word == concept.class_word


def test_groups_have_names_for_files_and_parts_are_settings(tiny):
    assert len(evaluate_textboost.POINTS) == 19
    assert all(name.replace("_", "").isalpha() for name in evaluate_textboost.POINTS)
    usual = evaluate_textboost.TextBoost(tiny, "teddy").settings()
    for changed in evaluate_textboost.PARTS.values():
        assert all(usual[setting] != value for setting, value in changed.items())


def test_eight_arms_are_all_of_with_and_without_three_parts():
    every = [{}, *evaluate_textboost.PARTS.values()]
    three = [evaluate_textboost.PLAIN, evaluate_textboost.KNOWLEDGE]
    three.append(evaluate_textboost.UNIFORM)
    for chosen in itertools.product((False, True), repeat=3):
        arm = {}
        for use, part in zip(chosen, three, strict=True):
            arm |= part if use else {}
        assert arm in every


def test_states_drift_from_0_to_2_and_the_start_is_apart():
    known = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    now = known.clone()
    now[1, 0] *= -2  # the opposite direction
    now[2, 1:] *= 3  # the same
    found = {k: torch.tensor(v) for k, v in text_drift(known, now).items()}
    assert torch.allclose(found["text drift"], torch.tensor([0, 0.5, 0]), atol=1e-6)
    assert torch.allclose(found["start drift"], torch.tensor([0.0, 2, 0]), atol=1e-6)


def test_copies_of_the_training_picture_are_seen_and_not_diverse():
    judges = load_judges()
    concept = load_concept("dotty-teddy")
    copies = concept.pictures(128)[:1].expand(3, -1, -1, -1)
    found = score_pictures(judges, concept, copies, ["a photo of a {}"], (0, 1, 2))
    flipped = concept.pictures(128)[:3].flip(2)
    scores = all_scores(judges, concept, found, copies)
    assert torch.allclose(torch.tensor(scores["seen"]), torch.ones(3), atol=1e-4)
    assert max(scores["unseen"]) < 0.99
    assert scores["diversity"] == pytest.approx([0, 0, 0], abs=1e-4)
    upside_down = all_scores(judges, concept, found, flipped)
    assert sum(upside_down["transformed"]) > sum(scores["transformed"])
    assert min(upside_down["diversity"]) > 0.01


@pytest.mark.slow
def test_one_picture_is_learned_by_all_and_interruptions_do_not_matter(small, tmp_path):
    options = ["--seeds", "1", "--steps", "1", "--out", str(tmp_path), "--groups"]
    evaluate.main(["textboost", *options, "textboost", "not_augmented", "ends"])
    found = load_results(tmp_path / "textboost.json")
    assert list(found) == [
        "class prior", "oracle", "textboost after 1", "textboost after 1, class word",
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
    of_fresh = {"transformed": 2, "diversity": 2, "seen": 2, "unseen": 2}
    # a new vector alone leaves the class word as it was
    prior, inversion = found["class prior"], found["textual_inversion, class word"]
    assert all(torch.equal(inversion[name][0], prior[name][0]) for name in inversion)
    assert {*prior} - {*inversion} == {*of_fresh, "text drift", "start drift"}
    assert len(scores) == len(found) == 12
    assert {n: len(found["textboost"][n][0]) for n in of_fresh} == of_fresh
    assert len(found["textboost"]["text drift"][0]) == evaluate_textboost.UNTRAINED
    assert found["class prior"]["text drift"][0].max() == 0
    assert "text drift" not in found["oracle"]
