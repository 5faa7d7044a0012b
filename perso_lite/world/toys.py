"""Sixteen classes of toys, each one function from a look to shapes.

A `Look` is what makes one toy differ from its sisters: twelve numbers in [0, 1] that
no caption ever mentions (ears, limbs, muzzle, eyes, hues), a main and an accent colour,
a pattern, and a *mark* without a word (a badge, a patch, a two-tone part). The first
thing a caption can say about a toy is its class; colour and pattern come next; the
rest is what personalization has to learn.

Each function draws into the frame [-1, 1] x [-1, 1] with the ground at y = 1 and
returns where accessories go.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .shapes import PLAIN, Drawing, Number

INK = (0.12, 0.10, 0.12)
WHITE = (0.98, 0.97, 0.95)
CREAM = (0.96, 0.88, 0.74)
GLASS = (0.70, 0.87, 0.95)
GOLD = (0.98, 0.80, 0.25)

MARKS = ("none", "badge", "diamond", "patch", "band")
LOOK_NUMBERS = 12


@dataclass
class Look:
    """What one toy looks like, for a batch of toys.

    `numbers` `(batch, 12)` in [0, 1]; `main`, `accent`, `mark_color` `(batch, 3)`;
    `pattern` and `mark` `(batch,)` hold indices (see `MARKS`).
    """

    numbers: Tensor
    main: Tensor
    accent: Tensor
    pattern: Tensor
    mark: Tensor
    mark_color: Tensor

    def between(self, index: int, low: float, high: float) -> Tensor:
        """Number `index` of the look, stretched to [low, high], `(batch,)`."""
        return low + (high - low) * self.numbers[:, index]

    def coat(self) -> dict:
        """Arguments that give a shape the main colour and the pattern."""
        frequency = 3.0 + 2.0 * self.numbers[:, 11]
        return dict(
            color=self.main,
            color2=contrast(self.main),
            pattern=self.pattern,
            frequency=frequency * 1.6,
        )


@dataclass
class Anchors:
    """Where accessories and marks go, in the toy's own frame."""

    top: tuple[Number, Number, Number]  # x, y, width of the head's top
    eyes: tuple[Number, Number, Number]  # x, y, half distance
    neck: tuple[Number, Number, Number]  # x, y, half width
    hand: tuple[Number, Number]  # where a balloon's string is held


def contrast(color: Tensor) -> Tensor:
    """A second colour `(batch, 3)` that can be told from the first: pale or dark."""
    light = color.mean(1, keepdim=True) > 0.62
    pale = 0.25 * color + 0.75 * torch.tensor(WHITE, device=color.device)
    return torch.where(light, 0.45 * color, pale)


def eyes(d: Drawing, look: Look, x: Number, y: Number, apart: Number, size: Number):
    """Two eyes of one of three kinds (buttons, round white ones, tall ones)."""
    kind = look.numbers[:, 6]
    white = (kind > 0.33).float()
    tall = 1 + 0.35 * (kind > 0.66).float()
    for side in (-1, 1):
        at = x + side * apart
        d.add(at, y, size * 1.25, size * 1.3 * tall, color=WHITE, opacity=white)
        d.add(at, y, size * 0.8, size * 0.85 * tall, color=INK, shade=0)
        d.add(at + size * 0.25, y - size * 0.35, size * 0.3, color=WHITE, shade=0)


def mark(d: Drawing, look: Look, x: Number, y: Number, size: Number):
    """The wordless mark: at most one of the four shapes is visible."""
    color = look.mark_color

    def shown(name: str) -> Tensor:
        return (look.mark == MARKS.index(name)).float()

    d.add(x, y, size, color=color, shade=0.1, opacity=shown("badge"))
    d.add(
        x,
        y,
        size * 1.2,
        color=color,
        n=1.0,
        angle=0,
        shade=0.1,
        opacity=shown("diamond"),
    )
    d.add(
        x + size * 0.9,
        y - size * 0.4,
        size * 1.7,
        size * 1.2,
        color=color,
        angle=0.5,
        shade=0.1,
        opacity=shown("patch"),
    )
    d.add(
        x, y, size * 2.2, size * 0.5, color=color, n=6, shade=0.1, opacity=shown("band")
    )


