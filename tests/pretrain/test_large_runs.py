"""What a large run needs: time budgets, pictures in bulk, a decoder, judges."""

import argparse
import json
import random
import time

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import StableDiffusionPipeline
from torch import nn

from perso_lite.commands import pretrain as command
from perso_lite.errors import PersoError
from perso_lite.evaluation.judges import (
    UNKNOWN,
    AttributeReader,
    FaceReader,
    InstanceEncoder,
    save_judge,
)
from perso_lite.pretrain import judge_measuring
from perso_lite.pretrain.autoencoder import TrainableAutoencoder, build_autoencoder
from perso_lite.pretrain.bulk import (
    Painter,
    bulk_pictures,
    lay_out,
    parts_of,
    pictures_to_encode,
)
from perso_lite.pretrain.checkpoint_parts import load_autoencoder, weights_fingerprint
from perso_lite.pretrain.clip import build_clip
from perso_lite.pretrain.judge_training import (
    encoder_loss,
    half_of_them,
    mean_where_known,
    reader_loss,
)
from perso_lite.pretrain.loop import Stage, train
from perso_lite.pretrain.pictures import painted_pictures, scene_by_kind, scene_of
from perso_lite.pretrain.settings import BUDGETS, Budget, budget_of, settle
from perso_lite.pretrain.stages import train_decoder
from perso_lite.pretrain.tokenizer import build_tokenizer
from perso_lite.world.render import render


def slow_stage(seconds, fail_at=None):
    """A stage whose steps take a hundredth of a second."""
    model, seen = nn.Linear(2, 2), []

    def loss(modules, step):
        if step == fail_at:
            raise KeyboardInterrupt
        seen.append(step)
        time.sleep(0.01)
        return modules["model"](torch.ones(1, 2)).pow(2).sum()

    budget = Budget(seconds=seconds)
    return Stage("slow", {"model": model}, loss, budget, {"model": 1e-2}), seen


def test_a_stage_ends_when_its_seconds_are_over(tmp_path):
    stage, seen = slow_stage(0.3)
    train(stage, tmp_path, Accelerator(cpu=True))
    assert 2 <= len(seen) <= 30
    assert stage.budget.progress >= 1 and stage.budget.step == len(seen)
    again, more = slow_stage(0.3)
    train(again, tmp_path, Accelerator(cpu=True))
    assert more == []


def test_seconds_of_an_interrupted_run_count(tmp_path):
    broken, before = slow_stage(0.4, fail_at=5)
    with pytest.raises(KeyboardInterrupt):
        train(broken, tmp_path, Accelerator(cpu=True))
    spent = torch.load(tmp_path / "slow.pt", weights_only=True)["spent"]
    assert 0.05 <= spent < 0.4
    resumed, after = slow_stage(0.4)
    train(resumed, tmp_path, Accelerator(cpu=True))
    assert after[0] == len(before) == 5
    assert resumed.budget.spent - spent <= 0.4 + 0.3  # one late step at most


def test_a_budget_has_either_steps_or_seconds():
    assert Budget(0).progress == 1
    assert Budget(seconds=10, spent=2.5).progress == 0.25
    for both in ((1, 1.0), (None, None)):
        with pytest.raises(ValueError, match="either"):
            Budget(*both)


def options_of(*arguments, device="cpu"):
    options = command.parser().parse_args([str(a) for a in arguments])
    settle(options, device)
    options.device, options.cache = device, options.folder / "cache"
    return options


def test_defaults_go_by_device_and_the_command_line_goes_first():
    cpu, gpu = options_of(), options_of(device="cuda")
    assert budget_of(cpu, "unet").steps == 20_000
    assert budget_of(gpu, "unet").seconds == 850
    assert (cpu.unet_batch, gpu.unet_batch) == (32, 2048)
    chosen = options_of("--unet-steps", 7, "--reader-seconds", 5, "--pictures", 64,
                        device="cuda")  # fmt: skip
    assert budget_of(chosen, "unet").steps == 7
    assert budget_of(chosen, "reader").seconds == 5
    assert (chosen.scenes, chosen.toys, chosen.faces) == (64, 64, 64)
    more = options_of("--pictures", 64, "--scenes", 128)
    assert (more.pictures, more.scenes) == (64, 128)


