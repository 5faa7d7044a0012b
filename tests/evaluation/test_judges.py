"""Judges: what they are asked, how they learn, and what the tables count."""

import json
import random
import shutil

import numpy as np
import pytest
import torch

from perso_lite.commands.evaluate_base import ROWS, load_entries, rows_of
from perso_lite.errors import PersoError
from perso_lite.evaluation.ground_truth import only_requested, truth_of
from perso_lite.evaluation.judges import (
    ATTRIBUTES,
    JUDGES_FOLDER,
    UNKNOWN,
    AttributeReader,
    FaceReader,
    InstanceEncoder,
    Judges,
    load_clip,
    load_judge,
    parts_of,
    save_judge,
)
from perso_lite.files import DATA_FOLDER
from perso_lite.pretrain.judge_measuring import (
    first_of_all,
    instance_accuracy,
    overlap,
    reader_accuracy,
)
from perso_lite.pretrain.judge_training import (
    TrainableEncoder,
    encoder_loss,
    two_views,
    worn_out,
)
from perso_lite.pretrain.pictures import VIEWS, painted_pictures, subject_scene
from perso_lite.pretrain.prompts import KINDS, base_prompts
from perso_lite.world.captions import parse
from perso_lite.world.scenes import held_out


@pytest.mark.parametrize("kind", [AttributeReader, InstanceEncoder, FaceReader])
def test_a_saved_judge_judges_the_same(kind, tmp_path):
    torch.manual_seed(0)
    judge = kind().eval()
    halved = {
        k: v.half().float() if v.is_floating_point() else v
        for k, v in judge.state_dict().items()
    }
    judge.load_state_dict(halved)
    pictures = torch.rand(3, 3, 64, 64) * 2 - 1
    save_judge(judge, tmp_path)
    again = load_judge(kind, tmp_path)
    for a, b in zip(again(pictures), judge(pictures), strict=True):
        assert torch.equal(a, b)
    assert not any(p.requires_grad for p in again.parameters())


def test_a_missing_judge_is_named_in_a_sentence(tmp_path):
    with pytest.raises(PersoError, match="attribute_reader"):
        load_judge(AttributeReader, tmp_path)


