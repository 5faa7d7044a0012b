"""Places with walls, and the plain studio."""

import math

from torch import Tensor

from perso_lite.world.backdrops import backdrop, between, hues
from perso_lite.world.looks import GOLD, INK, WHITE
from perso_lite.world.shapes import CHECKED, STRIPED, Drawing


def studio(d: Drawing, mood: Tensor) -> None:
    wall = hues(mood[:, 0], 0.07, 0.84)
    backdrop(d, wall, wall * 0.9, between(mood, 1, 0.3, 0.5))


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