def teddy(d: Drawing, look: Look) -> Anchors:
    ear, girth = look.between(0, 0.13, 0.24), look.between(1, 0.42, 0.58)
    limb, muzzle = look.between(2, 0.14, 0.22), look.between(3, 0.17, 0.27)
    spread, arm = look.between(4, 0.28, 0.42), look.between(5, -0.5, 0.9)
    d.pair(0.3, 0.84, limb * 1.2, 0.16, **look.coat())
    d.pair(0.3, 0.86, limb * 0.7, 0.09, color=look.accent)
    d.pair(girth * 0.9, 0.28, limb * 0.8, 0.3, angle=-arm, **look.coat())
    d.add(0, 0.42, girth, 0.48, **look.coat())
    d.add(0, 0.48, girth * 0.6, 0.32, color=look.accent)
    mark(d, look, 0, 0.45, 0.15)
    d.pair(spread, -0.74, ear, **look.coat())
    d.pair(spread, -0.74, ear * 0.55, color=look.accent)
    d.add(0, -0.38, 0.5, 0.44, **look.coat())
    d.add(0, -0.22, muzzle, muzzle * 0.75, color=look.accent)
    d.add(0, -0.3, 0.075, 0.055, color=INK)
    d.add(0, -0.17, 0.09, 0.05, color=INK, hollow=0.03, angle=math.pi, bottom=0)
    eyes(d, look, 0, -0.45, 0.2, look.between(7, 0.06, 0.09))
    return Anchors((0, -0.78, 0.34), (0, -0.45, 0.2), (0, 0.03, 0.34), (0.62, 0.2))


def cat(d: Drawing, look: Look) -> Anchors:
    ear, girth = look.between(0, 0.16, 0.27), look.between(1, 0.36, 0.5)
    cheek, tail = look.between(2, 0.46, 0.58), look.between(3, 0.28, 0.46)
    d.add(0.42, 0.52, tail, 0.38, hollow=0.13, **look.coat())
    d.add(0, 0.45, girth, 0.55, n=2.4, taper=0.2, **look.coat())
    d.add(0, 0.5, girth * 0.5, 0.36, color=look.accent)
    mark(d, look, 0, 0.36, 0.13)
    d.pair(0.17, 0.78, 0.12, 0.24, n=3, **look.coat())
    d.pair(0.17, 0.94, 0.13, 0.07, color=look.accent)
    d.pair(
        cheek * 0.72, -0.72, ear, ear * 1.25, n=6, taper=0.9, angle=0.35, **look.coat()
    )
    d.pair(
        cheek * 0.7, -0.68, ear * 0.5, ear * 0.8, n=6, taper=0.9, angle=0.35,
        color=(0.95, 0.66, 0.66),
    )  # fmt: skip
    d.add(0, -0.35, cheek, 0.4, n=2.3, **look.coat())
    d.add(0, -0.2, 0.2, 0.13, color=look.accent)
    d.add(0, -0.27, 0.06, 0.045, n=1.4, angle=math.pi, color=(0.85, 0.42, 0.45))
    d.pair(0.42, -0.22, 0.18, 0.012, color=WHITE, angle=0.15, shade=0)
    d.pair(0.42, -0.14, 0.18, 0.012, color=WHITE, angle=-0.1, shade=0)
    eyes(d, look, 0, -0.4, 0.22, look.between(7, 0.07, 0.1))
    return Anchors((0, -0.72, 0.3), (0, -0.4, 0.22), (0, 0.02, 0.3), (0.45, 0.35))