def test_a_damaged_judge_is_named_in_a_sentence(tmp_path):
    save_judge(FaceReader(), tmp_path)
    path = tmp_path / FaceReader.file
    whole = path.read_bytes()
    for content in (b"", b"no judge", whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(PersoError, match=r"face_reader\.safetensors cannot be"):
            load_judge(FaceReader, tmp_path)
    (tmp_path / InstanceEncoder.file).write_bytes(whole)  # of another kind
    with pytest.raises(PersoError, match=r"instance_encoder\.safetensors cannot be"):
        load_judge(InstanceEncoder, tmp_path)


def test_a_damaged_clip_is_named_in_a_sentence(tmp_path):
    shutil.copytree(JUDGES_FOLDER / "clip", tmp_path / "clip")
    words = DATA_FOLDER / "base" / "tokenizer"
    assert load_clip(tmp_path / "clip", words)
    weights = tmp_path / "clip" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    for folder in (tmp_path / "clip", tmp_path / "absent"):
        with pytest.raises(PersoError, match=f"{folder.name} cannot be loaded"):
            load_clip(folder, words)


def test_judges_look_at_pictures_of_any_size():
    torch.manual_seed(0)
    encoder = InstanceEncoder().eval()
    small = torch.rand(2, 3, 64, 64)
    large = torch.nn.functional.interpolate(small, scale_factor=2, mode="nearest")
    assert (encoder.encode(small) * encoder.encode(large)).sum(1).min() > 0.9
    assert encoder.find_masks(large).shape == (2, 1, 128, 128)


def test_wearing_out_blurs_but_keeps_the_picture():
    picture = torch.rand(2, 3, 64, 64)
    worn = worn_out(picture, torch.Generator().manual_seed(1))
    assert worn.shape == picture.shape
    assert not torch.equal(worn, picture)
    assert (worn - picture).abs().mean() < 0.3


def test_parts_of_a_mask_lie_where_they_should():
    weights = torch.zeros(2, 16, 16)
    weights[0, 4:12, 2:10] = 1
    parts = parts_of(weights)
    assert parts.shape == (2, 9, 16, 16)
    assert torch.allclose(parts[0].sum((1, 2)), torch.ones(9), atol=1e-4)
    assert torch.isfinite(parts).all() and parts[1].sum() < 1e-2  # nothing there
    rows = (parts[0].sum(2) * torch.arange(16.0)).sum(1).view(3, 3)
    columns = (parts[0].sum(1) * torch.arange(16.0)).sum(1).view(3, 3)
    assert (rows[0] < rows[1] - 1).all() and (rows[1] < rows[2] - 1).all()
    assert (columns[:, 0] < columns[:, 1] - 1).all()
    assert parts[0][:, :4].sum() == 0 and parts[0][:, :, 10:].sum() == 0


def test_a_subject_keeps_itself_under_all_its_words():
    for kind in ("toys", "faces"):
        things = [subject_scene(kind, 0, VIEWS * 5 + v).things[0] for v in range(VIEWS)]
        assert len({(t.instance, t.theta, t.pattern) for t in things}) == 1
        other = subject_scene(kind, 0, VIEWS * 6).things[0]
        assert other.instance != things[0].instance
    assert subject_scene("named", 0, VIEWS * 7) != subject_scene("named", 1, VIEWS * 7)


def test_two_views_show_each_subject_twice_and_sisters_of_its_class():
    pictures = np.zeros((16 * 6 * VIEWS, 1))
    first, second = two_views(pictures, random.Random(0), 4, 16, 12)
    assert (first // VIEWS == second // VIEWS).all() and (first != second).all()
    classes = [int(s) % 16 for s in first // VIEWS]
    assert len(set(classes)) == 4 and all(classes.count(c) == 3 for c in set(classes))
    assert len(set(first // VIEWS)) == 12


def test_an_encoder_learns_to_tell_sisters_apart(tmp_path):
    pictures = painted_pictures(tmp_path, 32, 64, kind="faces")
    assert pictures.shape == (32, 4, 64, 64)
    torch.manual_seed(0)
    wrapper = TrainableEncoder(FaceReader())
    thetas = torch.rand(8, 18)
    loss = encoder_loss(pictures, 16, 0, "faces", 1, thetas)
    optimizer = torch.optim.Adam(wrapper.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        losses.append(loss({"faces": wrapper}, 0))
        optimizer.zero_grad()
        losses[-1].backward()
        assert all(p.grad is not None for p in wrapper.parameters())
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_retrieval_and_overlap_count_right():
    vectors = torch.eye(4)
    assert first_of_all(vectors, vectors) == 1
    assert first_of_all(vectors, vectors[[1, 0, 2, 3]]) == 0.5
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    half = torch.zeros(1, 1, 4, 4)
    half[..., :1] = 1
    assert overlap(mask, mask) == 1
    assert overlap(half, mask) == 0.5


@pytest.mark.slow
def test_shipped_judges_are_as_good_as_they_say():
    noted = json.loads((JUDGES_FOLDER / "accuracy.json").read_text())
    reader = load_judge(AttributeReader)
    pictures = painted_pictures_of_seed(3, 256)
    for name, row in reader_accuracy(reader, pictures, 3).items():
        claim, n = noted["attribute reader"][name]["right"], row["n"]
        spread = 4 * (max(claim * (1 - claim), 0.01) / n) ** 0.5
        assert row["right"] > claim - spread, name


def painted_pictures_of_seed(seed: int, count: int) -> np.ndarray:
    """Fresh renders of the world as bytes."""
    from perso_lite.pretrain.pictures import scene_of
    from perso_lite.world.render import render

    pictures, _ = render([scene_of(seed, i) for i in range(count)])
    return (pictures.clamp(0, 1) * 255).round().byte().numpy()


@pytest.mark.slow
def test_shipped_instance_encoder_finds_a_toy_among_its_sisters():
    noted = json.loads((JUDGES_FOLDER / "accuracy.json").read_text())["instances"]
    row = instance_accuracy(load_judge(InstanceEncoder), 128, seed=5, sisters=20)
    assert row["first of 21"] >= noted["first of 101"] - 0.06
    assert row["mask overlap"] > noted["mask overlap"] - 0.05


def test_shipped_prompts_are_those_the_code_makes():
    stored = json.loads((DATA_FOLDER / "prompts" / "base.json").read_text())
    assert stored == base_prompts()
    assert len(stored) == 1000
    kinds = [entry["kind"] for entry in stored]
    assert {k: kinds.count(k) for k in KINDS} == {k: n for k, (n, _) in KINDS.items()}


def test_new_prompts_ask_for_combinations_that_pretraining_never_shows():
    for entry in base_prompts():
        said = parse(entry["prompt"])
        for class_word, _, _, accessory, *_ in said.things:
            assert class_word is not None
            never = held_out(class_word, said.place, accessory)
            assert never == (entry["kind"] == "new"), entry


def test_only_what_is_asked_for_is_judged():
    for entry in load_entries(100):
        said, truth = parse(entry["prompt"]), only_requested(truth_of(entry["scene"]))
        judged = {
            name for name, t in zip(ATTRIBUTES, truth, strict=True) if t != UNKNOWN
        }
        thing = said.things[0]
        assert ("style" in judged) == (said.style is not None)
        assert ("place" in judged) == (said.place is not None)
        if entry["kind"] in ("seen", "new"):
            assert ("accessory" in judged) == (thing[3] is not None)
            assert ("pattern" in judged) == (thing[2] is not None)


def test_the_table_is_full_for_true_answers_and_empty_for_wrong_ones():
    entries = [e for e in load_entries(120) if e["kind"] != "person"]
    truth = torch.tensor([truth_of(entry["scene"]) for entry in entries])

    class Oracle(AttributeReader):
        shift = 0

        def read(self, pictures):
            return truth + self.shift

    judges = Judges(Oracle(), None, None, None, None)
    pictures = torch.zeros(len(entries), 3, 64, 64)
    right = rows_of(judges, pictures, entries)
    assert set(right) == {row for row, _, _ in ROWS}
    assert all(values.min() == 1 for values in right.values())
    judges.reader.shift = 1
    wrong = rows_of(judges, pictures, entries)
    assert all(values.max() == 0 for values in wrong.values())
