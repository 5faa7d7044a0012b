"""The stages of pretraining: their data and their settings."""

import argparse

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor
from transformers import CLIPTextModel

from perso_lite.errors import PersoError
from perso_lite.pretrain.autoencoder import (
    TrainableAutoencoder,
    autoencoder_loss,
    build_autoencoder,
    decibels,
    decoder_loss,
    only_decoder_learns,
)
from perso_lite.pretrain.bulk import encoded_world
from perso_lite.pretrain.checkpoint_parts import (
    checkpoint_of,
    decoder_checkpoint,
    encoder_number,
    first_weights,
    load_autoencoder,
    load_text_encoder,
    shipped_part,
    tokenizer_of,
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
from perso_lite.pretrain.settings import budget_of
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
    """The training pictures, bytes (count, 3, size, size)."""
    return painted_pictures(
        options.cache, options.pictures, options.size, device=options.device
    )


def fresh_pictures(options: argparse.Namespace) -> np.ndarray:
    """Pictures of another seed for measurements, bytes (512, 3, size, size)."""
    return painted_pictures(
        options.cache, FRESH_PICTURES, options.size, FRESH_SEED, options.device
    )


def share_of_whole(options: argparse.Namespace) -> float:
    """The share of a training, at its end, with whole pictures: on a GPU, all of it."""
    return 1.0 if options.device == "cuda" else 0.05


def train_autoencoder(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Stage 2; prints the quality of reconstructed fresh pictures."""
    pictures = world_pictures(options)
    fresh = fresh_pictures(options)
    model = first_weights(
        options, AutoencoderKL, "vae", lambda: build_autoencoder(options.size)
    ).to(memory_format=torch.channels_last)
    budget, rank = budget_of(options, "autoencoder"), accelerator.process_index
    batch, whole = options.autoencoder_batch, share_of_whole(options)
    stage = Stage(
        "autoencoder",
        {"autoencoder": TrainableAutoencoder(model)},
        autoencoder_loss(pictures, batch, rank, budget, whole),
        budget,
        {"autoencoder": 1e-3},
        decay=0.4,
    )
    train(stage, options.folder, accelerator)
    if accelerator.is_main_process:
        print(f"autoencoder: {decibels(model, fresh):.2f} dB on fresh pictures")


def train_clip(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Stage 3; prints the accuracy against captions with one fact changed."""
    pictures = world_pictures(options)
    fresh = fresh_pictures(options)
    tokenizer = tokenizer_of(options)
    model = build_clip(tokenizer, options.size)
    stage = Stage(
        "clip",
        {"clip": model},
        clip_loss(pictures, tokenizer, options.clip_batch, accelerator.process_index),
        budget_of(options, "clip"),
        {"clip": 1e-3},
    )
    train(stage, options.folder, accelerator)
    if accelerator.is_main_process:
        right = caption_accuracy(model, tokenizer, fresh, FRESH_SEED)
        print(f"clip: {right:.1%} of altered captions recognised (chance 50 %)")


def train_decoder(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Stage 5; prints the quality of reconstructions before and after."""
    pictures, fresh = world_pictures(options), fresh_pictures(options)
    autoencoder = load_autoencoder(options, decoder=False).to(accelerator.device)
    if (options.folder / "decoder.pt").exists():
        decoder_checkpoint(options, autoencoder)
    budget, main = budget_of(options, "decoder"), accelerator.is_main_process
    before = decibels(autoencoder, fresh) if main else 0.0
    with only_decoder_learns(autoencoder) as decoder:
        stage = Stage(
            "decoder",
            {"decoder": decoder},
            decoder_loss(
                *(pictures, autoencoder, options.decoder_batch, accelerator, budget),
                whole=share_of_whole(options),
            ),
            budget,
            {"decoder": 7e-4},
            average=0.998,
            facts={"encoder": encoder_number(autoencoder)},
            decay=0.6,
        )
        train(stage, options.folder, accelerator)
    if main:
        after = decibels(autoencoder, fresh)
        print(f"decoder: {before:.2f} -> {after:.2f} dB on fresh pictures")


def unet_stage(
    options: argparse.Namespace,
    latents: Tensor,
    autoencoder: AutoencoderKL,
    accelerator: Accelerator,
) -> Stage:
    """Stage 4: its modules, and sheets that show the progress.

    Args:
        options: of the command line.
        latents: (count, 4, 16, 16) of the training pictures.
        autoencoder: for the sheets; has the scaling factor.
        accelerator: of the run.
    """
    tokenizer = tokenizer_of(options)
    unet = first_weights(options, UNet2DConditionModel, "unet", build_unet)
    text_encoder = load_text_encoder(options, tokenizer).to(accelerator.device)
    modules, learning_rates = {"unet": unet}, {"unet": options.unet_rate}
    if options.start_from is None:
        modules["text_encoder"] = text_encoder
        learning_rates["text_encoder"] = options.unet_rate / 5
    else:
        text_encoder.requires_grad_(False)  # once shipped, it stays frozen
    if not torch.cuda.is_available():
        prepare_for_cpu(unet)

    def sample(step: int) -> None:
        pipeline = pipeline_of(
            unet, text_encoder, autoencoder, tokenizer, build_scheduler()
        )
        pictures = generate(
            pipeline, SHEET_PROMPTS, num_inference_steps=20, output_type="pt"
        )
        save_sheet(pictures, options.folder / f"sheet-{step:07d}.png")

    scaling = autoencoder.config.scaling_factor
    rank, batch = accelerator.process_index, options.unet_batch
    return Stage(
        "unet",
        modules,
        denoising_loss(latents, text_encoder, tokenizer, scaling, batch, rank),
        budget_of(options, "unet"),
        learning_rates,
        sample=sample,
        average=0.9995,
        facts={"scaling_factor": scaling},
        decay=0.5 if options.device == "cuda" else 0.15,  # a GPU's run is short
        warm_up=200,
    )


def train_unet(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Stage 4."""
    autoencoder = load_autoencoder(options).to(accelerator.device)
    latents = encoded_world(options, world_pictures(options), autoencoder, accelerator)
    stage = unet_stage(options, latents, autoencoder, accelerator)
    train(stage, options.folder, accelerator, sample_minutes=options.sample_minutes)


def export_base(options: argparse.Namespace) -> None:
    """Stage 6: the averaged weights of the last checkpoint, finished or not.

    A text encoder that did not learn comes from `--start-from`.

    Raises:
        PersoError: there is no checkpoint, or a part is missing without `--start-from`.
    """
    saved = checkpoint_of(options, "unet")
    autoencoder = load_autoencoder(options)
    autoencoder.register_to_config(scaling_factor=saved["facts"]["scaling_factor"])
    tokenizer, unet = tokenizer_of(options), build_unet()
    learned = list(unet.parameters())
    if "text_encoder" in saved["modules"]:
        text_encoder = text_encoder_of(build_clip(tokenizer, options.size))
        learned += text_encoder.parameters()
    elif options.start_from is not None:
        text_encoder = shipped_part(options, CLIPTextModel, "text_encoder")
    else:
        raise PersoError(
            f"The U-Net in {options.folder} learned with the frozen text encoder of a "
            "finished base; say which with --start-from."
        )
    average = EMAModel(learned)
    average.load_state_dict(saved["average"])
    average.copy_to(learned)
    pipeline = pipeline_of(
        unet, text_encoder, autoencoder, tokenizer, build_scheduler()
    )
    export(options.output, pipeline)
    print(f"exported step {saved['step']} to {options.output}")
