import json

import pytest
import torch
import torch.nn.functional as F

from perso_lite import Perfusion, load_concept, load_judges
from perso_lite.commands import evaluate, measuring
from perso_lite.commands import evaluate_pairs as pairs
from perso_lite.commands import evaluate_tradeoff as tradeoff
from perso_lite.evaluation import prompts
from perso_lite.evaluation.metrics import ATTRIBUTES
from perso_lite.evaluation.tradeoff import load_results, place_of

PROMPTS = ["a photo of a {}", "a {} in the snow"]


@pytest.fixture
def small(monkeypatch):
    """One toy, two prompts, one step of everything."""
    for module in (measuring, pairs):
        monkeypatch.setattr(module, "toys", lambda: ["dotty-teddy", "star-rocket"])
    monkeypatch.setattr(tradeoff, "concept_prompts", lambda: PROMPTS)
    monkeypatch.setattr(tradeoff, "PERFUSION_STEPS", 2)
    monkeypatch.setattr(tradeoff, "EARLY", 1)
    monkeypatch.setattr(tradeoff, "PERFUSION_LENGTHS", (1, 2))
    monkeypatch.setattr(tradeoff, "BETAS", (0.65,))
    monkeypatch.setattr(tradeoff, "FEW_BETAS", (0.65,))
    monkeypatch.setattr(tradeoff, "LENGTHS", {"textual_inversion": (1, 2)})
    cheap = ("ends", "perfusion", "textual_inversion", "one_room", "lengths")
    points = {group: tradeoff.POINTS[group] for group in cheap}
    monkeypatch.setattr(tradeoff, "POINTS", points)


@pytest.mark.slow
def test_the_tradeoff_is_measured_part_by_part_and_gathered(small, base, tmp_path):
    options = ["tradeoff", "--seeds", "1", "--steps", "1", "--out", str(tmp_path)]
    evaluate.main([*options, "--groups", "ends", "--concepts", "dotty-teddy"])
    assert load_results(tmp_path / "tradeoff.json") == {}  # a toy is missing
    (tmp_path / "star-rocket-ends.json").touch()  # what is there is not done again
    written = (tmp_path / "dotty-teddy-ends.json").read_text()
    (tmp_path / "star-rocket-ends.json").write_text(written)
    evaluate.main(options)

    found = load_results(tmp_path / "tradeoff.json")
    assert list(found) == [
        "class prior", "oracle", "perfusion local 0.65", "perfusion global 0.65",
        "perfusion trained 0.65", "textual_inversion 1", "textual_inversion 2",
        "one room, perfusion local 0.65", "one room, perfusion trained 0.65",
        "perfusion, 1 steps", "perfusion, 2 steps",
    ]  # fmt: skip
    for point, scores in found.items():
        assert [len(v) for v in scores["instance"]] == [2, 2], point
        assert [len(v) for v in scores["prompt"]] == [1, 1], point  # one asks nothing
        looked = point in tradeoff.LOOKED_INTO
        assert ("leaked" in scores) == looked
        if looked:
            assert all(0 < share < 1 for v in scores["leaked"] for share in v.tolist())
    last, whole = found["perfusion, 2 steps"], found["perfusion local 0.65"]
    pairs_of = zip(last["instance"], whole["instance"], strict=True)
    assert all(one.equal(other) for one, other in pairs_of)
    assert place_of(found, "oracle")[0] > place_of(found, "class prior")[0]
    assert found["class prior"]["instance"][0].equal(
        found["class prior"]["instance"][1]
    )
    saved = sorted(path.name for path in tmp_path.glob("star-rocket*.safetensors"))
    assert [name.removeprefix("star-rocket-") for name in saved] == [
        "perfusion-local-1.safetensors",
        "perfusion-local.safetensors",
        "perfusion-trained-1.safetensors",
        "perfusion-trained.safetensors",
        "textual_inversion.safetensors",
    ]


def test_pairs_are_of_different_colours_and_use_every_toy():
    chosen = pairs.pairs_of(load_judges())
    assert len(chosen) == pairs.PAIRS
    names = [frozenset(concept.name for concept in pair) for pair in chosen]
    assert len(set(names)) == pairs.PAIRS
    assert frozenset.union(*names) == set(prompts.toys())
    judges = load_judges()
    for one, other in chosen:
        assert pairs.color_of(judges, one) != pairs.color_of(judges, other)
        assert one.class_word != other.class_word


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (("teddy", "pink", "rocket", "blue"), (True, True, False)),
        (("rocket", "blue", "teddy", "pink"), (True, True, False)),  # either side
        (("teddy", "blue", "rocket", "pink"), (True, False, True)),
        (("teddy", "blue", "rocket", "blue"), (True, False, True)),
        (("teddy", "green", "rocket", "blue"), (True, False, False)),
        (("teddy", "pink", "none", "pink"), (False, False, False)),
        (("teddy", "blue", "mug", "pink"), (False, False, False)),
    ],
)
def test_what_the_reader_sees_is_counted(monkeypatch, seen, wanted):
    row = torch.zeros(1, len(ATTRIBUTES), dtype=torch.long)
    names = ("class", "color", "second class", "second color")
    for name, value in zip(names, seen, strict=True):
        row[0, list(ATTRIBUTES).index(name)] = ATTRIBUTES[name].index(value)
    monkeypatch.setattr(pairs, "read_attributes", lambda *_: row)
    colours = {"dotty-teddy": "pink", "star-rocket": "blue"}
    monkeypatch.setattr(pairs, "color_of", lambda _, concept: colours[concept.name])
    pair = load_concept("dotty-teddy"), load_concept("star-rocket")
    found = pairs.read_pair(None, torch.zeros(1, 3, 8, 8), *pair)
    assert tuple(values[0] for values in found.values()) == wanted


@pytest.mark.slow
def test_pairs_are_drawn_in_every_way(small, base, tmp_path, monkeypatch):
    for name in pairs.toys():
        concept = load_concept(name)
        word = concept.placeholder_token
        method = Perfusion(base, concept.class_word, word)
        method.save(tmp_path / f"{name}-{pairs.FILES['perfusion']}.safetensors")
    rows = ("class words", "color words", "perfusion exact", "perfusion rome")
    monkeypatch.setattr(pairs, "ROWS", rows)
    out = tmp_path / "pairs.json"
    options = ["--tradeoff", str(tmp_path), "--out", str(out), "--seeds", "1"]
    evaluate.main(["pairs", *options, "--steps", "1"])
    table = json.loads(out.read_text())
    assert tuple(table) == rows
    for (found,) in table.values():
        assert found["pair"] == ["dotty-teddy", "star-rocket"]
        told = ("both", "right", "swapped", "own", "other")
        assert [len(found[name]) for name in told] == [4] * 5


def test_a_side_is_likest_to_the_concept_that_is_there():
    judges = load_judges()
    left, right = load_concept("dotty-teddy"), load_concept("patch-dog")
    one, other = ((c.pixels(64)[-1:] + 1) / 2 for c in (left, right))
    small = [F.interpolate(p, (40, 40), mode="area") for p in (one, other)]
    picture = torch.full((1, 3, 64, 64), 0.8)
    picture[..., -40:, :32] = small[0][..., 4:36]
    picture[..., -40:, 32:] = small[1][..., 4:36]
    own, swapped = pairs.side_similarity(judges, picture, left, right)
    assert own > swapped + 0.2
    again = pairs.side_similarity(judges, picture, right, left)
    assert torch.equal(torch.stack(again), torch.stack((swapped, own)))
