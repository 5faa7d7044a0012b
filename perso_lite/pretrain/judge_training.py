"""How the judges of evaluation/judges.py learn.

They learn from painted pictures with random blur and noise, as generated pictures have
them, and half of the pictures went through the autoencoder, as generated ones do. For
the encoders, half of the pictures have a gray background, so that they can
judge masked and plain pictures. `judge_measuring.py` measures how accurate they are.
"""

import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from perso_lite.evaluation.ground_truth import truth_of
from perso_lite.evaluation.judges import ATTRIBUTES, UNKNOWN, SubjectEncoder
from perso_lite.pretrain.loop import Modules
from perso_lite.pretrain.pictures import VIEWS, as_tensor, scene_of

Again = Callable[[Tensor], Tensor] | None  # what an autoencoder makes of pictures


def worn_out(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Blur and noise of random strength, similar to those of generated pictures."""
    size = picture.shape[-1]
    small = int(torch.randint(int(0.6 * size), size + 1, (1,), generator=generator))
    soft = F.interpolate(picture, size=(small, small), mode="area")
    soft = F.interpolate(soft, size=(size, size), mode="bilinear")
    noise = torch.randn(picture.shape, generator=generator).to(picture.device)
    return soft + 0.05 * torch.rand((), generator=generator).item() * noise


def half_of_them(picture: Tensor, again: Again, rng: random.Random) -> Tensor:
    """Send a random half of the pictures through the autoencoder.

    Args:
        picture: (batch, 3, size, size) in [-1, 1].
        again: the autoencoder; None leaves the pictures as they are.
        rng: chooses.
    """
    if again is None:
        return picture
    rows = sorted(rng.sample(range(len(picture)), len(picture) // 2))
    picture = picture.clone()
    picture[rows] = again(picture[rows])
    return picture


def mirrored(picture: Tensor, truth: Tensor, rng: random.Random) -> Tensor:
    """Mirror half of the pictures with one thing whose caption names no side."""
    names = list(ATTRIBUTES)
    alone = truth[:, names.index("second class")] == 0
    moved = truth[:, names.index("augmentation")]
    sides = [ATTRIBUTES["augmentation"].index(f"on the {s}") for s in ("left", "right")]
    flip = torch.tensor([rng.random() < 0.5 for _ in truth])
    for side in sides:
        flip &= moved != side
    flip = (flip & alone).to(picture.device)
    return torch.where(flip[:, None, None, None], picture.flip(3), picture)


def shifted(picture: Tensor, rng: random.Random, most: int = 4) -> Tensor:
    """Shift all pictures by the same random offset, up to `most` pixels."""
    x, y = rng.randint(0, 2 * most), rng.randint(0, 2 * most)
    size = picture.shape[-1]
    padded = F.pad(picture, [most] * 4, mode="replicate")
    return padded[..., y : y + size, x : x + size]


def mean_where_known(scores: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy over the known labels; 0, not missing, if none is known.

    With several processes every weight must have a gradient in all of them.

    Args:
        scores: logits (batch, labels).
        target: labels (batch,), some of them `UNKNOWN`.
    """
    total = F.cross_entropy(scores, target, ignore_index=UNKNOWN, reduction="sum")
    return total / (target != UNKNOWN).sum().clamp(min=1)


def reader_loss(
    pictures: np.ndarray, batch: int, rank: int, again: Again = None
) -> Callable[[Modules, int], Tensor]:
    """Sum of the cross-entropies of all attributes whose label is known.

    Pictures with an accessory, a pattern, a style or a second thing are drawn more
    often than the others, since "none" is right for most of the world's pictures.

    Args:
        pictures: bytes (count, 3, size, size).
        batch: pictures per step.
        rank: of the process; each draws its own pictures.
        again: the autoencoder, through which half of the pictures go; default: none.

    Returns:
        The loss as a function of the modules and the step.
    """
    truth = torch.tensor([truth_of(scene_of(0, i)) for i in range(len(pictures))])
    rare = ("pattern", "accessory", "style", "second class")
    columns = [list(ATTRIBUTES).index(name) for name in rare]
    weights = (1 + 2 * (truth[:, columns] > 0).sum(1)).tolist()

    def loss(modules: Modules, step: int) -> Tensor:
        rng = random.Random(f"reader/{step}/{rank}")
        chosen = sorted(rng.choices(range(len(pictures)), weights, k=batch))
        device = next(modules["reader"].parameters()).device
        picture = half_of_them(as_tensor(pictures[chosen], device), again, rng)
        picture = mirrored(picture, truth[chosen], rng)
        picture = shifted(picture, rng, pictures.shape[-1] // 16)
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        picture = worn_out(picture, generator).to(memory_format=torch.channels_last)
        target = truth[chosen].to(device)
        losses = [
            mean_where_known(score.float(), target[:, i])
            for i, score in enumerate(modules["reader"](picture))
        ]
        return torch.stack(losses).sum()

    return loss


def two_views(
    pictures: np.ndarray, rng: random.Random, families: int, sisters: int, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Two different views of each of `rows` subjects.

    Subject s is in pictures `s * VIEWS` to `(s + 1) * VIEWS - 1`; its class is
    `s % sisters`.

    Args:
        pictures: of all subjects.
        rng: chooses.
        families: number of classes to choose.
        sisters: number of all classes.
        rows: number of subjects, equally many of each chosen class.

    Returns:
        Indices of the first and of the second views, subject by subject.
    """
    subjects = []
    for class_index in rng.sample(range(sisters), families):
        same = range(class_index, len(pictures) // VIEWS, sisters)
        subjects += rng.sample(same, rows // families)
    views = [rng.sample(range(VIEWS), 2) for _ in subjects]
    first = [s * VIEWS + a for s, (a, _) in zip(subjects, views, strict=True)]
    second = [s * VIEWS + b for s, (_, b) in zip(subjects, views, strict=True)]
    return np.array(first), np.array(second)


def without_background(picture: Tensor, mask: Tensor, rng: random.Random) -> Tensor:
    """Replace the background by mid gray (0) in half of the pictures."""
    keep = torch.tensor([rng.random() < 0.5 for _ in picture], device=picture.device)
    return torch.where(keep[:, None, None, None], picture, picture * mask)


def encoder_loss(
    pictures: np.ndarray,
    batch: int,
    rank: int,
    name: str,
    classes: int,
    thetas: Tensor | None = None,
    again: Again = None,
) -> Callable[[Modules, int], Tensor]:
    """Contrastive loss between two views of a subject, plus the loss of its mask.

    Args:
        pictures: bytes (count, 4, size, size); the fourth channel is the mask.
        batch: pictures per step.
        rank: of the process; each draws its own pictures.
        name: of the stage and of its module.
        classes: number of classes the subjects belong to.
        thetas: face parameters (subjects, 18) in [0, 1] to learn, too; default: none.
        again: the autoencoder, through which half of the pictures go; default: none.

    Returns:
        The loss as a function of the modules and the step.
    """
    families = min(max(4, batch // 64), classes)  # ours

    def loss(modules: Modules, step: int) -> Tensor:
        rng = random.Random(f"{name}/{step}/{rank}")
        first, second = two_views(pictures, rng, families, classes, batch // 2)
        rows = np.concatenate([first, second])
        model = modules[name]
        device = next(model.parameters()).device
        stored = torch.from_numpy(np.array(pictures[rows])).to(device).float()
        mask = stored[:, 3:] / 255
        picture = half_of_them(stored[:, :3] / 127.5 - 1, again, rng)
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        picture = worn_out(picture, generator)
        picture = without_background(picture, mask, rng)
        picture = picture.to(memory_format=torch.channels_last)
        target = None if thetas is None else thetas[rows // VIEWS].to(device)
        return encoder_losses(model(picture, target), mask)

    return loss


def encoder_losses(output: tuple[Tensor, Tensor, Tensor], mask: Tensor) -> Tensor:
    """The sum of the losses of contrast, mask and face."""
    vectors, mask_logits, face_error = output
    a, b = vectors.chunk(2)
    alike = a @ b.T / 0.07
    target = torch.arange(len(a), device=a.device)
    found = (F.cross_entropy(alike, target) + F.cross_entropy(alike.T, target)) / 2
    coarse = F.interpolate(mask, size=mask_logits.shape[-2:], mode="area")[:, 0]
    covered = F.binary_cross_entropy_with_logits(mask_logits.float(), coarse)
    return found + covered + 10 * face_error


class TrainableEncoder(torch.nn.Module):
    """One forward pass for training: vectors, mask logits and face error."""

    def __init__(self, encoder: SubjectEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(
        self, picture: Tensor, theta: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """From pictures in [-1, 1], and true face parameters (batch, 18) or None."""
        pooled, logits = self.encoder.features(picture)
        vectors = F.normalize(self.encoder.describe(pooled).float(), dim=-1)
        error = vectors.new_zeros(())
        if theta is not None:
            error = F.mse_loss(self.encoder.numbers(pooled).float(), theta)
        return vectors, logits, error
