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
from perso_lite.files.writing import folder_written_whole
from perso_lite.pretrain.checkpoint_parts import load_text_encoder, tokenizer_of
from perso_lite.pretrain.clip import build_clip, caption_accuracy, clip_loss
from perso_lite.pretrain.judge_measuring import (
    FACE_KINDS,
    FACE_SIDE,
    STRANGERS,
    face_accuracy,
    face_encoder_accuracy,
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
from perso_lite.pretrain.pictures import VIEWS, as_tensor, painted_pictures, subject_of
from perso_lite.pretrain.settings import budget_of
from perso_lite.pretrain.stages import (
    FRESH_PICTURES,
    FRESH_SEED,
    fresh_pictures,
    world_pictures,
)
from perso_lite.world.toys import TOYS

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
        Its accuracy, for the main process; see `face_encoder_accuracy`.
    """
    count = options.strangers
    numbers = (count // 4, count, count // 4)
    with accelerator.main_process_first():
        pictures = {
            kind: painted_pictures(
                options.cache, number, FACE_SIDE, STRANGERS, options.device, kind
            )
            for kind, number in zip(FACE_KINDS, numbers, strict=True)
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
    main = accelerator.is_main_process
    return face_encoder_accuracy(encoder.cpu().eval()) if main else {}


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
        target = thetas[rows // VIEWS].to(device)
        return face_encoder_losses(encoder(worn), target)

    return loss


def face_encoder_losses(output: tuple[Tensor, Tensor, Tensor], theta: Tensor) -> Tensor:
    """The sum of the losses of contrast, face numbers and count.

    Args:
        output: features, face numbers and logits of the count, of the first and then
            the second views of strangers, pictures without a face, and as many pairs.
        theta: true face numbers of the views, (views, 18).
    """
    features, numbers, logits = output
    views = len(theta)
    a, b = features[:views].chunk(2)
    alike = a @ b.T / TEMPERATURE
    same = torch.arange(len(a), device=a.device)
    contrast = (F.cross_entropy(alike, same) + F.cross_entropy(alike.T, same)) / 2
    error = F.mse_loss(numbers[:views].float(), theta)
    others = (len(logits) - views) // 2
    counts = torch.tensor([1] * views + [0] * others + [2] * others, device=a.device)
    return contrast + 10 * error + F.cross_entropy(logits, counts)
