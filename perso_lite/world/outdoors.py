"""Places under the sky, and one under water."""

import math

import torch
from torch import Tensor

from perso_lite.world.backdrops import backdrop, between
from perso_lite.world.looks import WHITE
from perso_lite.world.shapes import SPOTTED, Color, Drawing, Number


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
    """Draw a pine.

    Args:
        d: the drawing to add to.
        x: its middle.
        y: the middle of its trunk.
        size: its height is about one and a third of it.
        color: of the branches.
    """
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
