"""The parts of the base that a stage needs: learned here, from a base, or new.

A part comes from the checkpoint of the stage that makes it. Where there is none, it
comes from the finished base that `--start-from` names.
"""

import argparse
import hashlib
import os
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from perso_lite.errors import PersoError, shortened
from perso_lite.files.writing import folder_written_whole
from perso_lite.pretrain.autoencoder import (
    TrainableAutoencoder,
    build_autoencoder,
    take_averages,
)
from perso_lite.pretrain.clip import build_clip, text_encoder_of
from perso_lite.pretrain.loop import read_state
from perso_lite.pretrain.tokenizer import build_tokenizer


def checkpoint_of(options: argparse.Namespace, stage: str) -> dict:
    """The checkpoint of a stage in this folder.

    Raises:
        PersoError: there is none yet.
    """
    path = options.folder / f"{stage}.pt"
    if not os.path.exists(path):
        raise PersoError(
            f"There is no {path}, which this stage needs. Run `python -m perso_lite "
            f"pretrain --stages {stage}` first; --start-from with a finished base "
            "stands in for any stage before the U-Net."
        )
    return read_state(path)


def shipped_part(options: argparse.Namespace, kind: type, part: str) -> nn.Module:
    """A part of the base of `--start-from`, in single precision.

    Raises:
        PersoError: it cannot be loaded, or has pickled weights.
    """
    return _of_start(options, kind, part, use_safetensors=True).float()


def _of_start(options: argparse.Namespace, kind: type, part: str, **how: bool) -> Any:
    """A part of the base of `--start-from`."""
    try:
        return kind.from_pretrained(options.start_from, subfolder=part, **how)
    except Exception as reason:  # whatever a damaged folder may cause
        raise PersoError(
            f"--start-from {options.start_from} has no {part} that can be loaded "
            f"({shortened(reason)}). Give the folder of a finished base with "
            ".safetensors weights."
        ) from reason


def first_weights(options: argparse.Namespace, kind: type, part: str, build):
    """A part of the base to train: from `--start-from`, or new.

    Args:
        options: of the command line.
        kind: the part's class.
        part: its folder in the base, for example "unet".
        build: makes a new one.
    """
    return build() if options.start_from is None else shipped_part(options, kind, part)


def tokenizer_of(options: argparse.Namespace) -> CLIPTokenizer:
    """The tokenizer that all stages in this folder share, since weights fit its ids.

    It is that of `--start-from`, or a new one, and is saved beside the checkpoints.

    Raises:
        PersoError: the saved one is not that of `--start-from`.
    """
    kept, shipped = options.folder / "tokenizer", None
    if options.start_from is not None:
        shipped = _of_start(options, CLIPTokenizer, "tokenizer")
    if not kept.exists():
        tokenizer = build_tokenizer() if shipped is None else shipped
        with folder_written_whole(kept) as partial:
            tokenizer.save_pretrained(partial)
        return tokenizer
    tokenizer = CLIPTokenizer.from_pretrained(kept)
    if shipped is not None and shipped.get_vocab() != tokenizer.get_vocab():
        raise PersoError(
            f"{kept} numbers its words otherwise than the tokenizer of "
            f"{options.start_from}, so weights of the one make no sense with the "
            "other. Take another --folder, or leave --start-from out."
        )
    return tokenizer


def weights_fingerprint(module: nn.Module) -> str:
    """A short hash of a module's weights, since latents belong to one encoder."""
    digest = hashlib.sha256()
    for weight in module.parameters():
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def load_autoencoder(
    options: argparse.Namespace, decoder: bool = True
) -> AutoencoderKL:
    """The autoencoder of stage 2, otherwise of `--start-from`, frozen.

    Args:
        options: of the command line.
        decoder: with the averaged weights of the decoder stage, if there are any.

    Raises:
        PersoError: there is neither, or the decoder learned beside another encoder.
    """
    if options.start_from and not (options.folder / "autoencoder.pt").exists():
        model = shipped_part(options, AutoencoderKL, "vae")
    else:
        model = build_autoencoder(options.size)
        saved = checkpoint_of(options, "autoencoder")
        TrainableAutoencoder(model).load_state_dict(saved["modules"]["autoencoder"])
    if decoder and (options.folder / "decoder.pt").exists():
        take_averages(model, decoder_checkpoint(options, model))
    model.to(memory_format=torch.channels_last)
    return model.eval().requires_grad_(False)


def encoder_number(autoencoder: AutoencoderKL) -> float:
    """The fingerprint of the encoder as a number, for the facts of a stage."""
    return float(int(weights_fingerprint(autoencoder.encoder), 16))


def decoder_checkpoint(options: argparse.Namespace, autoencoder: AutoencoderKL) -> dict:
    """The checkpoint of the decoder stage.

    Raises:
        PersoError: the decoder learned beside another encoder than this one.
    """
    saved = checkpoint_of(options, "decoder")
    if saved["facts"]["encoder"] != encoder_number(autoencoder):
        raise PersoError(
            f"The decoder in {options.folder / 'decoder.pt'} learned with another "
            "encoder, perhaps before the autoencoder learned on. Remove that file and "
            "run `--stages decoder` again."
        )
    return saved


def load_text_encoder(
    options: argparse.Namespace, tokenizer: CLIPTokenizer
) -> CLIPTextModel:
    """The text encoder of `--start-from`, otherwise of the contrastive stage.

    Raises:
        PersoError: there is neither.
    """
    if options.start_from is not None:
        return shipped_part(options, CLIPTextModel, "text_encoder")
    clip = build_clip(tokenizer, options.size)
    clip.load_state_dict(checkpoint_of(options, "clip")["modules"]["clip"])
    return text_encoder_of(clip)
