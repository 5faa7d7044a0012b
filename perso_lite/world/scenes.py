"""A scene describes what is in a picture.

Fields that are `None` are not mentioned by the caption: an unmentioned color is any
color, an unmentioned pattern or accessory is absent, an unmentioned place is a plain
studio. `sample_scene` draws scenes for pretraining. They never contain the combinations
of class, place and accessory for which `held_out` is true.
"""

import colorsys
import random
from dataclasses import dataclass, field, replace

from perso_lite.world.accessories import ACCESSORIES
from perso_lite.world.backdrops import MOOD_NUMBERS
from perso_lite.world.looks import LOOK_NUMBERS, MARKS
from perso_lite.world.people import EXPRESSIONS, THETA, people_names, people_thetas
from perso_lite.world.places import PLACES
from perso_lite.world.shapes import PATTERNS
from perso_lite.world.styles import STYLES
from perso_lite.world.toys import TOYS

COLORS = {
    "red": (0.86, 0.16, 0.16),
    "orange": (0.97, 0.55, 0.12),
    "yellow": (0.98, 0.86, 0.2),
    "green": (0.22, 0.65, 0.26),
    "blue": (0.16, 0.36, 0.85),
    "purple": (0.52, 0.22, 0.72),
    "pink": (0.98, 0.56, 0.74),
    "brown": (0.48, 0.29, 0.15),
    "black": (0.13, 0.13, 0.15),
    "white": (0.96, 0.96, 0.95),
    "gray": (0.55, 0.56, 0.58),
}
AUGMENTATIONS = (
    "zoomed in", "far away", "on the left", "on the right", "upside down", "grayscale",
    "collage",
)  # fmt: skip
RELATIONS = ("and", "next to", "on")


@dataclass(frozen=True)
class Instance:
    """The identity of one toy; no caption mentions any of it."""

    numbers: tuple[float, ...]  # LOOK_NUMBERS of them, in [0, 1]
    main: tuple[float, float, float]  # used if the caption has no color
    accent: tuple[float, float, float]
    mark: str
    mark_color: tuple[float, float, float]


@dataclass(frozen=True)
class Thing:
    """One toy or person in a scene, with the attributes a caption may mention."""

    class_word: str  # one of TOYS, or "person"
    instance: Instance
    family: bool = False  # the caption has "an animal" instead of "a cat"
    color: str | None = None
    pattern: str | None = None
    accessory: str | None = None
    name: str | None = None  # a person's two words
    expression: str | None = None
    theta: tuple[float, ...] | None = None  # a person's face


@dataclass(frozen=True)
class Scene:
    """One picture: one to three things, and what else a caption may mention.

    `mood` moves details of the place that have no words, `framing` is jitter of
    (x, y, scale, flip).
    """

    things: tuple[Thing, ...]
    place: str | None = None
    style: str | None = None
    augmentation: str | None = None
    relation: str | None = None
    mood: tuple[float, ...] = (0.5,) * MOOD_NUMBERS
    framing: tuple[float, float, float, float] = field(default=(0.5, 0.5, 0.5, 0.0))


def held_out(class_word: str, place: str | None, accessory: str | None) -> bool:
    """Whether pretraining never shows this class in this place with this accessory."""
    if class_word == "person" or place is None:
        return False
    i, j = list(TOYS).index(class_word), list(PLACES).index(place)
    k = 1 + list(ACCESSORIES).index(accessory) if accessory else 0
    return (3 * i + 5 * j + 7 * k) % 11 == 0


def sample_instance(rng: random.Random) -> Instance:
    """The identity of a new toy."""
    hue, strength = rng.random(), rng.uniform(0.25, 0.85)
    main = colorsys.hsv_to_rgb(hue, strength, rng.uniform(0.35, 0.98))
    accent = colorsys.hsv_to_rgb(
        (hue + rng.choice([0, 0, 0.08, 0.5])) % 1,
        rng.uniform(0.05, 0.45),
        rng.uniform(0.82, 1),
    )
    mark_color = colorsys.hsv_to_rgb(
        rng.random(), rng.uniform(0.6, 1), rng.uniform(0.3, 1)
    )
    mark = rng.choice(MARKS) if rng.random() < 0.75 else "none"
    numbers = tuple(rng.random() for _ in range(LOOK_NUMBERS))
    return Instance(numbers, main, accent, mark, mark_color)


def sample_thing(rng: random.Random, simple: bool = False) -> Thing:
    """A toy with its attributes; `simple` ones have no pattern and no accessory."""
    return Thing(
        rng.choice(list(TOYS)),
        sample_instance(rng),
        family=rng.random() < 0.03,
        color=rng.choice(list(COLORS)) if rng.random() < 0.7 else None,
        pattern=rng.choice(PATTERNS[1:]) if rng.random() < 0.2 and not simple else None,
        accessory=rng.choice(list(ACCESSORIES))
        if rng.random() < 0.35 and not simple
        else None,
    )


def sample_person(rng: random.Random) -> Thing:
    """A named person; one in ten pictures shows a stranger called "a person"."""
    index = rng.randrange(len(people_names()))
    known = rng.random() < 0.9
    theta = (
        tuple(people_thetas()[index].tolist())
        if known
        else tuple(rng.random() for _ in THETA)
    )
    accessories = [name for name in ACCESSORIES if name != "balloon"]
    return Thing(
        "person",
        sample_instance(rng),
        accessory=rng.choice(accessories) if rng.random() < 0.25 else None,
        name=people_names()[index] if known else None,
        expression=rng.choice(EXPRESSIONS[1:]) if rng.random() < 0.35 else None,
        theta=theta,
    )


def sample_scene(rng: random.Random) -> Scene:
    """One scene of the pretraining world (never a held-out combination)."""
    kind = rng.random()
    relation = None
    if kind < 0.60:
        things = (sample_thing(rng),)
    elif kind < 0.80:
        count = 3 if rng.random() < 0.15 else 2
        things = tuple(sample_thing(rng, simple=True) for _ in range(count))
        relation = "and" if count == 3 else rng.choice(RELATIONS)
    elif kind < 0.97:
        things = (sample_person(rng),)
    else:
        things, relation = (sample_person(rng), sample_person(rng)), "and"
    scene = Scene(
        things,
        place=rng.choice(list(PLACES)) if rng.random() < 0.6 else None,
        style=rng.choice(list(STYLES)) if rng.random() < 0.15 else None,
        augmentation=rng.choice(AUGMENTATIONS)
        if relation is None and rng.random() < 0.07
        else None,
        relation=relation,
        mood=tuple(rng.random() for _ in range(MOOD_NUMBERS)),
        framing=tuple(rng.random() for _ in range(4)),
    )
    if any(held_out(t.class_word, scene.place, t.accessory) for t in things):
        return replace(scene, place=None)
    return scene
