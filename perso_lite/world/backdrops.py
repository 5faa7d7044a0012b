"""What all places share.

A mood is eight numbers in [0, 1] that no caption mentions: where the horizon lies, how
warm the light is, where the trees are.
"""

import math

import torch
from torch import Tensor

from perso_lite.world.shapes import Color, Drawing, Number

MOOD_NUMBERS = 8


def between(mood: Tensor, index: int, low: float, high: float) -> Tensor:
    """One number of the mood, scaled to [low, high], `(batch,)`.

    Args:
        mood: `(batch, 8)` in [0, 1].
        index: which of the numbers.
        low: the value at 0.
        high: the value at 1.
    """
    return low + (high - low) * mood[:, index]


def backdrop(d: Drawing, top: Color, floor: Color, horizon: Number, **floor_kind):
    """Draw everything above the horizon, then everything below it.

    Args:
        d: the drawing to add to.
        top: color above the horizon.
        floor: color below it.
        horizon: its height, from -1 (top) to 1.
        floor_kind: more arguments of the floor's shape, as in `Drawing.add`.
    """
    d.add(0, 0, 1.6, 1.6, n=20, color=top, shade=0.14)
    depth = (1.3 - horizon) / 2
    d.add(0, horizon + depth, 1.6, depth, n=24, color=floor, shade=0.25, **floor_kind)


def hues(angle: Tensor, strength: float, level: float) -> Tensor:
    """Colors `(batch, 3)` of the color wheel; `angle` `(batch,)` runs from 0 to 1."""
    thirds = torch.tensor([0.0, 1 / 3, 2 / 3], device=angle.device)
    return level + strength * torch.cos(2 * math.pi * (angle[:, None] - thirds))
