"""Twelve places and a plain studio, each one function from a mood to shapes.

Places fill the whole picture and are drawn first; things stand in front of them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .indoors import bedroom, kitchen, library, stage
from .outdoors import beach, city, desert, forest, meadow, moon, snow, underwater
from .shapes import Drawing

PLACES: dict[str, Callable[[Drawing, Tensor], None]] = {
    draw.__name__: draw
    for draw in (
        beach, snow, forest, city, desert, kitchen, bedroom, moon, underwater, meadow,
        stage, library,
    )
}  # fmt: skip
