import pytest
import torch

from perso_lite.commands import evaluate, evaluate_tradeoff
from perso_lite.commands.evaluations import (
    evaluate_catversion,
    evaluate_more,
    evaluate_neti,
    evaluate_textboost,
)
from perso_lite.commands.evaluations.held_out_toys import held_out_toys, rendered_toy
from perso_lite.evaluation.judges import load_judges
from perso_lite.evaluation.metrics import instance_similarity
from perso_lite.evaluation.tradeoff import load_results
from perso_lite.world.shipped_concepts import TOY_CONCEPTS


def test_the_toys_are_eight_others_of_eight_classes():
    toys = [rendered_toy(name) for name in held_out_toys()]
    assert len({toy.class_word for toy in toys}) == len(toys) == 8
    assert not {toy.name for toy in toys} & {*TOY_CONCEPTS}
    for toy in toys:
        assert len(toy.images) == len(toy.masks) == len(toy.captions) == 5
        assert toy.truth["class_word"] == toy.class_word
        assert 0.02 < toy.mask_tensor(32, 32).mean() < 0.6
    again = rendered_toy(held_out_toys()[2])
    assert again.images[4].tobytes() == toys[2].images[4].tobytes()


def test_all_pictures_of_a_held_out_toy_show_it_and_no_other():
    judges = load_judges()
    one, other = (rendered_toy(name) for name in held_out_toys()[:2])
    seen, again, another = (
        toy.pictures(128)[part]
        for toy, part in ((one, slice(1)), (one, slice(3, 5)), (other, slice(3, 5)))
    )
    same = instance_similarity(judges, again, seen, masked=True)
    apart = instance_similarity(judges, another, seen, masked=True)
    assert same.min() > 0.6 > 0.3 > apart.max()


@pytest.fixture
def small(monkeypatch):
    """One toy, two prompts, one or two steps of everything."""
    monkeypatch.setattr(evaluate_more, "held_out_toys", lambda: ["held-out-boat"])
    prompts = ["a photo of a {}", "a {} in the snow"]
    for module in (evaluate_catversion, evaluate_textboost, evaluate_tradeoff):
        monkeypatch.setattr(module, "concept_prompts", lambda: prompts)
    monkeypatch.setattr(evaluate_catversion, "EQUAL_STEPS", 1)
    monkeypatch.setattr(evaluate_textboost, "STEPS", 2)
    monkeypatch.setattr(evaluate_textboost, "EARLY", (1,))
    monkeypatch.setattr(evaluate_textboost, "FRESH_SEEDS", (1000, 1001))
    monkeypatch.setattr(evaluate_neti, "LENGTHS", (1, 200))
    monkeypatch.setattr(evaluate_neti, "fit", lambda method, concept, steps: iter(()))


def test_points_are_those_of_the_first_eight_toys():
    names = ["neti 200", "neti 50", "neti truncated 16", "neti truncated 4"]

    def points_of(*arguments):
        yield from ((name, list(arguments)) for name in names)

    kept = evaluate_more.only(points_of, lambda name: name.endswith(("200", "16")))
    assert list(kept(1, 2)) == [("neti 200", [1, 2]), ("neti truncated 16", [1, 2])]


@pytest.mark.slow
def test_groups_are_measured_part_by_part(small, base, tmp_path):
    options = ["more", "--seeds", "1", "--steps", "1", "--out", str(tmp_path)]
    groups = ["thirds", "textboost", "at_uniform_timesteps", "undropped"]
    evaluate.main([*options, "--groups", *groups])
    found = load_results(tmp_path / "more_toys.json")
    assert list(found) == [
        *evaluate_more.THIRDS, "textboost after 1", "textboost",
        "textboost at uniform timesteps after 1", "textboost at uniform timesteps",
        "neti without dropout", "neti without dropout truncated 16",
    ]  # fmt: skip
    assert all(len(scores["instance"]) == 1 for scores in found.values())
    values = torch.stack([scores["instance"][0] for scores in found.values()])
    assert values.shape == (len(found), 2)