def dog(d: Drawing, look: Look) -> Anchors:
    ear, drop = look.between(0, 0.12, 0.19), look.between(1, 0.26, 0.42)
    girth, snout = look.between(2, 0.36, 0.5), look.between(3, 0.18, 0.28)
    tail = look.between(4, 0.4, 1.2)
    d.add(-0.5, 0.35, 0.09, 0.36, angle=-tail, n=3, **look.coat())
    d.add(0, 0.42, girth, 0.5, n=2.6, **look.coat())
    d.add(0, 0.48, girth * 0.55, 0.34, color=look.accent)
    d.pair(girth * 0.7, 0.76, 0.15, 0.24, n=3.5, **look.coat())
    d.pair(girth * 0.7, 0.94, 0.17, 0.07, color=look.accent)
    d.add(0, -0.36, 0.44, 0.42, n=2.8, **look.coat())
    d.add(
        0.2,
        -0.44,
        0.2,
        0.22,
        color=look.accent,
        opacity=(look.numbers[:, 5] > 0.5).float(),
    )
    d.pair(
        0.46, -0.34 + drop * 0.3, ear, drop, n=2.4, angle=-0.25, color=look.main * 0.72
    )
    d.add(0, -0.14, snout, 0.2, n=2.6, color=look.accent)
    d.add(0, -0.24, 0.11, 0.075, color=INK)
    d.add(0, -0.02, 0.1, 0.07, hollow=0.03, angle=math.pi, bottom=0, color=INK)
    d.add(
        0.02,
        0.07,
        0.07,
        0.1,
        color=(0.93, 0.45, 0.5),
        opacity=(look.numbers[:, 8] > 0.4).float(),
    )
    mark(d, look, 0, 0.42, 0.13)
    eyes(d, look, 0, -0.45, 0.2, look.between(7, 0.06, 0.09))
    return Anchors((0, -0.74, 0.32), (0, -0.45, 0.2), (0, 0.1, 0.32), (0.5, 0.4))


def rabbit(d: Drawing, look: Look) -> Anchors:
    length, width = look.between(0, 0.32, 0.5), look.between(1, 0.1, 0.16)
    lean, girth = look.between(2, 0.0, 0.45), look.between(3, 0.4, 0.54)
    d.pair(0.2, -0.5 - length * 0.55, width, length, angle=lean, n=2.2, **look.coat())
    d.pair(
        0.2,
        -0.5 - length * 0.5,
        width * 0.5,
        length * 0.75,
        angle=lean,
        color=(0.96, 0.7, 0.72),
    )
    d.add(girth * 0.95, 0.62, 0.16, color=look.accent)
    d.add(0, 0.5, girth, 0.46, **look.coat())
    d.add(0, 0.58, girth * 0.6, 0.32, color=look.accent)
    mark(d, look, 0, 0.5, 0.13)
    d.pair(0.27, 0.92, 0.24, 0.1, **look.coat())
    d.pair(0.2, 0.32, 0.09, 0.18, angle=0.3, **look.coat())
    d.add(0, -0.2, 0.42, 0.38, **look.coat())
    d.pair(0.13, -0.06, 0.14, 0.11, color=look.accent)
    d.add(0, 0.04, 0.05, 0.07, n=6, color=WHITE)
    d.add(0, -0.14, 0.06, 0.045, color=(0.9, 0.45, 0.5))
    eyes(d, look, 0, -0.27, 0.19, look.between(7, 0.065, 0.095))
    return Anchors((0, -0.52, 0.28), (0, -0.27, 0.19), (0, 0.15, 0.3), (0.45, 0.35))


