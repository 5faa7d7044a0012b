"""Pretraining: the tokenizer, resuming after any interruption, two processes."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from perso_lite.commands import pretrain as command
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError
from perso_lite.files import DATA_FOLDER
from perso_lite.methods.perfusion import covariance
from perso_lite.methods.perfusion.covariance import covariance_of
from perso_lite.methods.perfusion.perfusion import state_in_sentences
from perso_lite.methods.perfusion.rank_one import similarities
from perso_lite.pretrain.autoencoder import TrainableAutoencoder, build_autoencoder
from perso_lite.pretrain.checkpoint_parts import (
    first_weights,
    load_autoencoder,
    load_text_encoder,
    tokenizer_of,
)
from perso_lite.pretrain.clip import contrastive_loss
from perso_lite.pretrain.loop import Stage, train
from perso_lite.pretrain.pictures import painted_pictures, scene_of
from perso_lite.pretrain.settings import Budget, learning_rate_at
from perso_lite.pretrain.stages import export_base
from perso_lite.pretrain.tokenizer import (
    CONTEXT_LENGTH,
    build_tokenizer,
    save_tokenizer,
)
from perso_lite.pretrain.unet import build_unet, denoising_loss, picture_weights
from perso_lite.world.captions import vocabulary
from perso_lite.world.render import render


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_every_word_is_one_token_and_strange_words_fall_apart(tokenizer):
    for word in vocabulary():
        assert len(tokenizer(word).input_ids) == 3, word
    assert len(tokenizer("xylophone").input_ids) > 4
    assert tokenizer.model_max_length == CONTEXT_LENGTH


def test_saved_tokenizer_reads_the_same_from_either_form(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    text = "a close-up photo of a red cat, xylophone"
    expected = tokenizer(text).input_ids
    assert CLIPTokenizer.from_pretrained(tmp_path)(text).input_ids == expected
    (tmp_path / "tokenizer.json").unlink()
    assert CLIPTokenizer.from_pretrained(tmp_path)(text).input_ids == expected


def toy_stage(steps, fail_at=None):
    """A stage that fits one matrix to noisy targets drawn from the step."""
    torch.manual_seed(0)
    model = nn.Linear(4, 4)

    def loss(modules, step):
        if step == fail_at:
            raise KeyboardInterrupt
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 4, generator=generator)
        return (modules["model"](x) - x.flip(1)).pow(2).mean()

    return Stage(
        "toy", {"model": model}, loss, Budget(steps), {"model": 1e-2}, average=0.9
    ), model


def test_resumed_training_equals_uninterrupted_training(tmp_path):
    accelerator = Accelerator(cpu=True)
    whole, expected = toy_stage(20)
    (tmp_path / "a").mkdir()
    train(whole, tmp_path / "a", accelerator)
    (tmp_path / "b").mkdir()
    broken, _ = toy_stage(20, fail_at=7)
    with pytest.raises(KeyboardInterrupt):
        train(broken, tmp_path / "b", accelerator)
    resumed, result = toy_stage(20)
    train(resumed, tmp_path / "b", accelerator)
    assert torch.equal(result.weight, expected.weight)


KILLED = f"""
import sys; sys.path[:0] = {[str(p) for p in Path(__file__).parents[:2]]}
from pathlib import Path
from accelerate import Accelerator
from test_pretrain import toy_stage
from perso_lite.pretrain.loop import train
stage, _ = toy_stage(100000)
train(stage, Path(sys.argv[1]), Accelerator(cpu=True), save_minutes=0)
"""


@pytest.mark.slow
def test_killed_training_goes_on_from_its_checkpoint(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    checkpoint = tmp_path / "toy.pt"
    for _ in range(600):
        time.sleep(0.1)
        if checkpoint.exists():
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = torch.load(checkpoint, weights_only=True)["step"]
    stage, _ = toy_stage(saved + 5)
    seen = []
    inner = stage.loss
    stage.loss = lambda modules, step: (seen.append(step), inner(modules, step))[1]
    train(stage, tmp_path, Accelerator(cpu=True))
    assert seen == list(range(saved, saved + 5))


def test_a_checkpoint_of_other_modules_is_refused(tmp_path):
    accelerator = Accelerator(cpu=True)
    stage, _ = toy_stage(2)
    train(stage, tmp_path, accelerator)
    more, _ = toy_stage(3)
    more.modules["other"], more.learning_rates["other"] = nn.Linear(2, 3), 1e-2
    with pytest.raises(PersoError, match="model learned, but here model and other"):
        train(more, tmp_path, accelerator)


def test_learning_rate_rises_stays_and_falls():
    rates = [learning_rate_at(step, step / 100, 10, 0.2) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[10:80]) == {1.0}
    assert rates[-1] == pytest.approx(0.05)
    assert rates[80:] == sorted(rates[80:], reverse=True)


def test_painted_pictures_are_kept_and_match_their_scenes(tmp_path):
    first = np.array(painted_pictures(tmp_path, 8, 32))
    files = sorted(tmp_path.iterdir())
    stamps = [f.stat().st_mtime_ns for f in files]
    again = np.array(painted_pictures(tmp_path, 8, 32))
    assert np.array_equal(first, again)
    assert [f.stat().st_mtime_ns for f in files] == stamps
    expected, _ = render([scene_of(0, i) for i in range(8)], 32)
    assert np.abs(first / 255 - expected.clamp(0, 1).numpy()).max() < 0.01


def test_wrong_captions_raise_the_contrastive_loss():
    image = torch.eye(4)
    scale = torch.tensor(10.0)
    easy = contrastive_loss(image, image, -image, scale)
    hard = contrastive_loss(image, image, image, scale)
    assert hard - easy == pytest.approx(np.log(2) / 2, abs=1e-3)


def test_unet_has_the_sixteen_cross_attention_layers_of_sd_1():
    unet = build_unet()
    names = [n for n in unet.attn_processors if ".attn2." in n]
    sides = [n.split(".")[0] for n in names]
    assert (sides.count("down_blocks"), sides.count("up_blocks")) == (6, 9)
    assert len(names) == 16


@pytest.mark.slow
def test_tokenizers_are_all_alike_and_kept_with_the_weights(tmp_path):
    program = (
        "from perso_lite.pretrain.tokenizer import build_tokenizer as b;"
        "print(sorted(b().get_vocab().items()))"
    )
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == str(sorted(build_tokenizer().get_vocab().items()))
    shipped = str(DATA_FOLDER / "base")
    options = argparse.Namespace(folder=tmp_path, start_from=shipped)
    taken = tokenizer_of(options).get_vocab()
    assert taken == CLIPTokenizer.from_pretrained(shipped + "/tokenizer").get_vocab()
    options.start_from = None
    assert tokenizer_of(options).get_vocab() == taken
    options.folder = tmp_path / "new"
    assert tokenizer_of(options).get_vocab() == build_tokenizer().get_vocab()


def test_a_tokenizer_of_another_base_is_refused(tmp_path, tiny_folder):
    options = argparse.Namespace(folder=tmp_path, start_from=str(tiny_folder))
    tokenizer_of(options)
    options.start_from = str(DATA_FOLDER / "base")
    with pytest.raises(PersoError, match=r"Take another --folder"):
        tokenizer_of(options)


def test_parts_that_no_stage_here_has_trained_are_shipped_or_missed(tmp_path):
    shipped = DATA_FOLDER / "base"
    options = argparse.Namespace(folder=tmp_path, size=64, start_from=None)
    for name, load in (
        ("autoencoder", lambda: load_autoencoder(options)),
        ("clip", lambda: load_text_encoder(options, build_tokenizer())),
        ("unet", lambda: export_base(options)),
    ):
        with pytest.raises(PersoError, match=f"no .*{name}.pt"):
            load()
    options.start_from = str(shipped)
    weights = load_file(shipped / "vae/diffusion_pytorch_model.safetensors")
    taken = load_autoencoder(options)
    for name, weight in taken.state_dict().items():
        assert torch.equal(weight, weights[name].float()), name
    assert not any(parameter.requires_grad for parameter in taken.parameters())
    own = TrainableAutoencoder(build_autoencoder(64))
    content = {"modules": {"autoencoder": own.state_dict()}}
    torch.save(content, tmp_path / "autoencoder.pt")
    learnt = load_autoencoder(options)
    assert torch.equal(learnt.quant_conv.weight, own.autoencoder.quant_conv.weight)


def test_training_can_start_from_a_finished_base():
    options = argparse.Namespace(start_from=str(DATA_FOLDER / "base"))
    unet = first_weights(options, UNet2DConditionModel, "unet", build_unet)
    shipped = load_file(DATA_FOLDER / "base/unet/diffusion_pytorch_model.safetensors")
    assert unet.dtype == torch.float32
    for name, weight in unet.state_dict().items():
        assert torch.equal(weight, shipped[name].float()), name
    options.start_from = None
    fresh = first_weights(options, UNet2DConditionModel, "unet", build_unet)
    assert not torch.equal(fresh.conv_in.weight, unet.conv_in.weight)


def test_what_is_rare_is_drawn_twice_as_often(monkeypatch, tokenizer):
    weights = picture_weights(40)
    for index, weight in enumerate(weights):
        scene = scene_of(0, index)
        thing = scene.things[0]
        plain = len(scene.things) == 1 and not (thing.accessory or thing.pattern)
        assert weight == (1 if plain else 2)

    class Nothing(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(()))

        def forward(self, noisy, timesteps, states):
            return SimpleNamespace(sample=noisy * self.scale)

    drawn = []

    def note(seed, rows, rng):
        drawn.extend(rows)
        return ["a cat"] * len(rows)

    monkeypatch.setattr("perso_lite.pretrain.unet.captions_of", note)
    small = {"hidden_size": 12, "intermediate_size": 16, "num_attention_heads": 3}
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), num_hidden_layers=1, pad_token_id=0, **small
    )
    encoder = CLIPTextModel(config)
    loss = denoising_loss(torch.zeros(40, 4, 2, 2), encoder, tokenizer, 1.0, 25, 0)
    monkeypatch.setattr("perso_lite.pretrain.unet.scene_of", None)  # not in every step
    for step in range(100):
        loss({"unet": Nothing()}, step)
    share = sum(weights[row] == 2 for row in drawn) / len(drawn)
    expected = 2 * weights.count(2) / sum(weights)
    assert share == pytest.approx(expected, abs=0.04)  # four standard deviations


def pretrain(*arguments, processes=1):
    """Run `python -m perso_lite pretrain` on one or two processes."""
    several = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [
            *(sys.executable, "-m", *(several if processes > 1 else ())),
            *("perso_lite", "pretrain", *map(str, arguments)),
        ],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_only_stages_with_words_leave_a_tokenizer(tmp_path):
    pretrain("--folder", tmp_path / "work", "--stages", "prompts",
             "--output", tmp_path / "data" / "base")  # fmt: skip
    assert (tmp_path / "data" / "prompts" / "base.json").exists()
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.slow
def test_going_on_from_a_base_teaches_the_unet_alone(tmp_path):
    shipped, output = DATA_FOLDER / "base", tmp_path / "data" / "base"
    pretrain("--folder", tmp_path, "--start-from", shipped, "--output", output,
             "--pictures", 12, "--unet-batch", 3, "--unet-steps", 2,
             "--stages", "unet", "export")  # fmt: skip
    saved = torch.load(tmp_path / "unet.pt", weights_only=True)
    assert set(saved["modules"]) == {"unet"}
    for part, file in (
        ("text_encoder", "model"),
        ("vae", "diffusion_pytorch_model"),
        ("unet", "diffusion_pytorch_model"),
    ):
        name = f"{part}/{file}.safetensors"
        before, after = load_file(shipped / name), load_file(output / name)
        assert before.keys() == after.keys()
        same = all(torch.equal(before[key], after[key]) for key in before)
        assert same == (part != "unet"), part
    StableDiffusionPipeline.from_pretrained(output)("a red car", num_inference_steps=1)


@pytest.mark.slow
def test_whole_pretraining_runs_on_two_processes_and_exports_a_pipeline(tmp_path):
    work = tmp_path / "work"
    pretrain(
        *("--folder", work),
        *("--pictures", 32, "--autoencoder-batch", 2, "--autoencoder-steps", 2),
        *("--size", 64, "--decoder-batch", 2, "--decoder-steps", 2),
        *("--reader-batch", 4, "--clip-batch", 4, "--clip-steps", 2),
        *("--unet-batch", 2, "--unet-steps", 2, "--reader-steps", 1),
        *("--stages", "pictures", "autoencoder", "clip", "unet", "decoder"),
        *("export",),
        *("concepts", "prompts", "reader", "clip-judge"),
        *("--output", tmp_path / "data" / "base"),
        processes=2,
    )
    shares = sorted(path.name for path in (work / "cache").glob("latents-*"))
    assert [name.split("-")[3] for name in shares] == ["0", "1"]
    before = torch.load(work / "clip.pt", weights_only=True)["modules"]["clip"]
    learnt = torch.load(work / "unet.pt", weights_only=True)["modules"]["text_encoder"]
    name = "embeddings.token_embedding.weight"
    (after,) = (weight for key, weight in learnt.items() if key.endswith(name))
    assert not torch.equal(after, before[f"text_model.{name}"])
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "data" / "base")
    assert pipeline.unet.dtype == torch.float32
    image = pipeline("a red car", num_inference_steps=1).images[0]
    assert image.size == (64, 64)
    assert (tmp_path / "data" / "concepts" / "dotty-teddy" / "concept.json").exists()
    judges = tmp_path / "data" / "judges"
    noted = json.loads((judges / "accuracy.json").read_text())
    assert set(noted) == {"attribute reader", "clip"}
    assert "right after the autoencoder" in noted["attribute reader"]["class"]
    assert (judges / "attribute_reader.safetensors").exists()


def test_a_base_comes_with_the_covariance_of_its_texts(
    tmp_path, tiny, tiny_folder, monkeypatch
):
    monkeypatch.setattr(command, "COVARIANCE_CAPTIONS", 100)
    monkeypatch.setattr(covariance, "COVARIANCE_FOLDER", tmp_path / "covariance")
    command.write_covariance(tiny_folder)
    kept = covariance_of(tiny)
    assert kept.captions == 100
    command.write_covariance(tiny_folder)
    assert torch.equal(covariance_of(tiny).inverse, kept.inverse)
    stages = command.STAGES
    assert stages.index("export") < stages.index("covariance") < stages.index("measure")


def test_the_shipped_covariance_is_that_of_the_shipped_base(base):
    kept = covariance_of(base)
    assert kept.captions == command.COVARIANCE_CAPTIONS
    eigenvalues = torch.linalg.eigvalsh(kept.inverse.double())
    assert eigenvalues[0] > 0
    # the shares of a few words, as measured when it was made
    word = state_in_sentences(base, "teddy")[None]
    states = encode_prompts(base, ["a photo of a teddy", "a photo of a dog"])[:, 5]
    teddy, dog = similarities(states, word, kept.inverse)[:, 0].tolist()
    assert teddy > 0.85
    assert dog < 0.6