def telling_numbers():
    """Numbers of scenes with 1, 2 and 3 things, every style and augmentation."""
    found = {}
    for number in range(3000):
        scene = scene_of(0, number)
        for key in (len(scene.things), scene.style, scene.augmentation):
            found.setdefault(key, number)
    return sorted({*found.values(), *range(14)})


def test_pictures_in_bulk_equal_rendered_ones():
    numbers = telling_numbers()
    scenes = [scene_of(0, n) for n in numbers]
    assert {len(s.things) for s in scenes} == {1, 2, 3} and len(scenes) >= 20
    pictures, masks = Painter(32, "cpu", batch=5).paint(lay_out(("world", 0, numbers)))
    expected, owned = render(scenes, 32)
    assert (pictures - expected.clamp(0, 1)).abs().max() < 2e-6
    assert (masks - owned[:, :1]).abs().max() < 2e-6


@pytest.mark.slow
def test_bulk_pictures_come_in_order_with_masks():
    parts = [range(3), range(3, 5)]
    painted = list(bulk_pictures("faces", 0, parts, 32, "cpu"))
    assert [part for part, _ in painted] == parts
    scenes = [scene_by_kind("faces", 0, i) for i in range(5)]
    expected, owned = render(scenes, 32)
    expected = torch.cat([expected.clamp(0, 1), owned[:, :1]], dim=1)
    pictures = torch.cat([part for _, part in painted])
    assert pictures.shape == (5, 4, 32, 32) and pictures.dtype == torch.uint8
    assert (pictures / 255 - expected).abs().max() < 0.01
    assert parts_of(range(1, 1200, 2))[1] == range(1025, 1201, 2)


@pytest.mark.slow
def test_scenes_beyond_the_kept_pictures_are_painted_to_be_encoded(tmp_path):
    kept = painted_pictures(tmp_path, 4, 32)
    options = argparse.Namespace(size=32, device="cpu")
    parts = list(pictures_to_encode(options, kept, range(1, 8, 2)))
    expected, _ = render([scene_of(0, i) for i in (1, 3, 5, 7)], 32)
    assert (torch.cat(parts) / 255 - expected.clamp(0, 1)).abs().max() < 0.01


def keep_autoencoder(folder):
    """The checkpoint of an untrained autoencoder for 64 px."""
    torch.manual_seed(0)
    own = TrainableAutoencoder(build_autoencoder(64))
    torch.save(
        {"modules": {"autoencoder": own.state_dict()}}, folder / "autoencoder.pt"
    )


def test_only_the_decoder_learns_and_belongs_to_its_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr("perso_lite.pretrain.stages.FRESH_PICTURES", 4)
    options = options_of("--folder", tmp_path, "--size", 64, "--pictures", 8,
                         "--decoder-steps", 2, "--decoder-batch", 2)  # fmt: skip
    keep_autoencoder(tmp_path)
    before = load_autoencoder(options)
    train_decoder(options, Accelerator(cpu=True))
    after, bare = load_autoencoder(options), load_autoencoder(options, decoder=False)
    for part in ("encoder", "quant_conv"):
        hashes = [weights_fingerprint(getattr(m, part)) for m in (before, after)]
        assert hashes[0] == hashes[1], part
    for part in ("decoder", "post_quant_conv"):
        hashes = [weights_fingerprint(getattr(m, part)) for m in (before, after, bare)]
        assert hashes[0] == hashes[2] != hashes[1], part
    assert not any(p.requires_grad for p in after.parameters())
    saved = torch.load(tmp_path / "decoder.pt", weights_only=True)
    saved["facts"]["encoder"] += 1
    torch.save(saved, tmp_path / "decoder.pt")
    with pytest.raises(PersoError, match="another encoder"):
        load_autoencoder(options)


def test_half_of_a_judges_pictures_went_through_the_autoencoder():
    picture, rng = torch.zeros(10, 3, 4, 4), random.Random(0)
    seen = half_of_them(picture, lambda p: p + 1, rng)
    assert sorted(seen.mean((1, 2, 3)).tolist()) == [0.0] * 5 + [1.0] * 5
    assert picture.sum() == 0
    assert half_of_them(picture, None, rng) is picture
    shown = []
    again = lambda p: (shown.append(len(p)), p)[1]  # noqa: E731
    pictures = np.zeros((16, 3, 64, 64), dtype=np.uint8)
    reader_loss(pictures, 4, 0, again)({"reader": AttributeReader()}, 0)
    subjects = np.zeros((32, 4, 64, 64), dtype=np.uint8)
    loss = encoder_loss(subjects, 8, 0, "faces", 1, None, again)

    def model(picture, theta):
        vectors = nn.functional.normalize(picture.flatten(1)[:, :4] + 1, dim=-1)
        return vectors, picture[:, 0, ::4, ::4], torch.zeros(())

    wrapped = nn.Linear(1, 1)
    wrapped.forward = model
    loss({"faces": wrapped}, 0)
    assert shown == [2, 4]


