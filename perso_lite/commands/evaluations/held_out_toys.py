"""Eight more toys that the base never drew, rendered for an evaluation."""

import random
from dataclasses import asdict

from PIL import Image

from perso_lite.concepts import Concept
from perso_lite.figures.pictures import as_images
from perso_lite.world.render import render
from perso_lite.world.scenes import Thing, sample_instance
from perso_lite.world.shapes import PATTERNS
from perso_lite.world.shipped_concepts import PLACE_TEXT, SHOTS, scenes_of

# the classes that no shipped toy has, and three that only toys for development have
CLASSES = ("fish", "lamp", "clock", "boat", "cactus", "rabbit", "teapot", "car")


def held_out_toys() -> list[str]:
    """Names of the eight, each of another class."""
    return [f"held-out-{class_word}" for class_word in CLASSES]


def rendered_toy(name: str, size: int = 128) -> Concept:
    """A toy as `load_concept` gives one: five pictures, masks and the truth.

    Colors, shape and mark are drawn as those of toys in pretraining are, and half of
    the toys have a pattern.

    Args:
        name: one of `held_out_toys`; it decides everything.
        size: pixels per side.
    """
    rng = random.Random(f"concept/{name}")
    instance = sample_instance(rng)
    pattern = rng.choice(PATTERNS[1:]) if rng.random() < 0.5 else None
    thing = Thing(name.rpartition("-")[2], instance, pattern=pattern)
    pictures, masks = render(scenes_of(name, thing, SHOTS), size)
    covered = (masks[:, 0].clamp(0, 1) * 255).round().byte().numpy()
    return Concept(
        name,
        thing.class_word,
        as_images(pictures.clamp(0, 1)),
        [Image.fromarray(mask) for mask in covered],
        [PLACE_TEXT[place] for place in SHOTS],
        f"<{name}>",
        asdict(thing),
    )
