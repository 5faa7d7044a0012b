"""Twelve places and a plain studio, each one function from a mood to shapes.

Places fill the whole picture and are drawn before the things.
"""

from collections.abc import Callable

from torch import Tensor

from perso_lite.world.indoors import bedroom, kitchen, library, stage
from perso_lite.world.outdoors import (
    beach,
    city,
    desert,
    forest,
    meadow,
    moon,
    snow,
    underwater,
)
from perso_lite.world.shapes import Drawing

PLACES: dict[str, Callable[[Drawing, Tensor], None]] = {
    draw.__name__: draw
    for draw in (
        beach, snow, forest, city, desert, kitchen, bedroom, moon, underwater, meadow,
        stage, library,
    )
}  # fmt: skip
