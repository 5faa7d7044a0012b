import json
import random
from argparse import Namespace
from dataclasses import replace

import pytest
import torch
from judge_helpers import untrained, untrained_judges

from perso_lite.commands import evaluate
from perso_lite.commands.evaluations import evaluate_mix
from perso_lite.commands.evaluations.evaluate_mix import (
    learned_concept,
    scored_pair,
    side_for,
    side_scores,
)
from perso_lite.concepts import load_concept
from perso_lite.evaluation.judges import AttributeReader, load_judges
from perso_lite.evaluation.mix import MIXED, load_mix
from perso_lite.methods import METHODS
from perso_lite.world.oracle import scene_for, thing_from_truth
from perso_lite.world.render import render

SCORES = {"left own", "left other", "right own", "right other", "sides"}


def painted(prompt, *concepts):
    """Two true pictures of a pair."""
    scenes = [scene_for(prompt, random.Random(index)) for index in range(2)]
    things = tuple(thing_from_truth(concept.truth) for concept in concepts)
    return render([replace(s, things=things) for s in scenes], 128)[0].clamp(0, 1)


def test_all_six_methods_are_mixed_and_have_their_steps():
    assert set(MIXED) <= set(METHODS)
    assert evaluate_mix.STEPS.keys() == set(MIXED)


@pytest.mark.parametrize("people", [False, True])
def test_true_pictures_are_nearest_to_the_concept_of_each_side(people):
    judges, left = load_judges(), load_concept("dotty-teddy")
    right = load_concept("person-a" if people else "star-rocket")
    pictures = painted(f"a teddy next to a {right.class_word}", left, right)
    found = side_scores(judges, pictures, left, right)
    assert {*found} == SCORES
    assert min(found["left own"] + found["right own"]) > 0.6
    assert max(found["left other"] + found["right other"]) < 0.4
    exchanged = side_scores(judges, pictures.flip(3), left, right)
    assert max(exchanged["left own"] + exchanged["right own"]) < 0.4
    assert sum(exchanged["sides"]) == 0
    if not people:
        assert found["sides"] == [1.0, 1.0]


def test_a_file_in_the_folder_comes_before_learning(tiny, tmp_path, monkeypatch):
    concept = load_concept("dotty-teddy")
    monkeypatch.setattr(evaluate_mix, "DATA_FOLDER", tmp_path / "shipped")
    monkeypatch.setattr(evaluate_mix, "STEPS", {"textual_inversion": 1})
    learned = learned_concept("textual_inversion", tiny, concept, tmp_path)

    def forbidden(*given):
        raise AssertionError("learned again")

    monkeypatch.setattr(evaluate_mix, "fit", forbidden)
    again = learned_concept("textual_inversion", tiny, concept, tmp_path)
    assert torch.equal(again.vectors, learned.vectors)


def test_a_pair_is_scored_in_both_orders_on_a_tiny_base(tiny, tmp_path):
    for name in ("textual_inversion", "neti"):
        for toy in evaluate_mix.TOYS:
            concept = load_concept(toy)
            method = METHODS[name](tiny, "teddy", concept.placeholder_token)
            method.save(tmp_path / f"{toy}-{name}.safetensors")
    options = Namespace(seeds=2, guidance=1.0, steps=1, out=tmp_path)
    judges = untrained_judges(tiny.tokenizer)
    judges = replace(judges, reader=untrained(AttributeReader()))
    found = scored_pair(tiny, judges, "neti", "textual_inversion", options)
    assert {*found} == SCORES
    assert all([len(v) for v in orders] == [2, 2] for orders in found.values())
    assert (tmp_path / "neti + textual_inversion.png").exists()
    side = side_for("neti", tiny, 1, tmp_path)
    assert side.words == "a <star-rocket>" and side.method.name == "neti"
    word = side_for("person word", tiny, 0, tmp_path)
    assert word.words == "a person" and word.method is None


@pytest.mark.slow
def test_what_is_measured_is_gathered_and_not_measured_again(tmp_path, monkeypatch):
    options = ["--seeds", "1", "--steps", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(evaluate_mix, "ASKED", ("toy word", "person word"))
    evaluate.main(["mix", *options, "--left", "person word"])
    part = evaluate_mix.part_of(tmp_path, "person word", "toy word")
    scores = json.loads(part.read_text())
    part.write_text(json.dumps(scores | {"left own": [[0.25], [0.5]]}))
    evaluate.main(["mix", *options, "--left", "person word"])
    found = load_mix(tmp_path / "mix.json")
    assert list(found) == ["person word + toy word", "person word + person word"]
    values = found["person word + toy word"]["left own"]
    assert [v.tolist() for v in values] == [[0.25], [0.5]]