def bird(d: Drawing, look: Look) -> Anchors:
    girth, wing = look.between(0, 0.46, 0.6), look.between(1, 0.28, 0.42)
    beak, tail = look.between(2, 0.13, 0.26), look.between(3, 0.16, 0.28)
    crest = look.between(4, 0.0, 0.24)
    orange = (0.97, 0.6, 0.15)
    for x in (-0.05, 0.2):
        d.add(x, 0.84, 0.03, 0.16, n=6, color=orange)
        d.add(x + 0.05, 0.97, 0.11, 0.035, color=orange)
    d.add(-0.72, 0.3, tail, 0.3, n=6, taper=0.6, angle=1.0, color=look.main * 0.75)
    d.add(-0.05, 0.25, girth, 0.46, angle=-0.25, **look.coat())
    d.add(0.12, 0.4, girth * 0.6, 0.28, color=look.accent, angle=-0.3)
    for lean in (-0.5, 0.0, 0.5):
        d.add(
            0.22 + lean * 0.3,
            -0.84,
            0.05,
            crest + 0.02,
            angle=lean,
            color=look.main * 0.75,
        )
    d.add(0.26, -0.38, 0.4, 0.38, **look.coat())
    d.add(
        0.62 + beak * 0.3,
        -0.3,
        0.12,
        beak * 1.3,
        n=5,
        taper=0.95,
        angle=math.pi / 2,
        color=orange,
    )
    d.add(-0.16, 0.22, wing, 0.24, angle=0.35, color=look.main * 0.72)
    d.add(-0.2, 0.17, wing * 0.7, 0.13, angle=0.35, color=look.accent)
    mark(d, look, 0.26, 0.32, 0.12)
    eyes(d, look, 0.36, -0.42, 0.15, look.between(7, 0.065, 0.1))
    return Anchors(
        (0.26, -0.72, 0.28), (0.36, -0.42, 0.16), (0.2, -0.04, 0.3), (-0.3, 0.1)
    )


def fish(d: Drawing, look: Look) -> Anchors:
    height, length = look.between(0, 0.4, 0.62), look.between(1, 0.58, 0.74)
    tail, fin = look.between(2, 0.26, 0.44), look.between(3, 0.16, 0.34)
    d.add(-0.74, 0.2, tail, 0.28, n=5, taper=0.85, angle=math.pi / 2, color=look.accent)
    d.add(
        0.0,
        0.2 - height * 0.95,
        fin * 1.4,
        fin,
        n=3,
        taper=0.6,
        angle=-0.35,
        color=look.accent,
    )
    d.add(
        0.0,
        0.2 + height * 0.9,
        fin,
        fin * 0.7,
        n=3,
        taper=-0.6,
        angle=0.35,
        color=look.accent,
    )
    d.add(0.08, 0.2, length, height, n=1.9, **look.coat())
    d.add(0.3, 0.34, length * 0.45, height * 0.5, color=look.accent, opacity=0.75)
    mark(d, look, 0.0, 0.14, 0.14)
    d.add(-0.08, 0.3, 0.14, 0.2, angle=1.9, taper=0.5, color=look.main * 0.7)
    d.add(0.64, 0.3, 0.1, 0.06, hollow=0.03, angle=math.pi, bottom=0, color=INK)
    size = look.between(7, 0.09, 0.13)
    d.add(0.4, 0.06, size * 1.3, color=WHITE)
    d.add(0.42, 0.06, size * 0.75, color=INK, shade=0)
    d.add(0.46, 0.02, size * 0.28, color=WHITE, shade=0)
    return Anchors(
        (0.2, -0.22, 0.28), (0.42, 0.06, 0.16), (0.12, 0.3, 0.3), (-0.1, 0.4)
    )


