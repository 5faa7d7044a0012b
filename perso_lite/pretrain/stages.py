"""The stages of pretraining: what each one learns from, with which settings."""

import argparse
import hashlib

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from perso_lite.pretrain.autoencoder import (
    TrainableAutoencoder,
    autoencoder_loss,
    build_autoencoder,
    decibels,
    encoded_pictures,
    scaling_factor,
)
from perso_lite.pretrain.clip import (
    build_clip,
    caption_accuracy,
    clip_loss,
    text_encoder_of,
)
from perso_lite.pretrain.export import export, pipeline_of
from perso_lite.pretrain.loop import Stage, train
from perso_lite.pretrain.pictures import painted_pictures
from perso_lite.pretrain.tokenizer import build_tokenizer
from perso_lite.pretrain.unet import (
    SHEET_PROMPTS,
    build_scheduler,
    build_unet,
    denoising_loss,
    prepare_for_cpu,
    save_sheet,
)
from perso_lite.sampling import generate

FRESH_SEED, FRESH_PICTURES = 1, 512  # never trained on


def world_pictures(options: argparse.Namespace) -> np.ndarray:
    """The pictures to learn from."""
    return painted_pictures(
        options.cache, options.pictures, options.size, device=options.device
    )


def fresh_pictures(options: argparse.Namespace) -> np.ndarray:
    """Pictures of another seed, to measure on."""
    return painted_pictures(
        options.cache, FRESH_PICTURES, options.size, FRESH_SEED, options.device
    )


def first_weights(options: argparse.Namespace, kind: type, part: str, build):
    """A part of the base to train: from `--start-from`, or new."""
    if options.start_from is None:
        return build()
    return kind.from_pretrained(options.start_from, subfolder=part).float()


def tokenizer_of(options: argparse.Namespace) -> CLIPTokenizer:
    """The tokenizer that all stages in this folder share: weights belong to its ids.

    It is that of `--start-from`, or a new one, and is kept beside the checkpoints.
    """
    kept = options.folder / "tokenizer"
    if kept.exists():
        return CLIPTokenizer.from_pretrained(kept)
    if options.start_from is None:
        tokenizer = build_tokenizer()
    else:
        tokenizer = CLIPTokenizer.from_pretrained(
            options.start_from, subfolder="tokenizer"
        )
    tokenizer.save_pretrained(kept)
    return tokenizer


