"""Things: robot, mug, teapot, lamp and clock."""

import math

import torch

from perso_lite.world.looks import INK, WHITE, Anchors, Look, eyes, mark
from perso_lite.world.shapes import Drawing


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
        x, y = torch.sin(angle) * length * size, torch.cos(angle) * length * size
        hand = {"n": 4, "angle": angle, "color": INK, "shade": 0}
        d.add(x * 0.9, middle - y * 0.9, width, length * size, **hand)
    d.add(0, middle, 0.06, color=look.accent)
    return Anchors(
        (0, middle - size, 0.3),
        (0, middle - 0.12, 0.22),
        (0, middle + size * 0.8, 0.4),
        (size, middle),
    )