def robot(d: Drawing, look: Look) -> Anchors:
    head, body = look.between(0, 0.36, 0.5), look.between(1, 0.38, 0.54)
    corner, antenna = look.between(2, 4, 9), look.between(3, 0.08, 0.2)
    metal = (0.62, 0.65, 0.7)
    d.add(0, -0.8, 0.025, antenna, n=6, color=metal)
    d.add(0, -0.82 - antenna, 0.08, color=look.accent)
    d.pair(body * 0.5, 0.84, 0.1, 0.16, n=6, color=metal)
    d.pair(body * 0.5, 0.94, 0.17, 0.07, n=5, color=look.main * 0.7)
    d.pair(
        body + 0.1, 0.34, 0.08, 0.28, n=4, angle=look.between(4, -0.5, 0.1), color=metal
    )
    d.pair(body + 0.15, 0.6, 0.11, color=look.accent)
    d.add(0, 0.36, body, 0.4, n=corner, **look.coat())
    d.add(0, 0.38, body * 0.62, 0.24, n=6, color=look.accent)
    mark(d, look, 0, 0.36, 0.11)
    d.add(0, -0.08, 0.14, 0.06, n=6, color=metal)
    d.pair(head + 0.04, -0.42, 0.07, 0.12, n=4, color=metal)
    d.add(0, -0.42, head, 0.34, n=corner, **look.coat())
    d.add(0, -0.22, 0.2, 0.055, n=6, color=INK, color2=WHITE, pattern=3, frequency=6)
    eyes(d, look, 0, -0.48, 0.18, look.between(7, 0.075, 0.11))
    return Anchors((0, -0.74, 0.32), (0, -0.48, 0.18), (0, -0.05, 0.28), (0.62, 0.55))


def mug(d: Drawing, look: Look) -> Anchors:
    width, height = look.between(0, 0.44, 0.6), look.between(1, 0.5, 0.68)
    taper, handle = look.between(2, -0.16, 0.12), look.between(3, 0.2, 0.32)
    middle = 1 - height
    d.add(
        width + 0.06,
        middle,
        handle,
        handle * 1.2,
        hollow=look.between(4, 0.09, 0.14),
        color=look.main * 0.85,
    )
    d.add(0, middle, width, height, n=look.between(5, 4, 8), taper=taper, **look.coat())
    d.add(0, middle + height * 0.75, width * 0.95, 0.07, n=4, color=look.accent)
    rim = middle - height + 0.03
    d.add(0, rim, width * (1 - taper) * 0.98, 0.13, color=look.accent)
    d.add(
        0,
        rim + 0.01,
        width * (1 - taper) * 0.84,
        0.085,
        color=(0.33, 0.2, 0.14),
        shade=0.5,
    )
    for x, tall in ((-0.16, 0.14), (0.1, 0.2)):
        d.add(
            x, rim - 0.28, 0.035, tall, color=WHITE, opacity=0.55, soft=0.06, angle=0.25
        )
    mark(d, look, 0, middle + 0.05, 0.16)
    return Anchors(
        (0, rim, width * 0.8),
        (0, middle - 0.15, 0.2),
        (0, middle + 0.3, width),
        (width + 0.2, middle),
    )


def teapot(d: Drawing, look: Look) -> Anchors:
    girth, height = look.between(0, 0.46, 0.58), look.between(1, 0.4, 0.52)
    spout, knob = look.between(2, 0.26, 0.4), look.between(3, 0.07, 0.13)
    middle = 0.96 - height
    d.add(-girth - 0.05, middle, 0.22, 0.26, hollow=0.1, color=look.main * 0.8)
    d.add(
        girth + 0.08,
        middle - 0.05,
        0.1,
        spout,
        n=4,
        taper=0.35,
        angle=0.75,
        color=look.main * 0.85,
    )
    d.add(0, middle + height * 0.95, girth * 0.6, 0.07, n=4, color=look.accent)
    d.add(0, middle, girth, height, n=look.between(4, 2, 3), **look.coat())
    d.add(0, middle - height * 0.86, girth * 0.56, 0.13, color=look.accent)
    d.add(0, middle - height * 0.86 - 0.14 - knob * 0.4, knob, color=look.main * 0.7)
    mark(d, look, 0, middle + 0.04, 0.15)
    return Anchors(
        (0, middle - height - 0.08, 0.28),
        (0, middle - 0.12, 0.2),
        (0, middle + 0.26, girth * 0.9),
        (-girth - 0.2, middle),
    )


