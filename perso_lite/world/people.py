"""People: portraits from eighteen continuous numbers, and four hundred invented names.

A person is a point theta in [0, 1]^18; the caption chooses expression, hat, place and
style. Names are two invented words. As in the list that Celeb Basis published (646
names made of 409 first and 542 second tokens), people share first and last words: the
400 names here use about 250 first and 335 last words. Faces do not depend on names, so
a model has to learn each person.
"""

import functools
import math
import random

import torch
from torch import Tensor

from perso_lite.world.looks import INK, WHITE, Anchors
from perso_lite.world.shapes import Drawing

THETA = (
    "skin", "hair_hue", "hair_length", "hair_volume", "face_width", "face_height",
    "eye_size", "eye_distance", "eye_hue", "brow_thickness", "brow_angle",
    "nose_length", "nose_width", "mouth_width", "beard", "ear_size", "freckles",
    "shirt_hue",
)  # fmt: skip
EXPRESSIONS = ("calm", "smiling", "surprised", "sleeping")

SKINS = ((0.99, 0.88, 0.78), (0.94, 0.76, 0.6), (0.76, 0.55, 0.38), (0.45, 0.3, 0.2))
HAIRS = (
    (0.1, 0.08, 0.08), (0.38, 0.22, 0.12), (0.75, 0.3, 0.12), (0.95, 0.78, 0.4),
    (0.82, 0.82, 0.84), (0.45, 0.35, 0.75),
)  # fmt: skip
IRISES = ((0.3, 0.18, 0.1), (0.25, 0.55, 0.25), (0.2, 0.45, 0.8), (0.45, 0.5, 0.55))
SHIRTS = (
    (0.85, 0.25, 0.25), (0.95, 0.7, 0.2), (0.3, 0.65, 0.35), (0.25, 0.45, 0.8),
    (0.6, 0.35, 0.7), (0.3, 0.3, 0.35),
)  # fmt: skip


def blend(colors: tuple, amount: Tensor) -> Tensor:
    """A color `(batch, 3)` on the line through `colors`; `amount` runs from 0 to 1."""
    stops = torch.tensor(colors, device=amount.device)
    position = amount.clamp(0, 1) * (len(colors) - 1)
    low = position.floor().clamp(max=len(colors) - 2)
    part = (position - low)[:, None]
    return stops[low.long()] * (1 - part) + stops[low.long() + 1] * part


def person(d: Drawing, theta: Tensor, expression: Tensor) -> Anchors:
    """Draw portraits: `theta` `(batch, 18)`, `expression` `(batch,)` indices."""
    t = dict(zip(THETA, theta.unbind(1), strict=True))
    skin, hair = blend(SKINS, t["skin"]), blend(HAIRS, t["hair_hue"])
    wide, tall = 0.36 + 0.16 * t["face_width"], 0.44 + 0.14 * t["face_height"]
    hair_wide, hair_low = wide + 0.06 + 0.16 * t["hair_volume"], t["hair_length"] * 0.85
    d.add(0, -0.25 + hair_low * 0.5, hair_wide, 0.5 + hair_low * 0.5, n=2.6, color=hair)
    d.add(0, 0.98, 0.72, 0.42, n=2.8, color=blend(SHIRTS, t["shirt_hue"]))
    d.add(0, 0.5, 0.15, 0.26, n=4, color=skin * 0.86)
    d.pair(
        wide + 0.02,
        -0.08,
        0.06 + 0.07 * t["ear_size"],
        0.1 + 0.07 * t["ear_size"],
        color=skin * 0.9,
    )
    d.add(0, -0.08, wide, tall, n=2.4, color=skin, shade=0.12)
    beard = ((t["beard"] - 0.5) * 2).clamp(0, 1)
    d.add(
        0,
        tall - 0.26,
        wide * (0.7 + 0.25 * beard),
        0.1 + 0.2 * beard,
        n=2.6,
        color=hair,
        opacity=(beard * 8).clamp(0, 1),
        shade=0,
    )
    d.add(
        0,
        -0.08 - tall * 0.78,
        wide * 1.04,
        tall * 0.34 + 0.1 * t["hair_volume"],
        n=2.3,
        bottom=0.55,
        color=hair,
    )
    features(d, t, skin, hair, expression)
    top = (0, -0.14 - tall, wide * 0.85)
    eyes_at = (0, -0.1, 0.13 + 0.09 * t["eye_distance"])
    return Anchors(top, eyes_at, (0, 0.6, 0.3), (0.62, 0.6))


