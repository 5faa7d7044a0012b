"""Animals: teddy, cat, dog, rabbit, bird and fish."""

import math

from perso_lite.world.looks import INK, WHITE, Anchors, Look, eyes, mark
from perso_lite.world.shapes import Drawing


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