def lamp(d: Drawing, look: Look) -> Anchors:
    shade, height = look.between(0, 0.44, 0.62), look.between(1, 0.28, 0.42)
    taper, stem = look.between(2, 0.15, 0.5), look.between(3, 0.04, 0.09)
    metal = look.accent * 0.75
    d.add(0, -0.3, 0.85, 0.8, color=(1.0, 0.93, 0.6), opacity=0.3, soft=0.5, shade=0)
    d.add(0, 0.9, look.between(4, 0.26, 0.44), 0.1, color=metal)
    d.add(0, 0.4, stem, 0.5, n=6, color=metal)
    d.add(0, 0.3, stem * 1.0 + look.between(5, 0.0, 0.16), 0.14, color=look.accent)
    d.add(0, -0.34 + height, 0.12, color=(1.0, 0.95, 0.7), shade=0)
    d.add(0, -0.36, shade, height, n=8, taper=taper, **look.coat())
    d.add(
        0,
        -0.36 + height * 0.9,
        shade * (1 + taper * 0.9),
        0.045,
        n=4,
        color=look.accent,
    )
    mark(d, look, 0, -0.34, 0.14)
    return Anchors(
        (0, -0.36 - height, 0.26), (0, -0.38, 0.17), (0, 0.06, 0.14), (0.1, 0.5)
    )


def clock(d: Drawing, look: Look) -> Anchors:
    corner, size = look.between(0, 2, 4.5), look.between(1, 0.56, 0.68)
    hour, minute = look.between(2, -3, 3), look.between(3, -3, 3)
    bell = look.between(4, 0.0, 0.2)
    middle = 0.94 - size
    d.pair(size * 0.6, 0.94, 0.09, 0.12, angle=0.5, n=3, color=look.accent * 0.7)
    d.pair(0.3, middle - size * 0.95, bell, bell * 0.9, angle=0.5, color=look.accent)
    d.add(0, middle, size, n=corner, **look.coat())
    d.add(0, middle, size * 0.76, n=corner, color=WHITE, shade=0.1)
    for turn in range(4):
        angle = turn * math.pi / 2
        x, y = math.sin(angle), -math.cos(angle)
        d.add(
            x * size * 0.62,
            middle + y * size * 0.62,
            0.045,
            color=look.main * 0.6,
            shade=0,
        )
    mark(d, look, 0, middle + size * 0.32, 0.1)
    for angle, length, width in ((hour, 0.3, 0.045), (minute, 0.46, 0.03)):
        d.add(torch.sin(angle) * length * size * 0.9, middle - torch.cos(angle) * length * size * 0.9, width, length * size, n=4, angle=angle, color=INK, shade=0)  # fmt: skip
    d.add(0, middle, 0.06, color=look.accent)
    return Anchors(
        (0, middle - size, 0.3),
        (0, middle - 0.12, 0.22),
        (0, middle + size * 0.8, 0.4),
        (size, middle),
    )


def car(d: Drawing, look: Look) -> Anchors:
    cabin, roof = look.between(0, 0.38, 0.56), look.between(1, 0.24, 0.38)
    wheel, hood = look.between(2, 0.17, 0.25), look.between(3, 0.2, 0.28)
    shift = look.between(4, -0.14, 0.1)
    top = 0.5 - hood
    d.add(shift, top - roof * 0.5, cabin, roof, n=5, taper=0.25, **look.coat())
    d.add(
        shift - cabin * 0.38,
        top - roof * 0.55,
        cabin * 0.32,
        roof * 0.6,
        n=5,
        taper=0.15,
        color=GLASS,
    )
    d.add(
        shift + cabin * 0.38,
        top - roof * 0.55,
        cabin * 0.32,
        roof * 0.6,
        n=5,
        taper=0.15,
        color=GLASS,
    )
    d.add(0, 0.5, 0.88, hood, n=look.between(5, 3, 6), **look.coat())
    d.add(0, 0.62, 0.86, 0.06, n=6, color=look.accent)
    d.add(0.8, 0.42, 0.08, 0.09, color=(1.0, 0.93, 0.55), shade=0)
    d.add(-0.83, 0.42, 0.05, 0.09, color=(0.88, 0.2, 0.2), shade=0)
    mark(d, look, 0.02, 0.42, 0.12)
    for x in (-0.48, 0.5):
        d.add(x, 0.98 - wheel, wheel, color=INK)
        d.add(x, 0.98 - wheel, wheel * 0.52, color=look.accent)
        d.add(x, 0.98 - wheel, wheel * 0.2, color=INK)
    return Anchors(
        (shift, top - roof * 1.45, 0.32),
        (shift, top - roof * 0.5, 0.2),
        (0, 0.5, 0.5),
        (shift, top - roof),
    )


