"""The concepts that ship with the library: eight toys, four people, three toys more.

Settings are chosen on the three, whose names begin with "dev-"; results are reported on
the others.

None of them is ever shown in pretraining, and no caption mentions their identity. A toy
has five pictures, three of them in the same bedroom (so that a method may wrongly learn
the room), a person has one portrait. A concept can be painted again in any scene from
the `truth` that is saved beside its pictures.
"""

import colorsys
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from PIL import Image

from perso_lite.world.backdrops import MOOD_NUMBERS
from perso_lite.world.people import THETA
from perso_lite.world.render import render
from perso_lite.world.scenes import Instance, Scene, Thing, sample_instance

# name: class, pattern, mark, hue of the main color, its saturation and brightness, hue
# of the mark
TOY_CONCEPTS = {
    "dotty-teddy": ("teddy", "spotted", "diamond", 0.93, 0.55, 0.85, 0.33),
    "patch-dog": ("dog", None, "patch", 0.10, 0.45, 0.90, 0.60),
    "banded-cat": ("cat", "striped", "band", 0.55, 0.60, 0.60, 0.03),
    "badge-robot": ("robot", None, "badge", 0.48, 0.65, 0.70, 0.15),
    "crested-bird": ("bird", None, "badge", 0.78, 0.50, 0.75, 0.45),
    "checked-mug": ("mug", "checked", "none", 0.30, 0.50, 0.60, 0.0),
    "star-rocket": ("rocket", "striped", "diamond", 0.62, 0.70, 0.80, 0.13),
    "pebble-mushroom": ("mushroom", None, "patch", 0.40, 0.50, 0.60, 0.95),
    # settings are chosen on these three, and results are reported on the others
    "dev-rabbit": ("rabbit", "spotted", "diamond", 0.08, 0.60, 0.90, 0.62),
    "dev-teapot": ("teapot", "striped", "badge", 0.55, 0.45, 0.80, 0.95),
    "dev-car": ("car", None, "patch", 0.36, 0.50, 0.65, 0.10),
}
PEOPLE_CONCEPTS = ("person-a", "person-b", "person-c", "person-d")
SHOTS = ("bedroom", "bedroom", "bedroom", None, None)
PLACE_TEXT = {"bedroom": "a photo of a {} in a bedroom", None: "a photo of a {}"}


def toy_concept(name: str) -> Thing:
    """The toy behind a shipped concept."""
    class_word, pattern, mark, hue, strength, value, mark_hue = TOY_CONCEPTS[name]
    instance = replace(
        sample_instance(random.Random(f"concept/{name}")),
        main=colorsys.hsv_to_rgb(hue, strength, value),
        mark=mark,
        mark_color=colorsys.hsv_to_rgb(mark_hue, 0.85, 0.85),
    )
    return Thing(class_word, instance, pattern=pattern)


def person_concept(name: str) -> Thing:
    """The person behind a shipped concept: a face without a name."""
    rng = random.Random(f"concept/{name}")
    theta = tuple(rng.random() for _ in THETA)
    return Thing("person", sample_instance(rng), theta=theta)


def concept_scenes(name: str) -> list[Scene]:
    """The scenes of a shipped concept's training pictures."""
    if name in TOY_CONCEPTS:
        return scenes_of(name, toy_concept(name), SHOTS)
    return scenes_of(name, person_concept(name), (None,))


def scenes_of(name: str, thing: Thing, shots: Sequence[str | None]) -> list[Scene]:
    """Scenes that show a toy or a person alone.

    Args:
        name: decides framings and moods.
        thing: what they show.
        shots: a place for each scene, or None; all scenes in a place show one room.
    """
    rng = random.Random(f"shots/{name}")
    room = tuple(rng.random() for _ in range(MOOD_NUMBERS))
    return [
        Scene(
            (thing,),
            place=place,
            mood=room if place else tuple(rng.random() for _ in range(MOOD_NUMBERS)),
            framing=(rng.random(), rng.random(), rng.random(), 0.5 * (i % 2) + 0.4),
        )
        for i, place in enumerate(shots)
    ]


def thing_from_truth(truth: dict) -> Thing:
    """The toy or person that a `concept.json` describes."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in truth.items()}
    instance = {
        k: tuple(v) if isinstance(v, list) else v for k, v in truth["instance"].items()
    }
    return Thing(**{**fields, "instance": Instance(**instance)})


def write_concept(name: str, folder: Path, size: int) -> None:
    """Paint one shipped concept: pictures, masks and `concept.json`."""
    scenes = concept_scenes(name)
    pictures, masks = render(scenes, size)
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for i, (scene, picture, mask) in enumerate(
        zip(scenes, pictures, masks, strict=True)
    ):
        pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{i}.png")
        covered = (mask[0] * 255).round().to(torch.uint8).numpy()
        Image.fromarray(covered).save(folder / f"{i}_mask.png")
        text = PLACE_TEXT[scene.place]
        listed.append({"file": f"{i}.png", "mask": f"{i}_mask.png", "caption": text})
    thing = scenes[0].things[0]
    content = {
        "name": name,
        "kind": "toy" if name in TOY_CONCEPTS else "person",
        "class_word": thing.class_word,
        "placeholder_token": f"<{name}>",
        "seed": f"concept/{name}",
        "pictures": listed,
        "truth": asdict(thing),
    }
    (folder / "concept.json").write_text(json.dumps(content, indent=1) + "\n")


def write_concepts(folder: Path, size: int) -> None:
    """Paint all shipped concepts into `folder`."""
    for name in (*TOY_CONCEPTS, *PEOPLE_CONCEPTS):
        write_concept(name, folder / name, size)
