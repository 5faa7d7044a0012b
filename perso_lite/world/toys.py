"""Sixteen classes of toys in four families.

Each class is one function from a `Look` to shapes: it draws into the frame
[-1, 1] x [-1, 1] with the ground at y = 1 and returns where accessories go.
"""

from collections.abc import Callable

from perso_lite.world.animals import bird, cat, dog, fish, rabbit, teddy
from perso_lite.world.looks import Anchors, Look
from perso_lite.world.plants import cactus, mushroom
from perso_lite.world.shapes import Drawing
from perso_lite.world.things import clock, lamp, mug, robot, teapot
from perso_lite.world.vehicles import boat, car, rocket

FAMILIES = {
    "animal": (teddy, cat, dog, rabbit, bird, fish),
    "thing": (robot, mug, teapot, lamp, clock),
    "vehicle": (car, boat, rocket),
    "plant": (cactus, mushroom),
}
TOYS: dict[str, Callable[[Drawing, Look], Anchors]] = {
    draw.__name__: draw for family in FAMILIES.values() for draw in family
}
FAMILY_OF = {
    draw.__name__: family for family, members in FAMILIES.items() for draw in members
}