def features(
    d: Drawing, t: dict[str, Tensor], skin: Tensor, hair: Tensor, expression: Tensor
) -> None:
    """Draw freckles, eyes, brows, nose and mouth.

    Args:
        d: the drawing to add to.
        t: the face parameters by name, each `(batch,)` in [0, 1].
        skin: color `(batch, 3)`.
        hair: color `(batch, 3)`, also of the brows.
        expression: `(batch,)` indices into `EXPRESSIONS`.
    """
    spots = ((t["freckles"] - 0.6) * 2.5).clamp(0, 1)
    for x, y in ((0.18, 0.07), (0.26, 0.1), (0.21, 0.14)):
        d.pair(x, y, 0.022, color=skin * 0.68, opacity=spots, shade=0)
    eyes(d, t, expression)
    lift = -0.25 - 0.06 * showing(expression, "surprised")
    brow, angle = 0.014 + 0.03 * t["brow_thickness"], (t["brow_angle"] - 0.5) * 0.9
    apart = 0.13 + 0.09 * t["eye_distance"]
    d.pair(apart, lift, 0.11, brow, n=3, angle=angle, color=hair * 0.75, shade=0)
    long, broad = 0.05 + 0.1 * t["nose_length"], 0.045 + 0.07 * t["nose_width"]
    d.add(0, 0.06, broad, long, n=2.2, taper=0.5, color=skin * 0.78)
    mouth(d, 0.1 + 0.12 * t["mouth_width"], expression)


def showing(expression: Tensor, *names: str) -> Tensor:
    """1 where the expression is one of these, otherwise 0, `(batch,)`."""
    return sum((expression == EXPRESSIONS.index(name)).float() for name in names)


def eyes(d: Drawing, t: dict[str, Tensor], expression: Tensor) -> None:
    """White, iris and pupil, or closed lids."""
    asleep, surprised = (
        showing(expression, "sleeping"),
        showing(expression, "surprised"),
    )
    awake, apart = 1 - asleep, 0.13 + 0.09 * t["eye_distance"]
    size = 0.06 + 0.05 * t["eye_size"]
    tall, iris = size * (1 + 0.3 * surprised), blend(IRISES, t["eye_hue"])
    d.pair(apart, -0.1, size * 1.25, tall, color=WHITE, opacity=awake)
    d.pair(apart, -0.1, size * 0.72, color=iris, opacity=awake, shade=0)
    d.pair(apart, -0.1, size * 0.36, color=INK, opacity=awake, shade=0)
    lid = {"hollow": 0.04, "angle": math.pi, "bottom": 0, "color": INK}
    d.pair(apart, -0.13, size * 1.1, size, **lid, opacity=1 - awake)


def mouth(d: Drawing, width: Tensor, expression: Tensor) -> None:
    """Closed, smiling with teeth, or round."""
    lips, closed = (0.72, 0.25, 0.28), showing(expression, "calm", "sleeping")
    d.add(0, 0.27, width, 0.028, n=3, color=lips, opacity=closed, shade=0)
    smile = {"opacity": showing(expression, "smiling"), "shade": 0}
    half = {"angle": math.pi, "bottom": 0}
    d.add(0, 0.22, width * 1.15, 0.15, n=2, **half, color=lips, **smile)
    d.add(0, 0.235, width * 0.95, 0.045, n=4, color=WHITE, **smile)
    round_ = {"opacity": showing(expression, "surprised"), "shade": 0}
    d.add(0, 0.28, 0.09, 0.12, color=(0.45, 0.12, 0.15), **round_)


NAMED_PEOPLE, FIRST_WORDS, LAST_WORDS = 400, 253, 335
# Real given and family names that the syllables below could hit by chance.
REAL_NAMES = frozenset(
    """
    mira mila lina nora dora vera lena rena tina nina mona lola lara sara zara kara tara
    bella rosa lisa mina dana jana kira tessa ronan dorian milan logan nolan damon ramon
    simon colin robin marin karin darin kevin devin gavin calvin melvin marlo milo nilo
    rolo banks hanks parks barton carlton dalton felton milton nelson boris doris loris
    lewis morris harris ferris noris dennis travis mavis davis
    """.split()
)
STARTS = "b br d dr f g gr j k kl l m n p pl qu r s sk t tr v w z".split()
MIDDLES = "b d f g k l m n p r s t v z lb rm nd sk".split()


def invented_words(rng: random.Random, count: int, endings: list[str]) -> list[str]:
    """Distinct pronounceable words, none of them in `REAL_NAMES`."""
    words: dict[str, None] = {}
    while len(words) < count:
        start, middle = rng.choice(STARTS), rng.choice(MIDDLES)
        word = start + rng.choice("aeiou") + middle + rng.choice(endings)
        if word not in REAL_NAMES:
            words[word] = None
    return list(words)


@functools.cache
def people_names() -> tuple[str, ...]:
    """The 400 two-word names, all pairs distinct, always the same."""
    rng = random.Random(646)
    first = invented_words(rng, FIRST_WORDS, ["a", "o", "in", "el", "is", "ul", "eth"])
    last = invented_words(
        rng, LAST_WORDS, ["ow", "ard", "ick", "elm", "ost", "ude", "arn"]
    )
    last = [word for word in last if word not in first]
    firsts = first + [rng.choice(first) for _ in range(NAMED_PEOPLE - len(first))]
    lasts = last + [rng.choice(last) for _ in range(NAMED_PEOPLE - len(last))]
    rng.shuffle(lasts)
    names = [f"{a} {b}" for a, b in zip(firsts, lasts, strict=True)]
    assert len(set(names)) == NAMED_PEOPLE
    return tuple(names)


@functools.cache
def people_thetas() -> Tensor:
    """The faces of the named people, `(400, 18)` in [0, 1]."""
    return torch.rand(
        NAMED_PEOPLE, len(THETA), generator=torch.Generator().manual_seed(646)
    )
