"""Judges: what they are asked, and how sure their answers are."""

import random

import pytest
import torch

from perso_lite.pretrain.evaluate import evaluation_scenes, judged
from perso_lite.pretrain.judges import (
    ATTRIBUTES,
    UNKNOWN,
    AttributeReader,
    bootstrap_interval,
    load_reader,
    readable,
    save_reader,
    truth_of,
    worn_out,
)
from perso_lite.pretrain.pictures import scene_of
from perso_lite.world.captions import caption, parse
from perso_lite.world.scenes import held_out


def test_truth_is_what_the_caption_says():
    for index in readable(3, 300):
        scene = scene_of(3, index)
        truth = dict(zip(ATTRIBUTES, truth_of(scene), strict=True))
        said = parse(caption(scene, random.Random(index)))
        class_word, color, pattern, accessory, _, _ = said.things[0]
        if not scene.things[0].family:
            assert ATTRIBUTES["class"][truth["class"]] == class_word
        assert (truth["color"] == UNKNOWN) == (color is None)
        if color:
            assert ATTRIBUTES["color"][truth["color"]] == color
        assert ATTRIBUTES["accessory"][truth["accessory"]] == (accessory or "none")
        assert ATTRIBUTES["place"][truth["place"]] == (said.place or "studio")
        assert ATTRIBUTES["style"][truth["style"]] == (said.style or "none")
        if class_word != "person":
            assert ATTRIBUTES["pattern"][truth["pattern"]] == (pattern or "plain")


def test_saved_reader_reads_the_same(tmp_path):
    torch.manual_seed(0)
    reader = AttributeReader().eval()
    reader.load_state_dict(
        {
            k: v.half().float() if v.is_floating_point() else v
            for k, v in reader.state_dict().items()
        }
    )
    pictures = torch.rand(3, 3, 64, 64) * 2 - 1
    save_reader(reader, tmp_path / "reader.safetensors")
    again = load_reader(tmp_path / "reader.safetensors")
    assert torch.equal(again.read(pictures), reader.read(pictures))
    assert reader.read(pictures).shape == (3, len(ATTRIBUTES))


def test_wearing_out_blurs_but_keeps_the_picture():
    picture = torch.rand(2, 3, 64, 64)
    worn = worn_out(picture, torch.Generator().manual_seed(1))
    assert worn.shape == picture.shape
    assert not torch.equal(worn, picture)
    assert (worn - picture).abs().mean() < 0.3


def test_evaluation_scenes_are_fixed_and_hold_new_combinations():
    scenes = evaluation_scenes(200)
    assert scenes == evaluation_scenes(200)
    assert all(len(s.things) == 1 and s.things[0].color for s in scenes)
    new = [
        held_out(s.things[0].class_word, s.place, s.things[0].accessory) for s in scenes
    ]
    assert 5 < sum(new) < 40


def test_the_table_counts_only_what_has_a_name():
    class Always(AttributeReader):
        def read(self, pictures):
            return torch.zeros(len(pictures), len(ATTRIBUTES), dtype=torch.long)

    scenes = evaluation_scenes(60)
    pictures = torch.zeros(60, 3, 64, 64)
    table = judged(Always(), scenes, pictures, pictures)
    teddies = sum(s.things[0].class_word == "teddy" for s in scenes) / 60
    assert table["class"]["drawn"][0] == pytest.approx(teddies)
    assert table["class"]["n"] == 60
    assert "place (new)" in table


def test_bootstrap_interval_covers_the_mean_and_narrows():
    few = torch.tensor([0.0, 1.0]).repeat(10)
    many = few.repeat(25)
    mean, low, high = bootstrap_interval(few)
    assert low < mean == 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 20**0.5, rel=0.2)
    _, low_many, high_many = bootstrap_interval(many)
    assert high_many - low_many < (high - low) / 3
