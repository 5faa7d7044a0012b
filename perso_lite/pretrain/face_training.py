"""How the face network of Celeb Basis learns: from strangers, and from other pictures.

It must not be a judge, so it has strangers of its own (of another seed than the judges
learn from or are measured on). Two views of a stranger should have the same feature,
and others another; the feature should tell the face numbers; and pictures of toys, of
one person and of two are told apart. Which network learns, the caller says.
"""

import argparse
import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from perso_lite.pretrain.judge_measuring import first_of_all
from perso_lite.pretrain.judge_training import two_views, worn_out
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
from perso_lite.world.people import people_names, people_thetas
from perso_lite.world.render import render

SEED, FRESH_SEED = 3, 4  # of its pictures, and of those that it is measured on
SIDE = 64  # pixels of them
KINDS = ("toys", "faces", "pairs")  # with no face, one, and several
FRESH = 128  # pictures of each kind to measure on
TEMPERATURE = 0.1  # of the contrast between features (ours)

Pictures = dict[str, np.ndarray]  # by kind, bytes (count, 4, side, side)


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
                *(options.cache, count if kind == "faces" else count // 4, SIDE, SEED),
                *(options.device, kind),
            )
            for kind in KINDS
        }
    people = [subject_of("faces", SEED, i).theta for i in range(count // VIEWS)]
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
    pictures: Pictures, thetas: Tensor, batch: int, rank: int
) -> Callable[[Modules, int], Tensor]:
    """The sum of three losses: contrast of features, face numbers, number of faces.

    Args:
        pictures: by kind.
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
        subject_scene("named", v, i * VIEWS) for v in (SEED, FRESH_SEED) for i in
        range(count)
    ]  # fmt: skip
    pictures = _rendered(scenes)
    queries, gallery = encoder.encode(pictures).chunk(2)
    error = (encoder(pictures[:count])[1] - people_thetas()).abs().mean()
    accuracy = {
        f"first of {count}": first_of_all(queries, gallery),
        "mean error of face numbers": error.item(),
    }
    for faces, kind in enumerate(KINDS):
        fresh = [scene_by_kind(kind, FRESH_SEED, VIEWS * i) for i in range(FRESH)]
        right = encoder.count(_rendered(fresh)) == faces
        accuracy[f"number of faces, {kind}"] = right.float().mean().item()
    return {name: round(value, 4) for name, value in accuracy.items()}


def _rendered(scenes: list) -> Tensor:
    """Pictures of scenes, (scenes, 3, side, side) in [-1, 1]."""
    parts = [render(scenes[i : i + 64], SIDE)[0] for i in range(0, len(scenes), 64)]
    return torch.cat(parts).clamp(0, 1) * 2 - 1
