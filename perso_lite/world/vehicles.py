"""Vehicles: car, boat and rocket."""

from perso_lite.world.looks import GLASS, INK, Anchors, Look, mark
from perso_lite.world.shapes import Drawing


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
