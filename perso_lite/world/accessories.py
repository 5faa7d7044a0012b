"""What a toy or a person can wear or hold, drawn on the anchors of its class."""

import math
from collections.abc import Callable

from torch import Tensor

from perso_lite.world.looks import GOLD, INK, WHITE, Anchors
from perso_lite.world.shapes import Drawing


def hat(d: Drawing, at: Anchors, color: Tensor) -> None:
    x, y, width = at.top
    d.add(x, y - width * 0.75, width * 0.72, width * 0.8, n=6, taper=-0.08, color=color)
    d.add(x, y - width * 0.28, width * 0.76, width * 0.17, n=6, color=WHITE)
    d.add(x, y + width * 0.02, width * 1.3, width * 0.17, color=color * 0.75)


def crown(d: Drawing, at: Anchors, color: Tensor) -> None:
    x, y, width = at.top
    for side in (-0.72, 0.0, 0.72):
        tip = dict(n=6, taper=0.9, angle=side * 0.5, color=GOLD)
        d.add(x + side * width, y - width * 0.6, width * 0.34, width * 0.55, **tip)
        d.add(x + side * width * 1.3, y - width * 1.15, width * 0.13, color=color)
    d.add(x, y - width * 0.12, width * 0.98, width * 0.3, n=6, color=GOLD)
    d.add(x, y - width * 0.1, width * 0.17, color=color)


def glasses(d: Drawing, at: Anchors, color: Tensor) -> None:
    x, y, apart = at.eyes
    frame = color * 0.45
    for side in (-1, 1):
        at_x, lens = x + side * apart * 1.1, {"n": 3, "shade": 0.4}
        pane = {"color": (0.75, 0.9, 1.0), "opacity": 0.45}
        d.add(at_x, y, apart * 0.92, apart * 0.8, **pane, **lens)
        rim = {"hollow": apart * 0.3, "color": frame}
        d.add(at_x, y, apart * 0.98, apart * 0.86, **rim, **lens)
    d.add(x, y - apart * 0.15, apart * 0.3, apart * 0.12, n=6, color=frame)


def scarf(d: Drawing, at: Anchors, color: Tensor) -> None:
    x, y, width = at.neck
    wool = dict(color=color, color2=color * 0.6, pattern=1, n=4)
    d.add(x + width * 0.62, y + 0.26, 0.12, 0.26, frequency=7, angle=-0.12, **wool)
    d.add(x, y, width * 1.12, 0.13, frequency=1, **wool)


def bow_tie(d: Drawing, at: Anchors, color: Tensor) -> None:
    x, y, _ = at.neck
    for side in (-1, 1):
        wing = dict(n=5, taper=0.75, angle=side * math.pi / 2, color=color)
        d.add(x - side * 0.17, y, 0.13, 0.2, **wing)
    d.add(x, y, 0.075, 0.085, n=3, color=color * 0.65)


def balloon(d: Drawing, at: Anchors, color: Tensor) -> None:
    x, y = at.hand
    d.add(x + 0.14, y - 0.42, 0.014, 0.46, angle=0.28, n=6, color=INK)
    d.add(x + 0.28, y - 0.86, 0.05, 0.05, n=5, taper=0.8, color=color * 0.8)
    d.add(x + 0.28, y - 1.12, 0.26, 0.31, color=color)
    d.add(x + 0.19, y - 1.24, 0.06, 0.09, angle=0.5, color=WHITE, opacity=0.8)


ACCESSORIES: dict[str, Callable[[Drawing, Anchors, Tensor], None]] = {
    "hat": hat,
    "crown": crown,
    "glasses": glasses,
    "scarf": scarf,
    "bowtie": bow_tie,
    "balloon": balloon,
}
