import pytest
import torch
from judge_helpers import untrained_judges

from perso_lite import PersoError
from perso_lite.evaluation import names as module
from perso_lite.evaluation.ground_truth import requested_by_prompt
from perso_lite.evaluation.names import filter_names, true_portraits
from perso_lite.world.people import people_names

NAMES = ["cat hat", "dog snow", "teddy on", "hat cat"]


@pytest.fixture
def judged(tiny, monkeypatch):
    """Judges of pictures that are given, and what the reader reads in them."""
    judges = untrained_judges(tiny.tokenizer)

    def drawn(pictures, classes, obeyed):
        asked = []

        def generate(_, prompts, seeds, **options):
            asked.extend(prompts)
            return pictures

        accuracy = torch.tensor(obeyed)
        monkeypatch.setattr(module, "generate", generate)
        monkeypatch.setattr(module, "read_attribute", lambda *_: classes)
        monkeypatch.setattr(module, "prompt_accuracy", lambda *_: accuracy)
        return judges, asked

    return drawn


def test_a_name_is_kept_if_drawn_recognized_and_obeyed(tiny, judged):
    portraits = torch.rand(4, 3, 128, 128)
    pictures = portraits.clone()
    pictures[1] = portraits[3]  # somebody else
    classes = ["person", "person", "cat", "person"]
    judges, asked = judged(pictures, classes, [1.0, 1.0, 1.0, 0.5])
    found = filter_names(tiny, judges, NAMES, portraits)
    assert found.kept == ["cat hat"]
    assert found.rejected == {
        "dog snow": "hat cat is drawn",
        "teddy on": "no person is drawn",
        "hat cat": "the scene of the prompt is not drawn",
    }
    assert asked[0] == "a photo of cat hat on a beach"
    assert asked[2] == "teddy on on the moon"


def test_names_and_portraits_come_in_pairs(tiny, judged):
    judges, _ = judged(None, None, [])
    with pytest.raises(PersoError, match="3 portraits for 4 names"):
        filter_names(tiny, judges, NAMES, torch.rand(3, 3, 128, 128))


def test_portraits_are_those_of_the_names():
    first, second, again = true_portraits([*people_names()[:2], people_names()[0]], 32)
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_every_scene_asks_for_something_that_is_read():
    for scene in module.SCENES:
        assert max(requested_by_prompt(scene.format("a person"))) > 0
