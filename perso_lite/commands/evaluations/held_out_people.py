"""People that the base never drew, rendered for an evaluation."""

from dataclasses import asdict, replace

import torch
from PIL import Image

from perso_lite.concepts import Concept
from perso_lite.figures.pictures import as_images
from perso_lite.world.people import THETA
from perso_lite.world.render import render
from perso_lite.world.shipped_concepts import concept_scenes

HELD_OUT, CORNERS = 15, 5  # ours
COMPARED = 10  # of the first, for whom other methods learn, too (ours, for cost)
CORNER = "corner-person"
LOWEST, HIGHEST = 0.02, 0.98  # face numbers of people at the corners


def held_out_people() -> list[str]:
    """Names of fifteen strangers and of five at the corners of the space of faces."""
    people = [f"held-out-person-{i:02}" for i in range(HELD_OUT)]
    return people + [f"{CORNER}-{i}" for i in range(CORNERS)]


def rendered_person(name: str, size: int = 128) -> Concept:
    """A person as `load_concept` gives one: a portrait, its mask and the truth.

    Args:
        name: any; it decides the face. "dev-person-0", "dev-person-1" and so on are to
            choose settings on.
        size: pixels per side.
    """
    (scene,) = concept_scenes(name)
    (thing,) = scene.things
    if name.startswith(CORNER):
        generator = torch.Generator().manual_seed(int(name.rpartition("-")[2]))
        ends = torch.randint(2, (len(THETA),), generator=generator).tolist()
        thing = replace(thing, theta=tuple((LOWEST, HIGHEST)[end] for end in ends))
        scene = replace(scene, things=(thing,))
    pictures, masks = render([scene], size)
    covered = (masks[0, 0].clamp(0, 1) * 255).round().byte().numpy()
    return Concept(
        name,
        "person",
        as_images(pictures.clamp(0, 1)),
        [Image.fromarray(covered)],
        ["a photo of a {}"],
        f"<{name}>",
        asdict(thing),
    )