def train_autoencoder(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Stage 2, printing how well fresh pictures survive."""
    pictures = world_pictures(options)
    fresh = fresh_pictures(options)
    model = first_weights(
        options, AutoencoderKL, "vae", lambda: build_autoencoder(options.size)
    ).to(memory_format=torch.channels_last)
    stage = Stage(
        "autoencoder",
        {"autoencoder": TrainableAutoencoder(model)},
        autoencoder_loss(
            pictures,
            options.batch,
            accelerator.process_index,
            options.autoencoder_steps,
        ),
        options.autoencoder_steps,
        {"autoencoder": 1e-3},
        decay=0.4,
    )
    train(stage, options.folder, accelerator)
    if accelerator.is_main_process:
        print(f"autoencoder: {decibels(model, fresh):.2f} dB on fresh pictures")


def train_clip(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Stage 3, printing how often a picture knows its caption from an altered one."""
    pictures = world_pictures(options)
    fresh = fresh_pictures(options)
    tokenizer = tokenizer_of(options)
    model = build_clip(tokenizer, options.size)
    stage = Stage(
        "clip",
        {"clip": model},
        clip_loss(pictures, tokenizer, options.clip_batch, accelerator.process_index),
        options.clip_steps,
        {"clip": 1e-3},
    )
    train(stage, options.folder, accelerator)
    if accelerator.is_main_process:
        right = caption_accuracy(model, tokenizer, fresh, FRESH_SEED)
        print(f"clip: {right:.1%} of altered captions recognised (chance 50 %)")


def load_autoencoder(options: argparse.Namespace) -> AutoencoderKL:
    """The autoencoder of stage 2, frozen."""
    model = build_autoencoder(options.size)
    saved = torch.load(options.folder / "autoencoder.pt", weights_only=True)
    wrapper = TrainableAutoencoder(model)
    wrapper.load_state_dict(saved["modules"]["autoencoder"])
    model.to(memory_format=torch.channels_last)
    return model.eval().requires_grad_(False)


def weights_fingerprint(module: torch.nn.Module) -> str:
    """A short hash of a module's weights: latents belong to one encoder."""
    digest = hashlib.sha256()
    for weight in module.parameters():
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def encoded_world(
    options: argparse.Namespace, autoencoder: AutoencoderKL, accelerator: Accelerator
) -> Tensor:
    """Latents of the painted pictures, encoded once; sets the scaling factor.

    Every process encodes its share of the pictures and reads those of the others.
    """
    count, name = accelerator.num_processes, weights_fingerprint(autoencoder.encoder)
    name = f"latents-{name}-{options.pictures}"
    paths = [
        options.cache / f"{name}-{rank}-of-{count}.safetensors" for rank in range(count)
    ]
    mine = paths[accelerator.process_index]
    if not mine.exists():
        share = world_pictures(options)[accelerator.process_index :: count]
        with accelerator.autocast():
            latents = encoded_pictures(autoencoder, share)
        save_file({"latents": latents.half()}, mine.with_suffix(".partial"))
        mine.with_suffix(".partial").replace(mine)
    accelerator.wait_for_everyone()
    shares = [load_file(path)["latents"] for path in paths]
    latents = torch.empty(options.pictures, *shares[0].shape[1:], dtype=torch.float16)
    for rank, share in enumerate(shares):
        latents[rank::count] = share
    autoencoder.register_to_config(scaling_factor=scaling_factor(latents))
    return latents


def load_text_encoder(
    options: argparse.Namespace, tokenizer: CLIPTokenizer
) -> CLIPTextModel:
    """The text encoder as the contrastive stage left it."""
    clip = build_clip(tokenizer, options.size)
    saved = torch.load(options.folder / "clip.pt", weights_only=True)
    clip.load_state_dict(saved["modules"]["clip"])
    return text_encoder_of(clip)


def unet_stage(
    options: argparse.Namespace, latents: Tensor, autoencoder: AutoencoderKL, rank: int
) -> Stage:
    """Stage 4: what learns, and the sheet that shows how far it has come."""
    tokenizer = tokenizer_of(options)
    unet = first_weights(options, UNet2DConditionModel, "unet", build_unet)
    text_encoder = first_weights(
        options,
        CLIPTextModel,
        "text_encoder",
        lambda: load_text_encoder(options, tokenizer),
    )
    if not torch.cuda.is_available():
        prepare_for_cpu(unet)

    parts = (unet, text_encoder, autoencoder, tokenizer, build_scheduler())

    def sample(step: int) -> None:
        pipeline = pipeline_of(*parts)
        pictures = generate(
            pipeline, SHEET_PROMPTS, num_inference_steps=20, output_type="pt"
        )
        save_sheet(pictures, options.folder / f"sheet-{step:07d}.png")

    return Stage(
        "unet",
        {"unet": unet, "text_encoder": text_encoder},
        denoising_loss(
            latents,
            tokenizer,
            autoencoder.config.scaling_factor,
            options.unet_batch,
            rank,
        ),
        options.unet_steps,
        {"unet": 5e-4, "text_encoder": 1e-4},
        sample=sample,
        average=0.9995,
        facts={"scaling_factor": autoencoder.config.scaling_factor},
        decay=0.15,
        warm_up=200,
    )


def train_unet(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Stage 4."""
    autoencoder = load_autoencoder(options).to(accelerator.device)
    latents = encoded_world(options, autoencoder, accelerator)
    stage = unet_stage(options, latents, autoencoder, accelerator.process_index)
    train(stage, options.folder, accelerator, sample_minutes=options.sample_minutes)


def export_base(options: argparse.Namespace) -> None:
    """Stage 5: the averaged weights of the last checkpoint, finished or not."""
    saved = torch.load(options.folder / "unet.pt", weights_only=True)
    autoencoder = load_autoencoder(options)
    autoencoder.register_to_config(scaling_factor=saved["facts"]["scaling_factor"])
    tokenizer = tokenizer_of(options)
    unet = build_unet()
    text_encoder = text_encoder_of(build_clip(tokenizer, options.size))
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    average = EMAModel(parameters)
    average.load_state_dict(saved["average"])
    average.copy_to(parameters)
    pipeline = pipeline_of(
        unet, text_encoder, autoencoder, tokenizer, build_scheduler()
    )
    export(options.output, pipeline)
    print(f"exported step {saved['step']} to {options.output}")
