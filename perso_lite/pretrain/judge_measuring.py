"""Judges are measured on fresh pictures, after their training or at any later time."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from perso_lite.evaluation.ground_truth import truth_of
from perso_lite.evaluation.judges import (
    ATTRIBUTES,
    UNKNOWN,
    AttributeReader,
    FaceReader,
    InstanceEncoder,
    SubjectEncoder,
    load_clip,
    load_judge,
)
from perso_lite.files.reading import read_json
from perso_lite.files.writing import write_atomically
from perso_lite.pretrain.autoencoder import reconstructed
from perso_lite.pretrain.checkpoint_parts import load_autoencoder
from perso_lite.pretrain.clip import caption_accuracy
from perso_lite.pretrain.pictures import (
    VIEWS,
    as_tensor,
    painted_pictures,
    scene_by_kind,
    scene_of,
    subject_scene,
)
from perso_lite.pretrain.stages import FRESH_PICTURES, FRESH_SEED, fresh_pictures
from perso_lite.world.people import people_names, people_thetas
from perso_lite.world.render import render
from perso_lite.world.scenes import Scene
from perso_lite.world.toys import TOYS

JUDGED_SEED, JUDGED_PICTURES = 2, 4096  # never trained on
SISTERS = 100  # other toys of the class, in `instance_accuracy`
# The face network of Celeb Basis must not be a judge, so it learns from other strangers
# and is measured on others (world seeds), at another size.
STRANGERS, FRESH_STRANGERS = 3, 4
FACE_SIDE = 64  # pixels
FACE_KINDS = ("toys", "faces", "pairs")  # pictures with no face, one, and several
FRESH_FACES = 128  # pictures of each kind to measure on


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
    words = Path(options.start_from or options.output) / "tokenizer"
    clip, tokenizer = load_clip(folder / "clip", words)
    right = caption_accuracy(clip, tokenizer, fresh_pictures(options), FRESH_SEED)
    note_accuracy(folder, "clip", {"n": FRESH_PICTURES, "altered caption": right})


def reader_accuracy(reader: AttributeReader, pictures: np.ndarray, seed: int) -> dict:
    """For each attribute, the share of pictures read right, and their number."""
    truth = torch.tensor([truth_of(scene_of(seed, i)) for i in range(len(pictures))])
    device = next(reader.parameters()).device
    parts = [
        as_tensor(pictures[i : i + 256], device) for i in range(0, len(truth), 256)
    ]
    right = torch.cat([reader.read(part).cpu() for part in parts]) == truth
    known = truth != UNKNOWN
    return {
        name: {
            "n": int(known[:, i].sum()),
            "right": round(right[known[:, i], i].float().mean().item(), 4),
        }
        for i, name in enumerate(ATTRIBUTES)
    }


def first_of_each(queries: Tensor, gallery: Tensor, wanted: Tensor) -> Tensor:
    """1 where the entry nearest to a query `(n, dim)` is the wanted one, else 0."""
    return ((queries @ gallery.T).argmax(1) == wanted).float()


def first_of_all(queries: Tensor, gallery: Tensor) -> float:
    """How often query i is nearest to entry i of the gallery; both `(n, dim)`."""
    return first_of_each(queries, gallery, torch.arange(len(queries))).mean().item()


def overlap(found: Tensor, mask: Tensor) -> float:
    """Mean intersection over union of found and true masks, both cut at 0.5."""
    found, mask = found > 0.5, mask > 0.5
    union = (found | mask).sum((1, 2, 3)).clamp(min=1)
    return ((found & mask).sum((1, 2, 3)) / union).mean().item()


def instance_accuracy(
    encoder: SubjectEncoder, size: int, seed: int = 1, sisters: int = SISTERS
) -> dict:
    """How often a toy is found among others of its class, on fresh pictures.

    Args:
        encoder: to measure.
        size: pixels per side of the pictures.
        seed: of the toys.
        sisters: number of other toys of the class.
    """
    classes, found, overlaps = len(TOYS), [], []
    for class_index in range(classes):
        toys = [class_index + classes * i for i in range(sisters + 1)]
        scenes = [
            subject_scene("toys", seed, t * VIEWS + v) for v in (0, 1) for t in toys
        ]
        pictures, masks = render(scenes, size)
        pictures = pictures.clamp(0, 1) * 2 - 1
        queries, gallery = encoder.encode(pictures).chunk(2)
        found.append(first_of_all(queries, gallery))
        overlaps.append(overlap(encoder.find_masks(pictures), masks[:, :1]))
    return {
        "n": classes * (sisters + 1),
        f"first of {sisters + 1}": round(float(np.mean(found)), 4),
        "worst class": round(min(found), 4),
        "mask overlap": round(float(np.mean(overlaps)), 4),
    }


def face_accuracy(reader: FaceReader, size: int) -> dict:
    """Accuracy for the 400 named people (never trained on) and for face parameters."""
    count = len(people_names())
    scenes = [
        subject_scene("named", v, i * VIEWS) for v in (0, 1) for i in range(count)
    ]
    pictures, _ = render(scenes, size)
    pictures = pictures.clamp(0, 1) * 2 - 1
    queries, gallery = reader.encode(pictures).chunk(2)
    with torch.no_grad():
        guess = reader.theta(pictures[:count])
    error = (guess - people_thetas()).abs()
    return {
        "n": count,
        f"first of {count}": round(first_of_all(queries, gallery), 4),
        "mean error of face numbers": round(error.mean().item(), 4),
    }


@torch.no_grad()
def face_encoder_accuracy(encoder: nn.Module) -> dict[str, float]:
    """How good a face network is, on the 400 named people and on fresh pictures.

    Returns:
        How often the nearest of all people, by another picture of them, is the right
        one; the mean error of face numbers (0.25: those of the mean person); and how
        often the number of faces is right, for none, one and two.
    """

    def rendered(scenes: list[Scene]) -> Tensor:
        parts = [scenes[i : i + 64] for i in range(0, len(scenes), 64)]
        pictures = torch.cat([render(part, FACE_SIDE)[0] for part in parts])
        return pictures.clamp(0, 1) * 2 - 1

    count, seeds = len(people_names()), (STRANGERS, FRESH_STRANGERS)
    views = [subject_scene("named", v, i * VIEWS) for v in seeds for i in range(count)]
    pictures = rendered(views)
    queries, gallery = encoder.encode(pictures).chunk(2)
    error = (encoder(pictures[:count])[1] - people_thetas()).abs().mean()
    accuracy = {f"first of {count}": first_of_all(queries, gallery)}
    accuracy["mean error of face numbers"] = error.item()
    indices = range(0, FRESH_FACES * VIEWS, VIEWS)
    for faces, kind in enumerate(FACE_KINDS):
        fresh = [scene_by_kind(kind, FRESH_STRANGERS, i) for i in indices]
        right = encoder.count(rendered(fresh)) == faces
        accuracy[f"number of faces, {kind}"] = right.float().mean().item()
    return {name: round(value, 4) for name, value in accuracy.items()}


def note_accuracy(folder: Path, judge: str, accuracy: dict) -> None:
    """Add a judge's accuracy to `accuracy.json`, and print it."""
    path = folder / "accuracy.json"
    noted = read_json(path, dict) if path.exists() else {}
    text = json.dumps({**noted, judge: accuracy}, indent=1) + "\n"
    write_atomically(path, text.encode())
    print(f"{judge}: {json.dumps(accuracy)}")
