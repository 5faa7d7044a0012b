"""What makes one toy differ from others of its class, and what all toys share.

A `Look` is twelve numbers in [0, 1] that no caption ever mentions (ears, limbs, muzzle,
eyes, hues), a main and an accent color, a pattern, and a *mark* without a word (a
badge, a diamond, a patch, a band). A caption can name a toy's class, color and pattern;
the rest is what personalization has to learn.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from perso_lite.world.shapes import Drawing, Number

INK = (0.12, 0.10, 0.12)
WHITE = (0.98, 0.97, 0.95)
CREAM = (0.96, 0.88, 0.74)
GLASS = (0.70, 0.87, 0.95)
GOLD = (0.98, 0.80, 0.25)

MARKS = ("none", "badge", "diamond", "patch", "band")
LOOK_NUMBERS = 12


@dataclass
class Look:
    """What one toy looks like, for a batch of toys.

    `numbers` `(batch, 12)` in [0, 1]; `main`, `accent`, `mark_color` `(batch, 3)`;
    `pattern` and `mark` `(batch,)` hold indices (see `MARKS`).
    """

    numbers: Tensor
    main: Tensor
    accent: Tensor
    pattern: Tensor
    mark: Tensor
    mark_color: Tensor

    def between(self, index: int, low: float, high: float) -> Tensor:
        """Number `index` of the look, scaled to [low, high], `(batch,)`."""
        return low + (high - low) * self.numbers[:, index]

    def coat(self) -> dict:
        """Arguments that give a shape the main color and the pattern."""
        frequency = 3.0 + 2.0 * self.numbers[:, 11]
        return dict(
            color=self.main,
            color2=contrast(self.main),
            pattern=self.pattern,
            frequency=frequency * 1.6,
        )


@dataclass
class Anchors:
    """Where accessories and marks go, in the toy's own frame."""

    top: tuple[Number, Number, Number]  # x, y, width of the head's top
    eyes: tuple[Number, Number, Number]  # x, y, half distance
    neck: tuple[Number, Number, Number]  # x, y, half width
    hand: tuple[Number, Number]  # where a balloon's string is held


def contrast(color: Tensor) -> Tensor:
    """A second color `(batch, 3)` that differs clearly from the first: pale or dark."""
    light = color.mean(1, keepdim=True) > 0.62
    pale = 0.25 * color + 0.75 * torch.tensor(WHITE, device=color.device)
    return torch.where(light, 0.45 * color, pale)


def eyes(d: Drawing, look: Look, x: Number, y: Number, apart: Number, size: Number):
    """Draw two eyes of one of three kinds (buttons, round white ones, tall ones).

    Args:
        d: the drawing to add to.
        look: its number 6 chooses the kind.
        x: middle between the eyes.
        y: their height.
        apart: half their distance.
        size: about half their width.
    """
    kind = look.numbers[:, 6]
    white = (kind > 0.33).float()
    tall = 1 + 0.35 * (kind > 0.66).float()
    for side in (-1, 1):
        at = x + side * apart
        d.add(at, y, size * 1.25, size * 1.3 * tall, color=WHITE, opacity=white)
        d.add(at, y, size * 0.8, size * 0.85 * tall, color=INK, shade=0)
        d.add(at + size * 0.25, y - size * 0.35, size * 0.3, color=WHITE, shade=0)


def mark(d: Drawing, look: Look, x: Number, y: Number, size: Number):
    """Draw the mark without a word: at most one of the four shapes is visible.

    Args:
        d: the drawing to add to.
        look: has the mark's kind and color.
        x: center of the mark.
        y: center of the mark.
        size: radius of a badge; the other shapes are larger.
    """
    color = look.mark_color

    def shown(name: str) -> Tensor:
        return (look.mark == MARKS.index(name)).float()

    d.add(x, y, size, color=color, shade=0.1, opacity=shown("badge"))
    d.add(
        x,
        y,
        size * 1.2,
        color=color,
        n=1.0,
        angle=0,
        shade=0.1,
        opacity=shown("diamond"),
    )
    d.add(
        x + size * 0.9,
        y - size * 0.4,
        size * 1.7,
        size * 1.2,
        color=color,
        angle=0.5,
        shade=0.1,
        opacity=shown("patch"),
    )
    d.add(
        x, y, size * 2.2, size * 0.5, color=color, n=6, shade=0.1, opacity=shown("band")
    )
