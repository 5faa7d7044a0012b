import copy
from dataclasses import dataclass

import pytest
import torch

from perso_lite import PersoError, TextualInversion, selection
from perso_lite.selection import fit_and_choose, harmonic_mean


@dataclass
class Scores:
    """What `fit_and_choose` reads of ConceptScores."""

    instance_masked: torch.Tensor
    prompt_accuracy: torch.Tensor


def scores(image, text):
    return Scores(torch.tensor([image, image]), torch.tensor([text, torch.nan]))


@pytest.fixture
def judged(monkeypatch):
    """Looks that find what they are told, the best one in the middle."""
    found = [scores(0.2, 0.9), scores(0.6, 0.6), scores(0.8, 0.2)]
    states = []

    def look(base, judges, concept, prompts, seeds, token, **drawing):
        assert token in base.tokenizer.get_vocab()
        states.append(base.text_encoder.get_input_embeddings()(torch.tensor([[0]])))
        return found[len(states) - 1]

    prior = scores(0.1, 0.8)
    monkeypatch.setattr(selection, "class_prior_scores", lambda *_, **__: prior)
    monkeypatch.setattr(selection, "score_concept", look)
    return states


def test_the_harmonic_mean_wants_both():
    assert harmonic_mean(0.5, 0.5) == pytest.approx(0.5)
    assert harmonic_mean(0.753, 0.937) == pytest.approx(0.835, abs=5e-4)  # the paper's
    assert harmonic_mean(1.0, -0.1) == 0


def test_the_method_is_left_as_it_was_at_its_best(tiny, concept, judged):
    method = TextualInversion(tiny, "teddy")
    options = {"steps": 6, "every": 2, "batch_size": 1}
    looks = fit_and_choose(method, concept, None, ["a {}"], **options)
    assert [look.step for look in looks] == [2, 4, 6]
    # the class word's score is 1 on the text axis
    assert [look.text for look in looks] == pytest.approx([1.125, 0.75, 0.25])
    assert max(looks, key=lambda look: look.harmonic).step == 4
    assert method.training_record["steps"] == 4

    again = TextualInversion(tiny, "teddy")
    for step in selection.fit(again, concept, 6, batch_size=1):
        if step.index == 3:
            wanted = copy.deepcopy(again.state_dict())
    assert torch.equal(method.vectors, wanted["vectors"])
    assert not torch.equal(method.vectors, again.vectors)


def test_a_training_that_nobody_looks_at_is_refused(tiny, concept):
    method = TextualInversion(tiny, "teddy")
    with pytest.raises(PersoError, match="never looked at"):
        fit_and_choose(method, concept, None, ["a {}"], steps=3, every=25)
