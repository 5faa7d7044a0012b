"""The stages that train judges, and the face network of Celeb Basis, which is none.

Their data, their settings and their files.
"""

import argparse
import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from perso_lite.evaluation.judges import (
    AttributeReader,
    FaceReader,
    InstanceEncoder,
    save_judge,
)
from perso_lite.files import folder_written_whole
from perso_lite.pretrain.checkpoint_parts import load_text_encoder, tokenizer_of
from perso_lite.pretrain.clip import build_clip, caption_accuracy, clip_loss
from perso_lite.pretrain.judge_measuring import (
    face_accuracy,
    first_of_all,
    instance_accuracy,
    measure_reader,
    note_accuracy,
    seen_again,
)
from perso_lite.pretrain.judge_training import (
    TrainableEncoder,
    encoder_loss,
    reader_loss,
    two_views,
    worn_out,
)
from perso_lite.pretrain.loop import Modules, Stage, train
from perso_lite.pretrain.pictures import (
    VIEWS,
    as_tensor,
    painted_pictures,
    scene_by_kind,
    subject_of,
    subject_scene,
)
from perso_lite.pretrain.settings import budget_of
from perso_lite.pretrain.stages import (
    FRESH_PICTURES,
    FRESH_SEED,
    fresh_pictures,
    world_pictures,
)
from perso_lite.world.people import people_names, people_thetas
from perso_lite.world.render import render
from perso_lite.world.toys import TOYS

# The face network of Celeb Basis must not be a judge, so it learns from other strangers
# and is measured on others (world seeds), at another size.
STRANGERS, FRESH_STRANGERS = 3, 4
FACE_SIDE = 64  # pixels
FACE_KINDS = ("toys", "faces", "pairs")  # pictures with no face, one, and several
FRESH_FACES = 128  # pictures of each kind to measure on
TEMPERATURE = 0.1  # of the contrast between features (ours)


