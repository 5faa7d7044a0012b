"""Judges: small networks that see what a picture shows, and never condition anything.

Four of them come with the library. Each was trained on painted pictures with random
blur and noise, as generated pictures have them (pretrain/judge_training.py), and
measured on fresh ones (`data/judges/accuracy.json`):

* the attribute reader classifies class, color, pattern, place, accessory, style, worded
  augmentation, and the right (or lower) thing in a picture of two;
* the instance encoder puts pictures of the same toy close together and those of other
  toys of its class apart, and finds the subject's mask;
* the face reader does the same for people and estimates their face parameters;
* a small CLIP gives the usual CLIP-I and CLIP-T.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from perso_lite.base import quiet
from perso_lite.errors import PersoError, shortened
from perso_lite.files import DATA_FOLDER
from perso_lite.files.tensors import read_safetensors
from perso_lite.files.writing import write_atomically
from perso_lite.world.accessories import ACCESSORIES
from perso_lite.world.people import THETA
from perso_lite.world.places import PLACES
from perso_lite.world.scenes import AUGMENTATIONS, COLORS
from perso_lite.world.shapes import PATTERNS
from perso_lite.world.styles import STYLES
from perso_lite.world.toys import TOYS

JUDGES_FOLDER = DATA_FOLDER / "judges"
PICTURE_SIZE = 128  # input of the judges; other pictures are resized
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "class": (*TOYS, "person"),
    "color": tuple(COLORS),
    "pattern": PATTERNS,
    "place": ("studio", *PLACES),
    "accessory": ("none", *ACCESSORIES),
    "style": ("none", *STYLES),
    "augmentation": ("none", *AUGMENTATIONS),
    "second class": ("none", *TOYS, "person"),
    "second color": tuple(COLORS),
}
WIDTH = 128  # channels of the grid in which a subject is found
UNKNOWN = -100  # no word for it, so it is neither learned nor judged


def seen_by_judges(pictures: Tensor) -> Tensor:
    """Pictures `(batch, 3, height, width)` at the judges' size, in [-1, 1]."""
    if pictures.shape[-2:] == (PICTURE_SIZE, PICTURE_SIZE):
        return pictures
    size = (PICTURE_SIZE, PICTURE_SIZE)
    return F.interpolate(pictures, size=size, mode="bilinear", antialias=True)


def convolutions(widths: tuple[int, ...]) -> nn.Sequential:
    """3 x 3 convolutions from 3 colors to `widths`; every other one halves the size."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise((3, *widths))):
        layers += [nn.Conv2d(a, b, 3, 2 - i % 2, 1), nn.BatchNorm2d(b), nn.SiLU()]
    return nn.Sequential(*layers)


class AttributeReader(nn.Module):
    """Eight convolutions, and one linear head per attribute."""

    file = "attribute_reader.safetensors"

    def __init__(self):
        super().__init__()
        self.body = convolutions((32, 32, 64, 64, 128, 128, 192, 256))
        self.hidden = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(4096, 512), nn.SiLU()
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(512, len(labels)) for name, labels in ATTRIBUTES.items()}
        )

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Logits `(batch, labels)` per attribute; pictures are in [-1, 1]."""
        features = self.hidden(self.body(seen_by_judges(picture)))
        return [head(features) for head in self.heads.values()]

    @torch.no_grad()
    def read(self, pictures: Tensor) -> Tensor:
        """The labels `(batch, attributes)` of pictures in [-1, 1]."""
        parts = [self(part) for part in pictures.split(256)]
        return torch.cat([torch.stack([s.argmax(1) for s in p], 1) for p in parts])


