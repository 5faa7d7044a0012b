"""Plants: cactus and mushroom."""

from perso_lite.world.looks import CREAM, GOLD, Anchors, Look, contrast, eyes, mark
from perso_lite.world.shapes import Drawing


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
