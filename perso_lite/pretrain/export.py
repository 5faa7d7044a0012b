"""Stage 6: the finished base as an ordinary diffusers folder."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from perso_lite.files.writing import folder_written_whole
from perso_lite.pretrain.tokenizer import save_tokenizer


def pipeline_of(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    autoencoder: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    scheduler: DDIMScheduler,
) -> StableDiffusionPipeline:
    """The parts as a stock pipeline, which shares their weights.

    Args:
        unet: predicts the noise.
        text_encoder: encodes prompts.
        autoencoder: decodes latents.
        tokenizer: of the text encoder.
        scheduler: of the noise.
    """
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(folder: Path, pipeline: StableDiffusionPipeline) -> None:
    """Write `model_index.json` and its five parts, all of them or nothing.

    The U-Net is stored in half precision. The text encoder keeps float32, and its keys
    get the prefix `text_model.`, which every version of transformers can read.
    """
    with folder_written_whole(folder) as partial:
        _write(partial, pipeline)


def _write(folder: Path, pipeline: StableDiffusionPipeline) -> None:
    pipeline.save_pretrained(folder)
    save_tokenizer(pipeline.tokenizer, folder / "tokenizer")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    half = {k: v.to(torch.float16) for k, v in load_file(weights).items()}
    save_file(half, weights, metadata={"format": "pt"})
    weights = folder / "text_encoder" / "model.safetensors"
    prefixed = {
        k if k.startswith("text_model.") else f"text_model.{k}": v
        for k, v in load_file(weights).items()
        if not k.endswith("position_ids")
    }
    save_file(prefixed, weights, metadata={"format": "pt"})
    for config in folder.glob("*/*config.json"):  # remove this machine's folder names
        content = json.loads(config.read_text())
        for trace in ("_name_or_path", "is_local", "local_files_only"):
            content.pop(trace, None)
        config.write_text(json.dumps(content, indent=2) + "\n")
