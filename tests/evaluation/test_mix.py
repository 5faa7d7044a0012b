"""Verdicts of pairs, from results that are made up."""

import pytest
import torch

from perso_lite.evaluation.mix import (
    LOST,
    PERSON_WORD,
    RIGHT,
    TOY_WORD,
    WEAK,
    class_word_of,
    gain,
    side_of_mix,
    verdict_of_mix,
)


def scores(own, other=0.0):
    noise = torch.tensor([-0.01, 0.0, 0.01, 0.02])
    names = {"left own": own, "left other": other, "right own": 0.6, "right other": 0}
    return {name: [value + noise, value + noise.flip(0)] for name, value in
            names.items()}  # fmt: skip


def results(own, other=0.0, alone=0.5, classes=0.1):
    found = {"neti + perfusion": scores(own, other), "neti + toy word": scores(alone)}
    found["toy word + perfusion"] = scores(0.1)
    found["toy word + toy word"] = scores(classes)
    found["toy word + toy word"]["right own"] = [torch.zeros(4)] * 2
    return found


@pytest.mark.parametrize(
    "own, other, alone, verdict",
    [
        (0.5, 0.0, 0.5, RIGHT),  # nearer than the class word, and than the other
        (0.3, 0.0, 0.5, RIGHT),  # something is lost, but it is still itself
        (0.1, 0.0, 0.1, WEAK),  # no nearer than the class word, with or without
        (0.1, 0.0, 0.5, LOST),  # no nearer than the class word, though it was alone
        (0.3, 0.4, 0.5, LOST),  # nearer to the other
    ],
)
def test_a_pair_has_the_verdict_of_its_worse_side(own, other, alone, verdict):
    found = results(own, other, alone)
    assert side_of_mix(found, "neti", "perfusion", "left").verdict == verdict
    assert side_of_mix(found, "neti", "perfusion", "right").verdict == RIGHT
    assert verdict_of_mix(found, "neti", "perfusion") == verdict


def test_both_orders_must_gain():
    values = [torch.full((4,), 0.5), torch.full((4,), -0.1)]
    mean, low, high = gain(values)
    assert mean == pytest.approx(0.2) and low < 0 < high
    baseline = [torch.full((4,), 0.4), torch.full((4,), -0.2)]
    assert gain(values, baseline) == pytest.approx((0.1, 0.1, 0.1))


def test_people_are_compared_with_people():
    assert class_word_of("celeb_basis") == class_word_of(PERSON_WORD) == PERSON_WORD
    assert class_word_of("neti") == class_word_of(TOY_WORD) == TOY_WORD
