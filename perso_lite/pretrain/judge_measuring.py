"""Judges are measured on fresh pictures, after their training or at any later time."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from perso_lite.evaluation.judges import (
    AttributeReader,
    FaceReader,
    InstanceEncoder,
    load_judge,
)
from perso_lite.pretrain.autoencoder import reconstructed
from perso_lite.pretrain.checkpoint_parts import load_autoencoder
from perso_lite.pretrain.clip import caption_accuracy
from perso_lite.pretrain.judge_training import (
    face_accuracy,
    instance_accuracy,
    note_accuracy,
    reader_accuracy,
)
from perso_lite.pretrain.pictures import as_tensor, painted_pictures
from perso_lite.pretrain.stages import FRESH_PICTURES, FRESH_SEED, fresh_pictures

JUDGED_SEED, JUDGED_PICTURES = 2, 4096  # never trained on


def autoencoder_if_any(options: argparse.Namespace) -> AutoencoderKL | None:
    """The autoencoder of this run or of `--start-from`, on the device; else None."""
    made_here = (options.folder / "autoencoder.pt").exists()
    if not made_here and options.start_from is None:
        return None
    return load_autoencoder(options).to(options.device)


def seen_again(options: argparse.Namespace) -> Callable[[Tensor], Tensor] | None:
    """What the run's autoencoder makes of pictures in [-1, 1]; None without one."""
    autoencoder = autoencoder_if_any(options)
    if autoencoder is None:
        return None

    def again(pictures: Tensor) -> Tensor:
        on_gpu = options.device == "cuda"
        with torch.autocast(options.device, torch.bfloat16, enabled=on_gpu):
            return reconstructed(autoencoder, pictures)

    return again


def autoencoded(pictures: np.ndarray, again: Callable[[Tensor], Tensor], device: str):
    """Bytes `(count, 3, size, size)` of pictures that went through the autoencoder."""
    parts = []
    for start in range(0, len(pictures), 64):
        guess = again(as_tensor(pictures[start : start + 64], device))
        parts.append(((guess / 2 + 0.5) * 255).round().byte().cpu().numpy())
    return np.concatenate(parts)


def measure_reader(
    reader: AttributeReader, options: argparse.Namespace, folder: Path
) -> None:
    """Note how often labels of fresh pictures are read right, renders and autoencoded.

    Args:
        reader: to measure.
        options: of the command line.
        folder: of `accuracy.json`.
    """
    count = min(JUDGED_PICTURES, options.pictures)
    pictures = painted_pictures(
        options.cache, count, options.size, JUDGED_SEED, options.device
    )
    reader = reader.to(options.device).eval()
    accuracy = reader_accuracy(reader, pictures, JUDGED_SEED)
    again = seen_again(options)
    if again is not None:
        pictures = autoencoded(pictures, again, options.device)
        for name, row in reader_accuracy(reader, pictures, JUDGED_SEED).items():
            accuracy[name]["right after the autoencoder"] = row["right"]
    note_accuracy(folder, "attribute reader", accuracy)


def measure_judges(options: argparse.Namespace) -> None:
    """Measure the judges beside the base again, without any training.

    The autoencoder is that of the run, of `--start-from`, or of the base at `--output`.
    """
    folder = options.output.parent / "judges"
    if options.start_from is None and options.output.is_dir():
        options = argparse.Namespace(**vars(options) | {"start_from": options.output})
    measure_reader(load_judge(AttributeReader, folder), options, folder)
    instances, faces = (
        load_judge(InstanceEncoder, folder),
        load_judge(FaceReader, folder),
    )
    note_accuracy(folder, "instances", instance_accuracy(instances, options.size))
    note_accuracy(folder, "faces", face_accuracy(faces, options.size))
    clip = CLIPModel.from_pretrained(folder / "clip").float().eval()
    tokenizer = CLIPTokenizer.from_pretrained(options.start_from, subfolder="tokenizer")
    right = caption_accuracy(clip, tokenizer, fresh_pictures(options), FRESH_SEED)
    note_accuracy(folder, "clip", {"n": FRESH_PICTURES, "altered caption": right})
