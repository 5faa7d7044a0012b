"""Trials show what they say: the same toy or another, the same scene or another."""

from dataclasses import replace
from itertools import pairwise

import pytest

from perso_lite.evaluation.trials import (
    A_LITTLE,
    A_LOT,
    FOILS,
    MORPH_STEPS,
    MORPHS,
    RIGHT,
    choice_trials,
    morph_trials,
    morphed,
    parameter_distance,
)
from perso_lite.world.toys import TOYS


def background(scene):
    return replace(scene, things=())


@pytest.fixture(scope="module")
def choices():
    return list(choice_trials(6 * 32))


@pytest.fixture(scope="module", params=MORPHS)
def morphs(request):
    return request.param, list(morph_trials(16, request.param))


def test_the_right_candidate_is_the_toy_in_another_scene(choices):
    for trial in choices:
        assert [*trial.candidates] == [RIGHT, *FOILS]
        right = trial.candidates[RIGHT]
        assert right.things == trial.reference.things
        assert right.mood != trial.reference.mood
        assert right.framing != trial.reference.framing


def test_foils_are_in_the_scene_that_their_kind_says(choices):
    for trial in choices:
        right = trial.candidates[RIGHT]
        for kind, foil in list(trial.candidates.items())[1:]:
            other = trial.reference if "reference" in kind else right
            assert background(foil) == background(other)


def test_foils_are_other_toys_of_the_class_that_their_kind_says(choices):
    for trial in choices:
        for kind, foil in list(trial.candidates.items())[1:]:
            (thing,) = foil.things
            same = thing.class_word == trial.toy.class_word
            assert same == ("another class" not in kind)
            assert thing.instance.numbers != trial.toy.instance.numbers


def test_a_changed_toy_lies_on_the_way_to_the_other_one(choices):
    for trial in choices:
        found = dict(zip(trial.candidates, trial.distances().tolist(), strict=True))
        other = trial.candidates["another of its class"].things[0].instance
        whole = parameter_distance(trial.toy, replace(trial.toy, instance=other))
        assert found[RIGHT] == 0
        assert found["the toy changed a lot"] == pytest.approx(A_LOT * whole)
        assert found["the toy changed a little"] == pytest.approx(A_LITTLE * whole)
        for kind in FOILS[-2:]:
            changed, toy = trial.candidates[kind].things[0], trial.toy
            assert changed.pattern == toy.pattern
            assert changed.instance.mark == toy.instance.mark


def test_classes_take_turns_and_no_toy_comes_twice(choices):
    words = [trial.toy.class_word for trial in choices]
    assert words == [*TOYS, *TOYS]
    assert len({trial.toy for trial in choices}) == len(choices)


@pytest.mark.parametrize("triplets", [1, 6, 7, 13])
def test_there_are_as_many_triplets_as_asked_for(triplets):
    trials = list(choice_trials(triplets))
    assert sum(len(trial.candidates) - 1 for trial in trials) == triplets


def test_the_seed_decides(choices):
    assert list(choice_trials(12)) == choices[:2]
    assert list(choice_trials(12, seed=1)) != choices[:2]


def test_morphs_go_from_the_toy_to_another_in_equal_steps(morphs):
    _, trials = morphs
    for trial in trials:
        distances = trial.distances().tolist()
        assert len(distances) == MORPH_STEPS and distances[0] == 0
        steps = [b - a for a, b in pairwise(distances)]
        assert steps[0] > 0 and steps == pytest.approx([steps[0]] * 8)


def test_morphs_are_in_one_scene_or_in_nine(morphs):
    kind, trials = morphs
    for trial in trials:
        scenes = {background(scene) for scene in trial.candidates.values()}
        assert len(scenes) == (1 if kind == "fixed scene" else MORPH_STEPS)
        assert background(trial.reference) not in scenes


def test_both_kinds_of_morphs_have_the_same_toys():
    fixed, new = (list(morph_trials(4, kind)) for kind in MORPHS)
    for one, other in zip(fixed, new, strict=True):
        assert one.reference == other.reference
        things = [[s.things for s in t.candidates.values()] for t in (one, other)]
        assert things[0] == things[1]


def test_morphed_by_nothing_is_the_toy_and_by_all_the_other(choices):
    toy, other = choices[0].toy, choices[1].toy.instance
    assert morphed(toy, other, 0) == toy
    end = morphed(toy, other, 1)
    assert end.instance.numbers == pytest.approx(other.numbers)
    assert end.instance.accent == pytest.approx(other.accent)
