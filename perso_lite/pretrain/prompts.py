"""The fixed prompts for measuring base and methods.

`python -m perso_lite pretrain --stages prompts` writes them to `data/prompts/`:
`base.json` has 1,000 over all attributes, each with its kind of scene,
`concepts.json` those for concepts, with `{}` in place of their word, and
`knowledge.json` 400 captions as in pretraining, to train with (TextBoost).
"""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from perso_lite.world.accessories import ACCESSORIES
from perso_lite.world.captions import caption
from perso_lite.world.places import PLACES
from perso_lite.world.scenes import (
    AUGMENTATIONS,
    COLORS,
    RELATIONS,
    Scene,
    Thing,
    held_out,
    sample_person,
    sample_scene,
    sample_thing,
)
from perso_lite.world.shapes import PATTERNS
from perso_lite.world.styles import STYLES

CONCEPT_PROMPTS = (
    "a photo of a {}",
    "a photo of a {} on a beach",
    "a {} in the snow",
    "a photo of a {} on the moon",
    "a {} wearing a hat",
    "a photo of a {} wearing glasses in a library",
    "a {} wearing a crown in a forest",
    "a pencil sketch of a {}",
    "a watercolor of a {} in a meadow",
    "a red {} in a desert",
)


def maybe(options, chance: float, rng: random.Random) -> str | None:
    """One of the options with this chance, otherwise None."""
    return rng.choice(list(options)) if rng.random() < chance else None


def toy(rng: random.Random) -> Thing:
    """A toy of any class with a color."""
    thing = sample_thing(rng, simple=True)
    return replace(thing, color=rng.choice(list(COLORS)), family=False)


def one_toy(rng: random.Random) -> Scene:
    """A colored toy, three in four in a place, half of them with an accessory."""
    thing = replace(
        toy(rng),
        pattern=maybe(PATTERNS[1:], 0.3, rng),
        accessory=maybe(ACCESSORIES, 0.5, rng),
    )
    return Scene((thing,), maybe(PLACES, 0.75, rng), maybe(STYLES, 0.25, rng))


def combination(rng: random.Random, new: bool) -> Scene:
    """One toy, in a combination that pretraining never shows (`new`), or may show."""
    while True:
        scene = one_toy(rng)
        thing = scene.things[0]
        if held_out(thing.class_word, scene.place, thing.accessory) == new:
            return scene


def pair(rng: random.Random) -> Scene:
    """Two toys, half of them with a color, more than half in a place."""
    while True:
        things = tuple(
            replace(toy(rng), color=maybe(COLORS, 0.5, rng)) for _ in range(2)
        )
        place = maybe(PLACES, 0.6, rng)
        if not any(held_out(t.class_word, place, None) for t in things):
            return Scene(things, place, relation=rng.choice(RELATIONS))


def named_person(rng: random.Random) -> Scene:
    """One of the 400 people, half of them in a place."""
    while True:
        thing = replace(sample_person(rng), accessory=None, expression=None)
        if thing.name:
            return Scene((thing,), maybe(PLACES, 0.5, rng))


def augmented(rng: random.Random) -> Scene:
    """A colored toy with a worded augmentation."""
    return Scene((toy(rng),), augmentation=rng.choice(AUGMENTATIONS))


KINDS: dict[str, tuple[int, Callable[[random.Random], Scene]]] = {
    "seen": (480, partial(combination, new=False)),
    "new": (160, partial(combination, new=True)),
    "pair": (180, pair),
    "person": (100, named_person),
    "augmented": (80, augmented),
}


def base_prompts() -> list[dict[str, str]]:
    """The 1,000 prompts and their kinds, shuffled, so the first n are a mixture."""
    prompts = []
    for kind, (count, scene) in KINDS.items():
        for i in range(count):
            rng = random.Random(f"prompts/{kind}/{i}")
            prompts.append({"kind": kind, "prompt": caption(scene(rng), rng)})
    random.Random("prompts").shuffle(prompts)
    return prompts


def knowledge_captions() -> list[str]:
    """400 captions of scenes as pretraining shows them; none is measured with."""
    taken, captions = {entry["prompt"] for entry in base_prompts()}, []
    for i in range(600):
        rng = random.Random(f"prompts/knowledge/{i}")
        captions.append(caption(sample_scene(rng), rng))
    return [text for text in dict.fromkeys(captions) if text not in taken][:400]


def write_prompts(folder: Path) -> None:
    """Write `base.json`, `concepts.json` and `knowledge.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "base": base_prompts(),
        "concepts": CONCEPT_PROMPTS,
        "knowledge": knowledge_captions(),
    }
    for name, content in contents.items():
        lines = ",\n".join(json.dumps(entry) for entry in content)
        (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n")
