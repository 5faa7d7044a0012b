"""Twelve places (and a plain studio), each one function from a mood to shapes.

A mood is eight numbers in [0, 1] that no caption mentions: where the horizon lies, how
warm the light is, where the trees stand. Places fill the whole picture and are drawn
first; `ground` is the height at which things stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .shapes import CHECKED, SPOTTED, STRIPED, Color, Drawing, Number
from .toys import GOLD, INK, WHITE

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


def studio(d: Drawing, mood: Tensor) -> None:
    wall = hues(mood[:, 0], 0.07, 0.84)
    backdrop(d, wall, wall * 0.9, between(mood, 1, 0.3, 0.5))


def beach(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.1, 0.3)
    backdrop(d, (0.55, 0.82, 0.97), (0.95, 0.85, 0.58), h)
    d.add(0, h - 0.1, 1.6, 0.22, n=20, color=(0.13, 0.52, 0.8), shade=0.1)
    d.add(0, h + 0.1, 1.6, 0.035, n=20, color=WHITE, soft=0.03)
    d.add(
        between(mood, 1, -0.8, 0.8),
        between(mood, 2, -0.8, -0.55),
        0.17,
        color=(1.0, 0.92, 0.45),
        shade=0,
    )
    side = torch.sign(mood[:, 3] - 0.5)
    d.add(side * 0.82, -0.1, 0.05, 0.5, n=4, angle=side * 0.12, color=(0.55, 0.36, 0.2))
    for turn in (-1.3, -0.5, 0.3, 1.1):
        d.add(
            side * 0.88 + 0.2 * math.sin(turn),
            -0.58 + 0.05 * turn * turn,
            0.27,
            0.065,
            angle=turn * 0.6,
            color=(0.2, 0.6, 0.3),
        )


def pine(d: Drawing, x: Number, y: Number, size: Number, color: Color) -> None:
    d.add(x, y, size * 0.08, size * 0.25, n=6, color=(0.42, 0.28, 0.18))
    for lift, width in ((0.35, 0.42), (0.7, 0.32)):
        d.add(
            x, y - size * lift, size * width, size * 0.36, n=6, taper=0.92, color=color
        )


def snow(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.15, 0.3)
    backdrop(d, (0.72, 0.83, 0.93), (0.96, 0.98, 1.0), h)
    d.add(
        between(mood, 1, -0.8, 0.8),
        h + 0.2,
        1.0,
        0.32,
        color=(0.93, 0.96, 1.0),
        shade=0.1,
    )
    for i, x in enumerate((-0.8, 0.75, 0.35)):
        pine(
            d,
            between(mood, i + 2, x - 0.15, x + 0.15),
            h - 0.02,
            0.75 - 0.15 * i,
            (0.75, 0.87, 0.87),
        )
    for i in range(9):
        d.add(
            math.sin(i * 2.4) * 0.9,
            math.cos(i * 1.7) * 0.75 - 0.2,
            0.04,
            color=WHITE,
            shade=0,
        )


def forest(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.25, 0.4)
    backdrop(d, (0.42, 0.62, 0.42), (0.25, 0.42, 0.18), h)
    d.add(0, h, 1.5, 0.5, n=3, color=(0.2, 0.42, 0.24), shade=0.1)
    for i, x in enumerate((-0.9, -0.48, 0.5, 0.92)):
        at = between(mood, i + 1, x - 0.12, x + 0.12)
        d.add(at, -0.2, 0.085, 0.72, n=8, color=(0.36, 0.24, 0.15))
    for x, y, size in (
        (-0.9, -0.85, 0.42),
        (-0.35, -1.0, 0.42),
        (0.3, -1.0, 0.45),
        (0.9, -0.85, 0.42),
    ):
        d.add(x, y, size, size * 0.8, color=(0.13, 0.4, 0.2))


def city(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.3, 0.42)
    backdrop(d, (0.76, 0.78, 0.88), (0.42, 0.42, 0.46), h)
    for i, x in enumerate((-0.85, 0.84, -0.42, 0.4, 0.0)):
        tall = between(mood, i + 1, 0.35, 0.75)
        wall = (0.45 + 0.06 * i, 0.47, 0.58 - 0.05 * i)
        d.add(
            x,
            h - tall,
            0.24,
            tall,
            n=12,
            color=wall,
            color2=(1.0, 0.93, 0.6),
            pattern=SPOTTED,
            frequency=7,
        )
    d.add(0, h + 0.06, 1.6, 0.05, n=20, color=(0.68, 0.68, 0.7))
    for x in (-0.7, 0.0, 0.7):
        d.add(x, 0.82, 0.18, 0.03, n=6, color=(0.95, 0.9, 0.6))


def desert(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.15, 0.3)
    backdrop(d, (0.99, 0.8, 0.55), (0.9, 0.62, 0.34), h)
    d.add(between(mood, 1, -0.7, 0.7), -0.55, 0.22, color=(1.0, 0.55, 0.3), shade=0.1)
    d.add(
        between(mood, 2, -0.9, -0.3),
        h - 0.28,
        0.4,
        0.34,
        n=8,
        taper=0.96,
        color=(0.8, 0.55, 0.32),
    )
    d.add(
        between(mood, 3, 0.4, 0.9),
        h - 0.18,
        0.3,
        0.24,
        n=8,
        taper=0.96,
        color=(0.85, 0.6, 0.36),
    )
    d.add(
        between(mood, 4, -1.0, 0.0),
        h + 0.35,
        1.0,
        0.35,
        color=(0.93, 0.68, 0.4),
        shade=0.3,
    )
    d.add(
        between(mood, 5, 0.3, 1.1),
        h + 0.45,
        0.9,
        0.35,
        color=(0.87, 0.58, 0.3),
        shade=0.3,
    )


def kitchen(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.3, 0.42)
    backdrop(d, (0.93, 0.95, 0.92), (0.62, 0.42, 0.27), h)
    d.add(
        0,
        h - 0.55,
        1.6,
        0.55,
        n=20,
        color=(0.9, 0.96, 0.95),
        color2=(0.62, 0.84, 0.85),
        pattern=CHECKED,
        frequency=4,
    )
    d.add(0, -0.88, 1.6, 0.16, n=20, color=(0.72, 0.5, 0.33))
    for i, x in enumerate((-0.8, -0.5, 0.5, 0.8)):
        d.add(x, -0.62, 0.02, 0.12, n=6, color=INK)
        d.add(x, -0.44, between(mood, i + 1, 0.08, 0.14), 0.1, color=(0.75, 0.3, 0.25))
    d.add(0, h + 0.05, 1.6, 0.06, n=20, color=(0.87, 0.84, 0.78))


def bedroom(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.3, 0.42)
    paper = hues(mood[:, 1], 0.08, 0.8)
    backdrop(d, paper, (0.55, 0.36, 0.24), h)
    d.add(
        0,
        h - 0.8,
        1.6,
        0.8,
        n=20,
        color=paper,
        color2=paper * 0.88,
        pattern=STRIPED,
        frequency=5,
        angle=math.pi / 2,
    )
    at = between(mood, 2, -0.6, 0.6)
    d.add(at, -0.45, 0.36, 0.36, n=12, color=WHITE)
    d.add(at, -0.45, 0.3, 0.3, n=12, color=(0.5, 0.75, 0.95))
    d.add(at, -0.45, 0.03, 0.33, n=12, color=WHITE)
    d.add(at, -0.45, 0.33, 0.03, n=12, color=WHITE)
    d.add(0, h + 0.02, 1.6, 0.03, n=20, color=WHITE)
    d.add(0, 0.85, 1.0, 0.22, color=hues(mood[:, 3], 0.2, 0.6), shade=0.1)


def moon(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.2, 0.35)
    backdrop(d, (0.05, 0.05, 0.13), (0.62, 0.62, 0.66), h)
    for i in range(10):
        d.add(
            math.sin(i * 2.1) * 0.95,
            -0.45 + math.cos(i * 3.7) * 0.5,
            0.025,
            color=WHITE,
            shade=0,
        )
    x, y = between(mood, 1, -0.75, 0.75), between(mood, 2, -0.8, -0.5)
    d.add(x, y, 0.2, color=(0.2, 0.45, 0.85), shade=0.3)
    d.add(x + 0.05, y - 0.03, 0.1, 0.07, color=(0.35, 0.7, 0.4), angle=0.5)
    for i, (cx, cy) in enumerate(
        ((-0.7, 0.55), (0.7, 0.5), (-0.35, 0.85), (0.5, 0.88))
    ):
        d.add(
            cx,
            cy,
            between(mood, i + 3, 0.1, 0.2),
            0.06,
            color=(0.46, 0.46, 0.5),
            shade=-0.3,
        )


def underwater(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.5, 0.65)
    d.add(0, 0, 1.6, 1.6, n=20, color=(0.1, 0.5, 0.72), shade=0.45)
    d.add(0, h + 0.4, 1.6, 0.4, n=20, color=(0.75, 0.72, 0.5), shade=0.2)
    for i, x in enumerate((-0.88, -0.66, 0.64, 0.88)):
        tall = between(mood, i + 1, 0.3, 0.55)
        d.add(
            x,
            h - tall * 0.7,
            0.07,
            tall,
            angle=0.15 * (-1) ** i,
            color=(0.1, 0.5 + 0.08 * i, 0.35),
        )
    for i in range(6):
        d.add(
            math.sin(i * 2.3) * 0.75,
            -0.8 + 0.24 * i,
            0.05 + 0.012 * i,
            hollow=0.028,
            color=(0.85, 0.96, 1.0),
            shade=0,
        )


def meadow(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.15, 0.3)
    backdrop(d, (0.5, 0.78, 0.98), (0.45, 0.76, 0.3), h)
    d.add(
        between(mood, 1, -0.8, 0.8),
        h + 0.18,
        0.9,
        0.34,
        color=(0.4, 0.72, 0.3),
        shade=0.2,
    )
    x, y = between(mood, 2, -0.7, 0.7), between(mood, 3, -0.8, -0.55)
    for dx, size in ((-0.18, 0.12), (0.0, 0.17), (0.19, 0.13)):
        d.add(x + dx, y, size * 1.25, size * 0.8, color=WHITE, shade=0.1)
    colors = ((0.98, 0.4, 0.5), (1.0, 0.9, 0.3), (0.9, 0.5, 0.95))
    for i in range(9):
        d.add(
            -0.9 + 0.225 * i, 0.62 + 0.25 * math.sin(i * 2.7), 0.06, color=colors[i % 3]
        )


def stage(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.4, 0.52)
    backdrop(d, (0.22, 0.08, 0.14), (0.6, 0.38, 0.22), h)
    velvet = dict(
        color=(0.78, 0.1, 0.16), color2=(0.52, 0.05, 0.1), pattern=STRIPED, n=12
    )
    for side in (-1, 1):
        d.add(
            side * 0.86, h - 0.9, 0.95, 0.28, frequency=6, angle=math.pi / 2, **velvet
        )
    d.add(0, -0.95, 0.2, 1.4, frequency=6, angle=math.pi / 2, **velvet)
    d.add(0, -0.74, 1.4, 0.045, n=12, color=GOLD)
    d.add(
        0,
        -0.1,
        0.75,
        1.0,
        n=8,
        taper=0.6,
        color=(1.0, 0.95, 0.75),
        opacity=0.22,
        soft=0.2,
        shade=0,
    )
    d.add(0, 0.8, 0.85, 0.2, color=(1.0, 0.9, 0.65), opacity=0.55, soft=0.1, shade=0)


def library(d: Drawing, mood: Tensor) -> None:
    h = between(mood, 0, 0.4, 0.5)
    backdrop(d, (0.4, 0.26, 0.17), (0.5, 0.2, 0.22), h)
    for row in range(4):
        y = h - 0.28 - 0.36 * row
        for i, x in enumerate((-0.66, 0.0, 0.66)):
            color = hues(mood[:, 1 + (row + i) % 6] + 0.3 * i, 0.28, 0.55)
            d.add(
                x,
                y,
                0.14,
                0.3,
                n=12,
                angle=math.pi / 2,
                color=color,
                color2=color * 0.45,
                pattern=STRIPED,
                frequency=6,
            )
        d.add(0, y + 0.17, 1.6, 0.035, n=12, color=(0.66, 0.45, 0.28))


PLACES: dict[str, Callable[[Drawing, Tensor], None]] = {
    f.__name__: f
    for f in (
        beach, snow, forest, city, desert, kitchen, bedroom, moon, underwater, meadow,
        stage, library,
    )
}  # fmt: skip
