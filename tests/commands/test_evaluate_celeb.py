import dataclasses
import math
from argparse import Namespace

import pytest
import torch
from judge_helpers import untrained, untrained_judges

from perso_lite.commands import evaluate
from perso_lite.commands.evaluations import evaluate_celeb, people_pairs
from perso_lite.commands.evaluations.evaluate_celeb import GROUPS
from perso_lite.commands.evaluations.held_out_people import (
    held_out_people,
    rendered_person,
)
from perso_lite.errors import PersoError
from perso_lite.evaluation.judges import AttributeReader, load_judges
from perso_lite.evaluation.tradeoff import load_results
from perso_lite.methods import METHODS, load_method
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
    assert len(people) == len(set(people)) == 20
    shown = [rendered_person(name, 32) for name in (*people, "dev-person-0")]
    thetas = torch.tensor([person.truth["theta"] for person in shown])
    others = torch.cat([people_thetas(), thetas])
    distances = torch.cdist(thetas, others)
    assert (distances < 0.1).sum() == len(thetas)  # each to itself alone
    corners = thetas[15:20]
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
        found |= GROUPS[group](tiny, on_tiny, person, options)
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


def test_the_truth_of_two_people_is_recognised_side_by_side():
    judges = load_judges()
    one, other = (rendered_person(name) for name in held_out_people()[:2])
    orders = ((one, other), (other, one))
    painted = [people_pairs.painted_pair(order, 2, 128) for order in orders]
    portraits = people_pairs.all_portraits()
    found = people_pairs.sides_scores(judges, painted, orders, portraits)
    right = {name: torch.tensor(values).mean() for name, values in found.items()}
    assert len(found["own"]) == 8  # two orders, two prompts, two pictures each
    assert right["recognised"] > 0.7 and right["own"] > right["other"] + 0.3
    exchanged = people_pairs.sides_scores(judges, painted, orders[::-1], portraits)
    assert exchanged["own"] == found["other"]
    assert torch.tensor(exchanged["recognised"]).mean() < 0.2


def test_two_people_are_drawn_from_their_files_in_both_orders(
    tiny, on_tiny, tmp_path, monkeypatch
):
    names = ["held-out-person-00", "held-out-person-01"]
    monkeypatch.setattr(people_pairs, "held_out_people", lambda: names)
    people = [rendered_person(name, 32) for name in names]
    for person in people:
        for kind in people_pairs.FILES:
            method = METHODS[kind](tiny, "teddy", person.placeholder_token)
            method.save(tmp_path / f"{person.name}-{kind}.safetensors")
    options = Namespace(seeds=1, guidance=1.0, steps=1, out=tmp_path)
    found = GROUPS["pairs"](tiny, on_tiny, people[0], options)
    assert [name.removeprefix("two people: ") for name in found] == [
        *people_pairs.FILES, "oracle",
    ]  # fmt: skip
    for scores in found.values():
        assert {*scores} == {"own", "other", "recognised"}
        assert all(len(values) == 4 for values in scores.values())
    (tmp_path / f"{names[1]}-celeb_basis.safetensors").unlink()
    with pytest.raises(PersoError, match="held-out-person-01"):
        GROUPS["pairs"](tiny, on_tiny, people[0], options)


def test_a_balloon_is_drawn_from_the_files_of_three_methods(tiny, on_tiny, tmp_path):
    person = rendered_person("held-out-person-00", 32)
    kinds = ["celeb_basis", "textual_inversion", "dreambooth_lora"]
    for kind in kinds:
        rare = {"identifier_token": "cat"} if kind == "dreambooth_lora" else {}
        method = METHODS[kind](tiny, "teddy", person.placeholder_token, **rare)
        method.save(tmp_path / f"{person.name}-{kind}.safetensors")
    options = Namespace(seeds=1, guidance=1.0, steps=1, out=tmp_path)
    found = GROUPS["balloon"](tiny, on_tiny, person, options)
    drawn = ["balloon: mean person", *(f"balloon: {kind}" for kind in kinds)]
    assert list(found) == drawn
    assert all(len(scores["prompt"]) == 4 for scores in found.values())
    later = rendered_person(held_out_people()[12], 32)
    assert GROUPS["balloon"](tiny, on_tiny, later, options) == {}
