"""What can be read from the text encoder's states, and what cannot be."""

import pytest
import torch

from perso_lite.errors import PersoError
from perso_lite.evaluation.linear_probe import (
    held_out_r2,
    linear_probe_accuracy,
    plain_sentences,
)
from perso_lite.world.captions import parse
from perso_lite.world.places import PLACES
from perso_lite.world.scenes import COLORS
from perso_lite.world.toys import TOYS


def test_labels_are_what_the_sentences_say():
    sentences, facts = plain_sentences(60, seed=5)
    for i, sentence in enumerate(sentences):
        words = parse(sentence)
        class_word, color = words.things[0][:2]
        assert list(TOYS)[facts["class"][i]] == class_word
        assert list(COLORS)[facts["color"][i]] == color
        assert list(PLACES)[facts["place"][i]] == words.place


@pytest.mark.slow
def test_a_position_knows_what_stands_before_it(base):
    sentences, facts = plain_sentences(600)
    at_class = linear_probe_accuracy(base, sentences, facts, "class word")
    assert at_class.shape == (base.text_encoder.config.num_hidden_layers + 1, 3)
    name, color, place = at_class.unbind(1)
    assert (name > 0.9).all()  # its own word, from the start
    assert color[0] < 0.3  # said before it: not yet, then well
    assert color[-1] > 0.8
    assert (place < 0.35).all()  # said after it: never
    at_end = linear_probe_accuracy(base, sentences, facts, "end token")
    assert (at_end[-1] > 0.7).all()
    assert (at_end[-1] > at_end[0]).all()


def test_what_is_not_there_cannot_be_read(base):
    sentences, facts = plain_sentences(300)
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    facts = {"color": facts["color"][shuffled]}
    assert (linear_probe_accuracy(base, sentences, facts, "class word") < 0.3).all()


def test_an_unknown_position_is_refused(base):
    with pytest.raises(PersoError, match=r"'the middle'.*class word, end token"):
        linear_probe_accuracy(base, *plain_sentences(6), "the middle")


def test_a_linear_map_is_found_on_rows_that_were_held_out():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator)
    y = torch.randn(200, 1, generator=generator)  # nothing to do with x
    targets = torch.cat([x @ torch.randn(6, 2, generator=generator) + 3, y], 1)
    found = held_out_r2(x, targets, ridge=1e-9)
    assert (found[:2] > 1 - 1e-8).all()
    assert -0.3 < found[2] < 0.1
    shrunk = held_out_r2(x, targets, ridge=1.0)[:2]
    assert ((shrunk > 0.4) & (shrunk < 0.9)).all()


def test_rows_come_in_pairs():
    with pytest.raises(PersoError, match="3 rows of inputs and 9 of targets"):
        held_out_r2(torch.zeros(3, 2), torch.zeros(9, 2))
