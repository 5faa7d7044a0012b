"""How metrics judge painted trials: which candidate is nearer to the reference.

A metric describes each picture by a vector, and a picture is near if the squared
difference to the reference's vector is small. For unit vectors (instance encoder, CLIP,
DINO) the order is that of the cosine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Dinov2Model

from perso_lite.base import quiet
from perso_lite.errors import PersoError
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.metrics import GRAY, clip_images, for_judge
from perso_lite.evaluation.trials import Trial
from perso_lite.world.render import render
from perso_lite.world.scenes import Scene

BINS = 6  # of a color histogram, for each of red, green and blue (ours)
DINO = "facebook/dinov2-small"
DINO_SIZE = 224  # pixels per side, a multiple of its patches
DINO_MEAN, DINO_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Painted:
    """Scenes as pictures, with the masks that metrics may use.

    `pictures` (pictures, 3, height, width) and `masks` (pictures, 1, height, width),
    both in [0, 1].
    """

    scenes: Sequence[Scene]
    pictures: Tensor
    masks: Tensor

    def on_gray(self) -> Tensor:
        """The pictures with a mid-gray background."""
        gray = torch.full_like(self.pictures, GRAY)
        return self.pictures.where(self.masks > 0.5, gray)


Description = Callable[[Painted], Tensor]  # to (pictures, dim)


# -- metrics ---------------------------------------------------------------------------


def metrics(judges: Judges) -> dict[str, Description]:
    """Every metric by name, plain and masked; DINO only if its weights are here."""

    def instance(pictures: Tensor) -> Tensor:
        return judges.instances.encode(for_judge(pictures, judges.instances))

    def clip(pictures: Tensor) -> Tensor:
        return clip_images(judges, pictures)

    encoders = {"instance": instance, "CLIP-I": clip, "pixels": lambda p: p.flatten(1)}
    dino = local_dino()
    if dino is not None:
        encoders["DINO"] = lambda pictures: dino_features(dino, pictures)
    found: dict[str, Description] = {}
    for name, encode in encoders.items():
        found[name] = lambda p, encode=encode: encode(p.pictures)
        found[f"{name} masked"] = lambda p, encode=encode: encode(p.on_gray())
    found["histogram"] = lambda p: color_histogram(p.pictures)
    found["histogram masked"] = lambda p: color_histogram(p.pictures, p.masks)
    return found


def color_histogram(pictures: Tensor, masks: Tensor | None = None) -> Tensor:
    """Square roots of the shares of 216 colors, unit vectors (pictures, 216).

    Squared differences of such vectors are squared Hellinger distances.

    Args:
        pictures: (pictures, 3, height, width) in [0, 1].
        masks: (pictures, 1, height, width); only pixels above 0.5 count, or all of a
            picture without one; default: all.
    """
    bins = (pictures.clamp(0, 1) * BINS).long().clamp(max=BINS - 1).flatten(2)
    colors = (bins[:, 0] * BINS + bins[:, 1]) * BINS + bins[:, 2]  # (pictures, pixels)
    counted = torch.ones(colors.shape)
    if masks is not None:
        counted = (masks > 0.5).flatten(1).float()
        counted = torch.where(counted.sum(1, keepdim=True) > 0, counted, 1.0)
    shares = torch.zeros(len(pictures), BINS**3).scatter_add_(1, colors, counted)
    return (shares / counted.sum(1, keepdim=True)).sqrt()


def local_dino(name: str = DINO) -> Dinov2Model | None:
    """DINOv2 if its weights are on this machine already; nothing is downloaded."""
    try:
        with quiet():
            model = Dinov2Model.from_pretrained(name, local_files_only=True)
    except OSError:
        return None
    return model.float().eval().requires_grad_(False)


@torch.no_grad()
def dino_features(dino: Dinov2Model, pictures: Tensor) -> Tensor:
    """Unit vectors of DINO's class token, (pictures, dim), of pictures in [0, 1]."""
    size = (DINO_SIZE, DINO_SIZE)
    pixels = F.interpolate(pictures, size, mode="bicubic", antialias=True)
    mean, deviation = torch.tensor((DINO_MEAN, DINO_DEVIATION))[..., None, None]
    tokens = dino((pixels - mean) / deviation).last_hidden_state
    return F.normalize(tokens[:, 0], dim=-1)


# -- judging ---------------------------------------------------------------------------


def painted(scenes: Sequence[Scene], size: int = 128) -> Painted:
    """Scenes of one thing with its true mask; `size` is in pixels per side."""
    pictures, masks = render(scenes, size)
    return Painted(scenes, pictures.clamp(0, 1), masks[:, :1].clamp(0, 1))


def with_found_masks(candidates: Painted, judges: Judges) -> Painted:
    """The same pictures with the masks that the instance encoder finds."""
    seen = for_judge(candidates.pictures, judges.instances)
    found = judges.instances.find_masks(seen)
    return Painted(candidates.scenes, candidates.pictures, found)


def nearness(
    trials: Sequence[Trial], judges: Judges, described: Mapping[str, Description]
) -> list[dict[str, Tensor]]:
    """How near each trial's candidates are to its reference, by metric.

    As when methods are measured, the masks of references are known and those of
    candidates are found by the instance encoder.

    Args:
        trials: painted together, so not too many.
        judges: as loaded.
        described: metrics by name.

    Returns:
        For each trial (candidates,) by metric: minus the mean squared difference.
    """
    references = painted([trial.reference for trial in trials])
    shown = [scene for trial in trials for scene in trial.candidates.values()]
    candidates = with_found_masks(painted(shown), judges)
    sizes = [len(trial.candidates) for trial in trials]
    found: list[dict[str, Tensor]] = [{} for _ in trials]
    for name, describe in described.items():
        known = describe(references)  # (trials, dim)
        parts = describe(candidates).split(sizes)
        for scores, own, others in zip(found, known, parts, strict=True):
            scores[name] = -(others - own).square().mean(1)
    return found


def choices(near: Tensor) -> Tensor:
    """Whether the first candidate is nearer than each other one, (candidates - 1,).

    1 if it is, 0 if not, and 0.5, a coin, if both are equally near.
    """
    return ((near[0] - near[1:]).sign() + 1) / 2


def kendall_tau(
    values: Sequence[float] | Tensor, others: Sequence[float] | Tensor
) -> float:
    """Kendall's tau-b of two scores of the same things, in [-1, 1].

    Pairs that both order alike count 1, pairs ordered in opposite ways -1; ties make
    the rest smaller. 0 if a score is the same for all, since then it orders nothing.

    Args:
        values: (things,).
        others: (things,).

    Raises:
        PersoError: the numbers of things differ.
    """
    a, b = (torch.as_tensor(v, dtype=torch.float64) for v in (values, others))
    if a.shape != b.shape:
        raise PersoError(
            f"There are {len(a)} values and {len(b)} others: give two scores of the "
            "same things."
        )
    a, b = ((v[:, None] - v).sign() for v in (a, b))
    ordered = (a.square().sum() * b.square().sum()).sqrt()
    return ((a * b).sum() / ordered).item() if ordered > 0 else 0.0
