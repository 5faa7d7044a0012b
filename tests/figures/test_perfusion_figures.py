"""Figures of Perfusion's gates: their titles and labels."""

import torch

from perso_lite.figures.perfusion import finding, spread


def test_the_title_states_the_finding():
    gates = torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.4, 0.8]])
    words, both = ["a", "<toy>", "<pet>"], ["<toy>", "<pet>"]
    one = finding(words, gates[:, :1], both[:1])
    assert one == 'gate of "<toy>" 0.90, of all other words at most 0.40'
    assert finding(words, gates, both, "share") == (
        'shares of "<toy>" 0.90 and "<pet>" 0.80, elsewhere at most 0.40'
    )
    assert finding(words[:1], gates[:1], both) == "gate of every word at most 0.20"
    assert finding(words[1:2], gates[1:2, :1], both[:1]) == 'gate of "<toy>" 0.90'
    assert finding([], gates[:0], both) == "a prompt without words"


def test_labels_are_moved_apart_as_little_as_possible():
    assert spread([], 1, 0, 9).tolist() == []
    assert spread([0, 2, 5], 1, 0, 9).tolist() == [0, 2, 5]
    assert spread([4, 4, 4, 8], 1, 0, 9).tolist() == [3, 4, 5, 8]
    assert spread([0, 0, 9], 2, 0, 9).tolist() == [0, 2, 9]
    assert spread([5] * 4, 9, 0, 9).tolist() == [0, 3, 6, 9]
