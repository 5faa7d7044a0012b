import dataclasses
import math
from argparse import Namespace

import pytest
import torch
from judge_helpers import untrained, untrained_judges

from perso_lite.commands import evaluate
from perso_lite.commands.evaluations import evaluate_celeb
from perso_lite.commands.evaluations.evaluate_celeb import GROUPS, measured_person
from perso_lite.commands.evaluations.held_out_people import (
    held_out_people,
    rendered_person,
)
from perso_lite.evaluation.judges import AttributeReader
from perso_lite.evaluation.tradeoff import load_results
from perso_lite.methods import load_method
from perso_lite.methods.celeb_basis import word_in_basis
from perso_lite.world.people import people_thetas


@pytest.fixture
def small(monkeypatch):
    """One or two steps of everything."""
    monkeypatch.setattr(evaluate_celeb, "LENGTHS", (1, 2))
    monkeypatch.setattr(evaluate_celeb, "RADII", (2.0,))
    steps = dict.fromkeys(evaluate_celeb.OTHER_STEPS, 1)
    monkeypatch.setattr(evaluate_celeb, "OTHER_STEPS", steps)


@pytest.fixture
def on_tiny(tiny, name_basis, monkeypatch):
    """Judges, and the basis where it is looked for."""
    monkeypatch.setattr(word_in_basis, "basis_of", lambda _: name_basis)
    monkeypatch.setattr(evaluate_celeb, "basis_of", lambda _: name_basis)
    portraits = torch.rand(len(name_basis.names), 3, 128, 128)
    monkeypatch.setattr(evaluate_celeb, "true_portraits", lambda _: portraits)
    judges = untrained_judges(tiny.tokenizer)
    reader = untrained(AttributeReader())  # it reads what there is to read
    return dataclasses.replace(judges, reader=reader)


def test_people_are_others_than_those_with_names_and_than_each_other():
    people = held_out_people()
    assert len(people) == len(set(people)) == 25
    shown = [rendered_person(name, 32) for name in (*people, "dev-person-0")]
    thetas = torch.tensor([person.truth["theta"] for person in shown])
    others = torch.cat([people_thetas(), thetas])
    distances = torch.cdist(thetas, others)
    assert (distances < 0.1).sum() == len(thetas)  # each to itself alone
    corners = thetas[20:25]
    assert ((corners - 0.5).abs() > 0.45).all()
    assert all(0.05 < p.mask_tensor(32, 32).mean() < 0.9 for p in shown)
    again = rendered_person(people[3], 32)
    assert again.images[0].tobytes() == shown[3].images[0].tobytes()


def test_the_portrait_that_is_nearest_has_the_nearest_name(tiny, on_tiny, name_basis):
    person = rendered_person("held-out-person-00", 128)
    portraits = torch.rand(len(name_basis.names), 3, 128, 128)
    portraits[7] = person.pictures(128)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_celeb, "true_portraits", lambda _: portraits)
        found = evaluate_celeb.nearest_name(on_tiny, person, name_basis)
    assert found == name_basis.names[7]


def test_groups_are_measured_on_a_tiny_base(small, tiny, on_tiny, tmp_path):
    options = Namespace(seeds=1, guidance=1.0, steps=1, out=tmp_path)
    person = rendered_person("held-out-person-02", 32)
    found = {}
    for group in ("free", "unlearned", "oracle"):
        found |= measured_person(tiny, on_tiny, person, GROUPS[group], options)
    assert list(found) == [
        "celeb basis free 1", "celeb basis free 2", "celeb basis at radius 2",
        "mean person", "random person", "nearest name", "oracle",
    ]  # fmt: skip
    for scores in found.values():
        assert len(scores) == 4 + 2 + 18
        assert all(len(values) == 4 for values in scores.values())
        assert all(math.isfinite(v) for values in scores.values() for v in values)
        errors = [scores[name] for name in scores if name.startswith("error of ")]
        mean = torch.tensor(errors).mean(0)
        assert torch.allclose(mean, torch.tensor(scores["face error"]), atol=1e-5)
    identities = {tuple(scores["instance"]) for scores in found.values()}
    assert len(identities) == len(found)
    kept = load_method(evaluate_celeb.saved(tmp_path, person), tiny)
    assert kept.state_dict().keys() == {"weights"}


def test_people_are_called_by_a_name_and_other_words_have_an_article(tiny, name_basis):
    celeb = evaluate_celeb.CelebBasis(tiny, "person", basis=name_basis)
    other = evaluate_celeb.METHODS["textual_inversion"](tiny, "teddy")
    assert evaluate_celeb.prompt_for([celeb], "{} on a beach") == "{} on a beach"
    assert evaluate_celeb.prompt_for([other], "{} on a beach") == "a {} on a beach"


@pytest.mark.slow
def test_a_person_is_measured_and_not_measured_again(
    small, base, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluate_celeb, "held_out_people", lambda: ["person-x"])
    options = ["--seeds", "1", "--steps", "1", "--out", str(tmp_path)]
    groups = ["free", "unlearned", "textual_inversion", "oracle"]
    evaluate.main(["celeb", *options, "--groups", *groups])
    written = (tmp_path / "person-x-free.json").stat().st_mtime_ns
    evaluate.main(["celeb", *options, "--groups", *groups])
    assert (tmp_path / "person-x-free.json").stat().st_mtime_ns == written
    found = load_results(tmp_path / "celeb.json")
    assert {"nearest name", "textual_inversion", "oracle"} <= {*found}
    assert found["oracle"]["face error"][0].mean() < 0.6
