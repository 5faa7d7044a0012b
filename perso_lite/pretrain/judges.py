"""Judges: small networks that say what a picture shows, and never condition anything.

The attribute reader looks at a picture of one thing and names its class, colour,
pattern, place, accessory and style. It learns from true renders, blurred and noisy at
random as generated pictures are, and is measured on renders of another seed before it
judges anything else.
"""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from perso_lite.pretrain.loop import Modules
from perso_lite.pretrain.pictures import as_tensor, scene_of
from perso_lite.world.accessories import ACCESSORIES
from perso_lite.world.places import PLACES
from perso_lite.world.scenes import COLORS, Scene
from perso_lite.world.shapes import PATTERNS
from perso_lite.world.styles import STYLES
from perso_lite.world.toys import TOYS

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "class": (*TOYS, "person"),
    "color": tuple(COLORS),
    "pattern": PATTERNS,
    "place": ("studio", *PLACES),
    "accessory": ("none", *ACCESSORIES),
    "style": ("none", *STYLES),
}
READER_FILE = "attribute_reader.safetensors"
UNKNOWN = -100  # no word says it, so it is neither learnt nor judged


def truth_of(scene: Scene) -> list[int]:
    """What the reader should say of a scene of one thing, in the order of ATTRIBUTES.

    A colour nobody asked for has no name; the colours of a person have none either.
    """
    thing = scene.things[0]
    person = thing.class_word == "person"
    said = {
        "class": thing.class_word,
        "color": thing.color,
        "pattern": None if person else thing.pattern or "plain",
        "place": scene.place or "studio",
        "accessory": thing.accessory or "none",
        "style": scene.style or "none",
    }
    return [
        UNKNOWN if said[name] is None else labels.index(said[name])
        for name, labels in ATTRIBUTES.items()
    ]


class AttributeReader(nn.Module):
    """Six convolutions and one linear head an attribute."""

    def __init__(self, width: int = 32):
        super().__init__()
        widths = [3, *(width * k for k in (1, 2, 2, 4, 4, 8))]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(a, b, 3, 2 - i % 2, 1), nn.BatchNorm2d(b), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(128 * width, 256), nn.SiLU())
        self.heads = nn.ModuleDict(
            {name: nn.Linear(256, len(labels)) for name, labels in ATTRIBUTES.items()}
        )

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Pictures `(batch, 3, 64, 64)` in [-1, 1] to scores `(batch, labels)` each."""
        features = self.hidden(self.body(picture))
        return [head(features) for head in self.heads.values()]

    @torch.no_grad()
    def read(self, pictures: Tensor) -> Tensor:
        """The label of every attribute, `(batch, attributes)`."""
        parts = [self(part) for part in pictures.split(256)]
        return torch.cat([torch.stack([s.argmax(1) for s in p], 1) for p in parts])


def save_reader(reader: AttributeReader, path: Path) -> None:
    """Write the reader in half precision, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    state = {
        k: v.half() if v.is_floating_point() else v
        for k, v in reader.state_dict().items()
    }
    save_file({k: v.contiguous() for k, v in state.items()}, partial)
    partial.replace(path)


def load_reader(path: Path) -> AttributeReader:
    """Read the shipped reader, in single precision and evaluation mode."""
    reader = AttributeReader()
    reader.load_state_dict(load_file(path))
    return reader.eval().requires_grad_(False)


def readable(seed: int, count: int) -> list[int]:
    """The pictures of one thing without a worded augmentation."""
    scenes = ((i, scene_of(seed, i)) for i in range(count))
    return [i for i, s in scenes if len(s.things) == 1 and not s.augmentation]


def worn_out(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Blur and noise of random strength, as an autoencoder and a sampler leave them."""
    size = picture.shape[-1]
    small = int(torch.randint(size // 2, size + 1, (1,), generator=generator))
    soft = F.interpolate(picture, size=(small, small), mode="area")
    soft = F.interpolate(soft, size=(size, size), mode="bilinear")
    noise = torch.randn(picture.shape, generator=generator).to(picture.device)
    return soft + 0.05 * torch.rand((), generator=generator).item() * noise


def reader_loss(
    pictures: np.ndarray, batch: int, rank: int
) -> Callable[[Modules, int], Tensor]:
    """Cross-entropy of every attribute that has a name."""
    rows_of_one = readable(0, len(pictures))
    truth = torch.tensor([truth_of(scene_of(0, i)) for i in rows_of_one])

    def loss(modules: Modules, step: int) -> Tensor:
        rng = random.Random(f"reader/{step}/{rank}")
        chosen = sorted(rng.choices(range(len(rows_of_one)), k=batch))
        device = next(modules["reader"].parameters()).device
        picture = as_tensor(pictures[[rows_of_one[i] for i in chosen]], device)
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        picture = worn_out(picture, generator).to(memory_format=torch.channels_last)
        target = truth[chosen].to(device)
        scores = modules["reader"](picture)
        losses = [
            F.cross_entropy(score.float(), target[:, i], ignore_index=UNKNOWN)
            for i, score in enumerate(scores)
        ]
        return torch.stack(losses).sum()

    return loss


def right_or_wrong(reader: AttributeReader, pictures: Tensor, truth: Tensor) -> dict:
    """Per attribute, a tensor of 0 and 1 for the pictures that have a true label."""
    right = reader.read(pictures) == truth
    known = truth != UNKNOWN
    return {name: right[known[:, i], i].float() for i, name in enumerate(ATTRIBUTES)}


def bootstrap_interval(values: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % bootstrap interval."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(values), (2000, len(values)), generator=generator)
    low, high = values[rows].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return values.mean().item(), low, high