def test_finished_judges_are_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(judge_measuring, "JUDGED_PICTURES", 8)
    few = {"n": 1}
    monkeypatch.setattr(judge_measuring, "instance_accuracy", lambda *_: few)
    monkeypatch.setattr(judge_measuring, "face_accuracy", lambda *_: few)
    monkeypatch.setattr("perso_lite.pretrain.stages.FRESH_PICTURES", 4)
    data = tmp_path / "data"
    for kind in (AttributeReader, InstanceEncoder, FaceReader):
        save_judge(kind(), data / "judges")
    tokenizer = build_tokenizer()
    build_clip(tokenizer, 64).save_pretrained(data / "judges" / "clip")
    tokenizer.save_pretrained(data / "base" / "tokenizer")
    build_autoencoder(64).save_pretrained(data / "base" / "vae")
    options = options_of("--size", 64, "--output", data / "base",
                         "--folder", tmp_path / "work")  # fmt: skip
    options.folder.mkdir()
    judge_measuring.measure_judges(options)
    noted = json.loads((data / "judges" / "accuracy.json").read_text())
    assert set(noted) == {"attribute reader", "instances", "faces", "clip"}
    place = noted["attribute reader"]["place"]
    assert set(place) == {"n", "right", "right after the autoencoder"}
    assert place["n"] == 8


def test_unknown_labels_give_no_loss_but_a_gradient():
    scores = torch.randn(4, 3, requires_grad=True)
    target = torch.tensor([0, UNKNOWN, 2, UNKNOWN])
    expected = nn.functional.cross_entropy(scores[[0, 2]], target[[0, 2]])
    assert torch.isclose(mean_where_known(scores, target), expected)
    nothing = mean_where_known(scores, torch.full((4,), UNKNOWN))
    nothing.backward()
    assert nothing == 0 and torch.equal(scores.grad, torch.zeros(4, 3))


@pytest.mark.slow
def test_every_stage_runs_for_a_moment(tmp_path, monkeypatch):
    few, work = {"n": 1}, tmp_path / "work"
    for name in ("instance_accuracy", "face_accuracy"):
        monkeypatch.setattr(f"perso_lite.pretrain.judge_stages.{name}", lambda *_: few)
    monkeypatch.setattr("perso_lite.pretrain.stages.FRESH_PICTURES", 8)
    measured = []
    monkeypatch.setattr(command, "measure", lambda *_: measured.append(True))
    for kept in ("write_covariance", "write_name_basis", "write_face_encoder"):
        monkeypatch.setattr(command, kept, lambda *_: None)  # in the shipped data
    sizes = [f"--{n}-batch=4" for n in ("autoencoder", "decoder", "clip", "unet")]
    sizes += ["--reader-batch=4", "--encoder-batch=8", "--pictures=64", "--scenes=66"]
    steps = [f"--{name.replace('_', '-')}-steps=2" for name in BUDGETS]
    AcceleratorState._reset_state(True)
    try:
        command.main([f"--folder={work}", f"--output={tmp_path / 'data' / 'base'}",
                      *sizes, *steps])  # fmt: skip
    finally:
        AcceleratorState._reset_state(True)
    assert measured
    shared = {"encoder", "face_encoder"}  # the first is of two stages
    stages = [name for name in BUDGETS if name not in shared]
    for stage in (*stages, "instances", "faces", "clip-judge"):
        assert torch.load(work / f"{stage}.pt", weights_only=True)["step"] == 2, stage
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "data" / "base")
    image = pipeline("a red car", num_inference_steps=1).images[0]
    assert image.size == (128, 128)
    drawn = load_autoencoder(options_of("--folder", work)).decoder
    assert weights_fingerprint(pipeline.vae.decoder) == weights_fingerprint(drawn)
    noted = json.loads((tmp_path / "data" / "judges" / "accuracy.json").read_text())
    assert "right after the autoencoder" in noted["attribute reader"]["class"]
    assert {"instances", "faces", "clip"} < set(noted)