class SubjectEncoder(nn.Module):
    """Finds the subject's mask and encodes what is under it as a unit vector.

    A picture becomes a 16 x 16 grid of features. A mask estimates how much of each cell
    belongs to the subject. Features are averaged under the mask, separately in a soft
    3 x 3 grid around the subject's middle, so that the place of a mark counts.
    """

    def __init__(self, dim: int = 128):
        super().__init__()
        self.body = convolutions((32, 32, 64, 64, 128, WIDTH))
        self.further = nn.Sequential(
            *[
                layer
                for _ in range(3)
                for layer in (
                    nn.Conv2d(WIDTH, WIDTH, 3, 1, 1), nn.BatchNorm2d(WIDTH), nn.SiLU(),
                )
            ]
        )  # fmt: skip
        self.mask = nn.Conv2d(WIDTH, 1, 1)
        self.describe = nn.Sequential(
            nn.Linear(WIDTH * 9, 256), nn.SiLU(), nn.Linear(256, dim)
        )

    def features(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features `(batch, 1152)`, mask logits `(batch, 16, 16)`."""
        grid = self.body(seen_by_judges(picture))
        grid = grid + self.further(grid)  # (batch, 128, 16, 16)
        logits = self.mask(grid)[:, 0]
        weights = logits.sigmoid()
        pooled = torch.einsum("bchw,bphw->bpc", grid, parts_of(weights))
        return pooled.flatten(1), logits

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures in [-1, 1] to unit vectors `(batch, dim)` and mask logits."""
        pooled, logits = self.features(picture)
        return F.normalize(self.describe(pooled).float(), dim=-1), logits

    @torch.no_grad()
    def find_masks(self, pictures: Tensor) -> Tensor:
        """The subject's mask, `(batch, 1, height, width)` in [0, 1]."""
        logits = torch.cat([self.features(part)[1] for part in pictures.split(256)])
        size = pictures.shape[-2:]
        return F.interpolate(logits[:, None], size=size, mode="bilinear").sigmoid()

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Unit vectors `(batch, dim)` of pictures in [-1, 1]."""
        return torch.cat([self(part)[0] for part in pictures.split(256)])


def parts_of(weights: Tensor) -> Tensor:
    """A subject's mask split into a soft 3 x 3 grid around its middle.

    `weights` are the mask, `(batch, side, side)` in [0, 1]. The result is `(batch, 9,
    side, side)`; each part that is not empty sums to 1.
    """
    side = weights.shape[-1]
    line = torch.arange(side, device=weights.device, dtype=weights.dtype)
    total = weights.sum((1, 2)).clamp(min=1e-3)

    def bands(mass: Tensor) -> Tensor:
        """Mass along one axis `(batch, side)` to three bands `(batch, 3, side)`."""
        middle = (mass * line).sum(1) / total
        spread = ((mass * (line - middle[:, None]) ** 2).sum(1) / total + 0.25).sqrt()
        position = (line - middle[:, None]) / spread[:, None]
        return torch.stack(
            [(-2 * position - 1).sigmoid(), torch.exp(-(position**2)),
             (2 * position - 1).sigmoid()], 1,
        )  # fmt: skip

    rows, columns = bands(weights.sum(2)), bands(weights.sum(1))
    grid = torch.einsum("bik,bjl->bijkl", rows, columns).flatten(1, 2)
    parts = grid * weights[:, None]
    return parts / parts.sum((2, 3), keepdim=True).clamp(min=1e-3)


class InstanceEncoder(SubjectEncoder):
    """Encodes toys: the same toy is near, other toys of its class are far."""

    file = "instance_encoder.safetensors"


class FaceReader(SubjectEncoder):
    """Encodes people: the same person is near, others are far; reads the face too."""

    file = "face_reader.safetensors"

    def __init__(self, dim: int = 128):
        super().__init__(dim)
        self.numbers = nn.Sequential(
            nn.Linear(WIDTH * 9, 256),
            nn.SiLU(),
            nn.Linear(256, len(THETA)),
            nn.Sigmoid(),
        )

    def theta(self, picture: Tensor) -> Tensor:
        """Estimated face parameters `(batch, 18)` in [0, 1]."""
        return self.numbers(self.features(picture)[0])


@dataclass(frozen=True)
class Judges:
    """All judges, ready for use."""

    reader: AttributeReader
    instances: InstanceEncoder
    faces: FaceReader
    clip: CLIPModel
    tokenizer: CLIPTokenizer


def save_judge(judge: nn.Module, folder: Path = JUDGES_FOLDER) -> None:
    """Write a judge in half precision, atomically."""
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in judge.state_dict().items()
    }
    write_atomically(folder / judge.file, save(state))


def load_judge(kind: type[nn.Module], folder: Path = JUDGES_FOLDER) -> nn.Module:
    """Read one judge, in single precision and evaluation mode.

    Raises:
        PersoError: the folder has no such judge, or its weights do not fit.
    """
    path = folder / kind.file
    judge = kind()
    try:
        judge.load_state_dict(read_safetensors(path)[0])
    except (PersoError, RuntimeError) as reason:
        raise _not_loaded(path, reason) from reason
    return judge.eval().requires_grad_(False)


def load_judges(folder: Path = JUDGES_FOLDER) -> Judges:
    """All shipped judges.

    Raises:
        PersoError: a judge is missing or damaged.
    """
    clip, tokenizer = load_clip(folder / "clip", DATA_FOLDER / "base" / "tokenizer")
    return Judges(
        load_judge(AttributeReader, folder),
        load_judge(InstanceEncoder, folder),
        load_judge(FaceReader, folder),
        clip,
        tokenizer,
    )


def load_clip(folder: Path, words: str | Path) -> tuple[CLIPModel, CLIPTokenizer]:
    """The judging CLIP in evaluation mode, and the tokenizer of its text encoder.

    Args:
        folder: of the CLIP.
        words: folder of the tokenizer.

    Raises:
        PersoError: one of them is missing or damaged.
    """
    try:
        with quiet():
            clip = CLIPModel.from_pretrained(folder, use_safetensors=True)
        clip = clip.float().eval().requires_grad_(False)
        return clip, CLIPTokenizer.from_pretrained(words)
    except Exception as reason:  # whatever a damaged folder may cause
        raise _not_loaded(folder, reason) from reason


def _not_loaded(path: Path, reason: Exception) -> PersoError:
    return PersoError(
        f"The judge {path} cannot be loaded ({shortened(reason, 100)}); make it again "
        "with `python -m perso_lite pretrain --stages pictures reader instances faces "
        "clip-judge`."
    )