def boat(d: Drawing, look: Look) -> Anchors:
    hull, mast = look.between(0, 0.62, 0.84), look.between(1, 0.6, 0.8)
    sail, jib = look.between(2, 0.32, 0.5), look.between(3, 0.18, 0.34)
    wood = (0.5, 0.33, 0.2)
    d.add(0, 0.5 - mast, 0.035, mast, n=6, color=wood)
    d.add(
        sail * 0.62 + 0.04,
        0.36 - mast * 0.75,
        sail * 0.55,
        mast * 0.72,
        n=8,
        taper=0.9,
        color=look.accent,
    )
    d.add(
        -jib * 0.62 - 0.03,
        0.42 - mast * 0.6,
        jib * 0.55,
        mast * 0.55,
        n=8,
        taper=0.9,
        color=look.accent * 0.88,
    )
    d.add(0.12, 0.5 - mast * 1.95, 0.13, 0.07, n=4, color=look.main)
    mark(d, look, sail * 0.6, 0.3 - mast * 0.5, 0.1)
    d.add(
        0,
        0.66,
        hull,
        0.28,
        n=look.between(4, 3, 7),
        taper=-look.between(5, 0.2, 0.45),
        **look.coat(),
    )
    d.add(0, 0.44, hull * 1.22, 0.05, n=4, color=look.main * 0.7)
    for x in (-0.35, 0.0, 0.35):
        d.add(x, 0.66, 0.08, color=GLASS)
    return Anchors(
        (0, 0.46 - mast * 1.9, 0.26), (0, 0.3, 0.17), (0, 0.42, 0.5), (-0.5, 0.4)
    )


def rocket(d: Drawing, look: Look) -> Anchors:
    girth, point = look.between(0, 0.28, 0.4), look.between(1, 1.5, 2.2)
    fin, window = look.between(2, 0.2, 0.34), look.between(3, 0.12, 0.19)
    d.add(0, 0.86, girth * 0.6, 0.24, n=1.6, color=(0.98, 0.62, 0.15), shade=0)
    d.add(0, 0.84, girth * 0.35, 0.16, n=1.6, color=(1.0, 0.9, 0.4), shade=0)
    d.pair(
        girth * 0.95,
        0.5,
        fin,
        0.32,
        n=5,
        taper=0.85,
        angle=look.between(4, 0.0, 0.35),
        color=look.accent,
    )
    d.add(0, -0.06, girth, 0.84, n=point, **look.coat())
    d.add(0, -0.06, girth, 0.84, n=point, color=look.accent, bottom=-0.52)
    d.add(0, 0.66, girth * 0.6, 0.1, n=5, color=look.main * 0.6)
    d.add(0, -0.16, window * 1.35, color=look.accent)
    d.add(0, -0.16, window, color=GLASS, shade=0.5)
    mark(d, look, 0, 0.3, 0.11)
    d.add(0, 0.5, 0.06, 0.26, n=3, color=look.accent * 0.85)
    return Anchors((0, -0.72, 0.24), (0, -0.18, 0.15), (0, 0.12, 0.3), (0.35, 0.2))


