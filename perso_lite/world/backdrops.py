"""What all places share.

A mood is eight numbers in [0, 1] that no caption mentions: where the horizon lies, how
warm the light is, where the trees stand.
"""

import math

import torch
from torch import Tensor

from perso_lite.world.shapes import Color, Drawing, Number

MOOD_NUMBERS = 8


def between(mood: Tensor, index: int, low: float, high: float) -> Tensor:
    """Number `index` of the mood, stretched to [low, high], `(batch,)`."""
    return low + (high - low) * mood[:, index]


def backdrop(d: Drawing, top: Color, floor: Color, horizon: Number, **floor_kind):
    """Everything above the horizon, then everything below it."""
    d.add(0, 0, 1.6, 1.6, n=20, color=top, shade=0.14)
    depth = (1.3 - horizon) / 2
    d.add(0, horizon + depth, 1.6, depth, n=24, color=floor, shade=0.25, **floor_kind)


def hues(angle: Tensor, strength: float, level: float) -> Tensor:
    """Colours `(batch, 3)` around the wheel; `angle` `(batch,)` runs from 0 to 1."""
    thirds = torch.tensor([0.0, 1 / 3, 2 / 3], device=angle.device)
    return level + strength * torch.cos(2 * math.pi * (angle[:, None] - thirds))