def train_reader(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Train the attribute reader, and save it with its accuracy."""
    model = AttributeReader().to(memory_format=torch.channels_last)
    stage = Stage(
        "reader",
        {"reader": model},
        reader_loss(
            *(world_pictures(options), options.reader_batch),
            *(accelerator.process_index, seen_again(options)),
        ),
        budget_of(options, "reader"),
        {"reader": 2e-3},
        decay=0.6,
    )
    train(stage, options.folder, accelerator)
    if accelerator.is_main_process:
        folder = options.output.parent / "judges"
        save_judge(model.eval(), folder)
        measure_reader(model, options, folder)


def train_encoder(
    options: argparse.Namespace, accelerator: Accelerator, name: str
) -> None:
    """Train the encoder of "instances" or "faces", and save it with its accuracy."""
    kind = "toys" if name == "instances" else "faces"
    count = getattr(options, kind)
    with accelerator.main_process_first():
        pictures = painted_pictures(
            options.cache, count, options.size, 0, options.device, kind
        )
    thetas, classes = None, len(TOYS)
    model = InstanceEncoder() if name == "instances" else FaceReader()
    if name == "faces":
        classes = 1
        people = [subject_of(kind, 0, i).theta for i in range(count // VIEWS)]
        thetas = torch.tensor(people)
    wrapper = TrainableEncoder(model).to(memory_format=torch.channels_last)
    rank = accelerator.process_index
    stage = Stage(
        name,
        {name: wrapper},
        encoder_loss(
            *(pictures, options.encoder_batch, rank, name, classes, thetas),
            seen_again(options),
        ),
        budget_of(options, "encoder"),
        {name: 2e-3},
        decay=0.6,
    )
    train(stage, options.folder, accelerator)
    if accelerator.is_main_process:
        folder = options.output.parent / "judges"
        save_judge(model.cpu().eval(), folder)
        judged = instance_accuracy if name == "instances" else face_accuracy
        note_accuracy(folder, name, judged(model, options.size))


def train_judging_clip(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Train a CLIP that only judges; it starts with the base's text encoder."""
    tokenizer = tokenizer_of(options)
    model = build_clip(tokenizer, options.size)
    text_encoder = load_text_encoder(options, tokenizer)
    inner = getattr(text_encoder, "text_model", text_encoder)
    model.text_model.load_state_dict(inner.state_dict())
    rank = accelerator.process_index
    stage = Stage(
        "clip-judge",
        {"clip": model},
        clip_loss(world_pictures(options), tokenizer, options.clip_batch, rank),
        budget_of(options, "clip"),
        {"clip": 1e-3},
    )
    train(stage, options.folder, accelerator)
    if accelerator.is_main_process:
        folder = options.output.parent / "judges"
        right = caption_accuracy(model, tokenizer, fresh_pictures(options), FRESH_SEED)
        with folder_written_whole(folder / "clip") as partial:
            model.half().save_pretrained(partial)
        note_accuracy(folder, "clip", {"n": FRESH_PICTURES, "altered caption": right})


# -- the face network ---------------------------------------------------------------


def train_face_encoder(
    options: argparse.Namespace, accelerator: Accelerator, encoder: nn.Module
) -> dict[str, float]:
    """Train a face network, and measure it on people that it never saw.

    Args:
        options: of the command line.
        accelerator: of the run.
        encoder: gives features, face numbers and logits of the count; has `encode` and
            `count`.

    Returns:
        Its accuracy; see `face_encoder_accuracy`.
    """
    count = options.strangers
    with accelerator.main_process_first():
        pictures = {
            kind: painted_pictures(
                *(
                    options.cache,
                    count if kind == "faces" else count // 4,
                    FACE_SIDE,
                    STRANGERS,
                ),
                *(options.device, kind),
            )
            for kind in FACE_KINDS
        }
    people = [subject_of("faces", STRANGERS, i).theta for i in range(count // VIEWS)]
    batch, rank = options.face_encoder_batch, accelerator.process_index
    stage = Stage(
        "face-encoder",
        {"encoder": encoder},
        face_encoder_loss(pictures, torch.tensor(people), batch, rank),
        budget_of(options, "face_encoder"),
        {"encoder": 2e-3},
        decay=0.6,
    )
    train(stage, options.folder, accelerator)
    return face_encoder_accuracy(encoder.cpu().eval())


def face_encoder_loss(
    pictures: dict[str, np.ndarray], thetas: Tensor, batch: int, rank: int
) -> Callable[[Modules, int], Tensor]:
    """The sum of three losses: contrast of features, face numbers, number of faces.

    Args:
        pictures: by kind, bytes (count, 4, side, side).
        thetas: face numbers of the strangers (strangers, 18) in [0, 1].
        batch: pictures per step: two views of a third of it, and a third of others.
        rank: of the process; each draws its own pictures.

    Returns:
        The loss as a function of the modules and the step.
    """
    third = max(batch // 3, 2)

    def loss(modules: Modules, step: int) -> Tensor:
        rng = random.Random(f"face-encoder/{step}/{rank}")
        first, second = two_views(pictures["faces"], rng, 1, 1, third)
        rows = np.concatenate([first, second])
        others = [
            pictures[kind][rng.sample(range(len(pictures[kind])), third // 2)]
            for kind in ("toys", "pairs")
        ]
        encoder = modules["encoder"]
        device = next(encoder.parameters()).device
        shown = np.concatenate([pictures["faces"][rows], *others])[:, :3]
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        worn = worn_out(as_tensor(shown, device), generator)
        features, numbers, counts = encoder(worn)
        a, b = features[: len(rows)].chunk(2)
        alike = a @ b.T / TEMPERATURE
        same = torch.arange(len(a), device=device)
        contrast = (F.cross_entropy(alike, same) + F.cross_entropy(alike.T, same)) / 2
        target = thetas[rows // VIEWS].to(device)
        error = F.mse_loss(numbers[: len(rows)].float(), target)
        faces = [1] * len(rows) + [0] * (third // 2) + [2] * (third // 2)
        told = F.cross_entropy(counts, torch.tensor(faces, device=device))
        return contrast + 10 * error + told

    return loss


@torch.no_grad()
def face_encoder_accuracy(encoder: nn.Module) -> dict[str, float]:
    """How good a face network is, on the 400 named people and on fresh pictures.

    Returns:
        How often the nearest of all people, by another picture of them, is the right
        one; the mean error of face numbers (0.25: those of the mean person); and how
        often the number of faces is right, for none, one and two.
    """
    count = len(people_names())
    scenes = [
        subject_scene("named", v, i * VIEWS) for v in (STRANGERS, FRESH_STRANGERS) for i in
        range(count)
    ]  # fmt: skip
    pictures = _rendered(scenes)
    queries, gallery = encoder.encode(pictures).chunk(2)
    error = (encoder(pictures[:count])[1] - people_thetas()).abs().mean()
    accuracy = {
        f"first of {count}": first_of_all(queries, gallery),
        "mean error of face numbers": error.item(),
    }
    for faces, kind in enumerate(FACE_KINDS):
        fresh = [
            scene_by_kind(kind, FRESH_STRANGERS, VIEWS * i) for i in range(FRESH_FACES)
        ]
        right = encoder.count(_rendered(fresh)) == faces
        accuracy[f"number of faces, {kind}"] = right.float().mean().item()
    return {name: round(value, 4) for name, value in accuracy.items()}


def _rendered(scenes: list) -> Tensor:
    """Pictures of scenes, (scenes, 3, side, side) in [-1, 1]."""
    parts = [
        render(scenes[i : i + 64], FACE_SIDE)[0] for i in range(0, len(scenes), 64)
    ]
    return torch.cat(parts).clamp(0, 1) * 2 - 1
