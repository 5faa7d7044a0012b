"""F, the face network: what is known of a photo before a person is learned from it.

It makes a feature of a face, for the network of one layer that predicts coefficients
(paper: F is IResNet-100, trained on photos of 360,000 people), and says how many faces
a picture shows. It conditions what is learned, so it must not judge: the judge of
people is another network of another kind (`evaluation/judges.py`).

Ours knows the drawn people of our world. For photos give one of your own: whatever has
the three members of `FaceNetwork`.
"""

import os
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn import functional as F

from perso_lite.base import text_fingerprint
from perso_lite.concepts import Concept
from perso_lite.errors import PersoError
from perso_lite.files import DATA_FOLDER
from perso_lite.files.tensors import read_tensors, write_tensors

FACE_ENCODER_FOLDER = DATA_FOLDER / "face_encoder"
FILE = "face_encoder.safetensors"
SIDE = 64  # pixels that it looks at (ours)
FEATURE_DIM = 64  # ours; paper: 512
NO_FACE, ONE_FACE, SEVERAL_FACES = range(3)
FACE_NUMBERS = 18  # of a drawn face, which it learns to tell, too


class FaceNetwork(Protocol):
    """What a face network has to offer; pictures are (pictures, 3, side, side)."""

    feature_dim: int

    def encode(self, pictures: Tensor) -> Tensor:
        """Features of unit length (pictures, feature_dim), of pictures in [-1, 1]."""

    def count(self, pictures: Tensor) -> Tensor:
        """0, 1, or 2 for several: how many faces each shows, (pictures,)."""


class Block(nn.Module):
    """Two convolutions that are added to what comes in."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, grid: Tensor) -> Tensor:
        """(batch, width, height, width of the grid), the same out."""
        return grid + self.layers(grid)


class FaceEncoder(nn.Module):
    """Our F: patches of 4 pixels, and residual blocks on grids of 16, 8 and 4."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96)):
        super().__init__()
        self.feature_dim = FEATURE_DIM
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4), Block(widths[0])]
        for before, width in pairwise(widths):
            layers += [nn.Conv2d(before, width, 2, 2), Block(width)]
        self.body = nn.Sequential(*layers)  # a 4 x 4 grid
        flat = widths[-1] * 16
        self.feature = nn.Sequential(
            nn.Flatten(), nn.LayerNorm(flat), nn.Linear(flat, FEATURE_DIM)
        )
        self.numbers = nn.Linear(FEATURE_DIM, FACE_NUMBERS)
        self.faces = nn.Linear(widths[-1], 3)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (batch, 64), face numbers (batch, 18) and logits of the count."""
        grid = self.body(seen(pictures))
        feature = self.feature(grid)
        numbers = self.numbers(feature).sigmoid()
        return F.normalize(feature, dim=-1), numbers, self.faces(grid.mean((2, 3)))

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Features of unit length (pictures, 64), of pictures in [-1, 1]."""
        return torch.cat([self(part)[0] for part in pictures.split(256)])

    @torch.no_grad()
    def count(self, pictures: Tensor) -> Tensor:
        """0, 1, or 2 for several: how many faces each shows, (pictures,)."""
        return torch.cat([self(part)[2] for part in pictures.split(256)]).argmax(1)


def seen(pictures: Tensor) -> Tensor:
    """Pictures (batch, 3, height, width) at the size that F looks at."""
    if pictures.shape[-2:] == (SIDE, SIDE):
        return pictures
    return F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", antialias=True)


# -- files -----------------------------------------------------------------------------


def save_face_encoder(
    encoder: FaceEncoder,
    base: StableDiffusionPipeline,
    folder: str | Path | None = None,
) -> Path:
    """Write F in half precision, with the base whose pictures it knows.

    Raises:
        PersoError: the place cannot be written or the disk is full.
    """
    path = Path(folder or FACE_ENCODER_FOLDER) / FILE
    tensors = {name: value.half() for name, value in encoder.state_dict().items()}
    write_tensors(path, tensors, {"text": text_fingerprint(base)})
    return path


def load_face_encoder(
    base: StableDiffusionPipeline, folder: str | Path | None = None
) -> FaceEncoder | None:
    """Our F, in single precision; None if it knows no pictures of such a base.

    Raises:
        PersoError: its file is damaged.
    """
    path = Path(folder or FACE_ENCODER_FOLDER) / FILE
    if not os.path.isfile(path):
        return None
    tensors, header = read_tensors(path)
    if header.get("text") != text_fingerprint(base):
        return None
    encoder = FaceEncoder()
    encoder.load_state_dict({name: value.float() for name, value in tensors.items()})
    return encoder.eval().requires_grad_(False)


# -- photos ----------------------------------------------------------------------------


def checked_encoder(encoder: FaceNetwork | None) -> FaceNetwork:
    """The face network, if there is one.

    Raises:
        PersoError: there is none.
    """
    if encoder is None:
        raise PersoError(
            "No face network knows pictures of this base: give one as face_encoder, or "
            'learn without (source="free", check_face=False). Ours is made by `python '
            "-m perso_lite pretrain --stages face-encoder`."
        )
    return encoder


def check_faces(encoder: FaceNetwork, concept: Concept) -> None:
    """Refuse pictures that do not show one face.

    Raises:
        PersoError: one shows none, or several.
    """
    counts = encoder.count(concept.pixels(2 * SIDE)).tolist()
    for number, count in enumerate(counts):
        if count != ONE_FACE:
            found = "no face" if count == NO_FACE else "several faces"
            raise PersoError(
                f"Picture {number} of {concept.name} (counted from 0) shows {found}, "
                "but a person is learned from one: crop it to that face, leave it out, "
                "or say check_face=False if you see one there."
            )


def feature_of(encoder: FaceNetwork, concept: Concept) -> Tensor:
    """The feature of a person, the mean of all pictures', (feature_dim,)."""
    features = encoder.encode(concept.pixels(2 * SIDE))
    return F.normalize(features.float().mean(0), dim=0)