def cactus(d: Drawing, look: Look) -> Anchors:
    girth, height = look.between(0, 0.2, 0.32), look.between(1, 0.58, 0.76)
    reach, rise = look.between(2, 0.4, 0.54), look.between(3, 0.16, 0.32)
    low, bloom = look.between(4, -0.05, 0.2), look.between(5, 0.0, 0.17)
    top = 0.62 - height * 2
    for side, lift in ((-1, 0.0), (1, -0.2)):
        d.add(
            side * reach * 0.55, low + lift + 0.1, reach * 0.5, 0.1, n=4, **look.coat()
        )
        d.add(
            side * reach,
            low + lift - rise * 0.5,
            0.11,
            rise + 0.1,
            n=2.6,
            **look.coat(),
        )
    d.add(0, 0.62 - height, girth, height, n=3, **look.coat())
    for x in (-0.4, 0.4):
        d.add(
            x * girth,
            0.6 - height,
            0.02,
            height * 0.85,
            color=contrast(look.main),
            opacity=0.6,
        )
    for x, y in ((-0.1, 0.02), (0.1, 0.02), (0, -0.1)):
        d.add(x, top + y, bloom * 0.8, color=(0.96, 0.45, 0.62))
    d.add(0, top, bloom * 0.5, color=GOLD)
    mark(d, look, 0, 0.3 - height * 0.6, 0.11)
    d.add(0, 0.74, 0.38, 0.26, n=7, taper=-0.2, color=look.accent)
    d.add(0, 0.52, 0.48, 0.08, n=5, color=look.accent * 0.85)
    return Anchors(
        (0, top, 0.28),
        (0, 0.15 - height * 0.7, 0.14),
        (0, 0.42, 0.34),
        (reach, low - 0.1),
    )


def mushroom(d: Drawing, look: Look) -> Anchors:
    cap, tall = look.between(0, 0.62, 0.84), look.between(1, 0.52, 0.78)
    stem, bulge = look.between(2, 0.18, 0.32), look.between(3, -0.25, 0.25)
    spot = look.between(4, 0.05, 0.13)
    d.add(0, 0.5, stem, 0.48, n=3.5, taper=bulge, color=CREAM)
    d.pair(stem * 0.9, 0.94, 0.12, 0.06, color=(0.45, 0.68, 0.32))
    d.add(0, 0.12, cap * 0.92, 0.13, color=look.accent * 0.85)
    d.add(0, 0.12, cap, tall, n=look.between(5, 1.9, 2.6), bottom=0, **look.coat())
    for x, y, size in (
        (-0.45, -0.1, 0.9),
        (0.05, -0.36, 1.2),
        (0.46, -0.12, 1.0),
        (-0.2, -0.02, 0.6),
    ):
        d.add(
            x * cap, y * tall + 0.04, spot * size, spot * size * 0.85, color=look.accent
        )
    mark(d, look, 0, 0.56, 0.11)
    eyes(d, look, 0, 0.36, 0.11, look.between(7, 0.045, 0.07))
    return Anchors((0, 0.12 - tall, 0.3), (0, 0.36, 0.12), (0, 0.62, 0.26), (0.3, 0.55))


TOYS: dict[str, Callable[[Drawing, Look], Anchors]] = {
    f.__name__: f
    for f in (
        teddy, cat, dog, rabbit, bird, fish, robot, mug, teapot, lamp, clock, car,
        boat, rocket, cactus, mushroom,
    )
}  # fmt: skip
FAMILIES = {
    "animal": ("teddy", "cat", "dog", "rabbit", "bird", "fish"),
    "thing": ("robot", "mug", "teapot", "lamp", "clock"),
    "vehicle": ("car", "boat", "rocket"),
    "plant": ("cactus", "mushroom"),
}
PATTERNS = ("plain", "striped", "spotted", "checked")
assert PATTERNS.index("plain") == PLAIN
