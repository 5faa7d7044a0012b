"""Transformations of one picture, and the names of what they do.

Groups, probabilities and ranges are those of the released code at the time of the paper
(September 2024), without a slip: there width and height were exchanged.
"""

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

# a picture of the same size, and the name of what was done if it has one
Transformed = tuple[Image.Image, str | None]


def scaled(image: Image.Image, factor: float) -> Transformed:
    """Larger or smaller about its middle; around a smaller one, edge pixels go on.

    Factors from 0.6 to 1.2 have no name: the caption is to stay as it is.
    """
    margins = [round(side * (1 / factor - 1) / 2) for side in image.size]
    framed = _framed(image, *margins).resize(image.size, Image.Resampling.BICUBIC)
    return framed, "zoom-out" if factor < 0.6 else "zoom-in" if factor > 1.2 else None


def _framed(image: Image.Image, across: int, down: int) -> Image.Image:
    """With so many pixels more on each side, or less if it is negative."""
    more = ((max(down, 0),) * 2, (max(across, 0),) * 2, (0, 0))
    padded = Image.fromarray(np.pad(np.asarray(image), more, mode="edge"))
    left, top = max(-across, 0), max(-down, 0)
    return padded.crop((left, top, padded.width - left, padded.height - top))


def shifted(image: Image.Image, pixels: int) -> Transformed:
    """Moved to the right, or to the left if negative; edge pixels fill the gap."""
    padded, left = _framed(image, abs(pixels), 0), abs(pixels) - pixels
    moved = padded.crop((left, 0, left + image.width, image.height))
    return moved, "left" if pixels < 0 else "right"


def flipped(image: Image.Image) -> Transformed:
    """Upside down."""
    return ImageOps.flip(image), "vflip"


def cropped(image: Image.Image, area: float, x: float, y: float) -> Transformed:
    """A part in its own proportions, of this share of the area, back at full size.

    x and y are its place, as shares of the room there is.
    """
    width, height = (max(1, round(side * math.sqrt(area))) for side in image.size)
    left, top = round(x * (image.width - width)), round(y * (image.height - height))
    part = image.crop((left, top, left + width, top + height))
    return part.resize(image.size, Image.Resampling.BICUBIC), "crop"


def gray(image: Image.Image) -> Transformed:
    """Without colors."""
    return ImageOps.grayscale(image).convert("RGB"), "grayscale"


def brightened(image: Image.Image, factor: float) -> Transformed:
    """Every value times the factor."""
    changed = ImageEnhance.Brightness(image).enhance(factor)
    return changed, "bright" if factor > 1 else "dimmed"


def cut_out(image: Image.Image, share: float, x: float, y: float) -> Transformed:
    """With a black square, whose side is this share of the height."""
    side, changed = round(image.height * share), image.copy()
    left, top = round(x * (image.width - side)), round(y * (image.height - side))
    changed.paste((0, 0, 0), (left, top, left + side, top + side))
    return changed, "cutout"


def tiled(image: Image.Image, count: int) -> Transformed:
    """Small, `count` times in each direction."""
    across, down = (math.ceil(side / count) for side in image.size)
    small = image.resize((across, down), Image.Resampling.BICUBIC)
    changed = image.copy()
    for column in range(count):
        for row in range(count):
            changed.paste(small, (column * across, row * down))
    return changed, "grid"


# -- drawn at random -------------------------------------------------------------------


def _scaled(image: Image.Image, rng: random.Random) -> Transformed:
    return scaled(image, rng.uniform(0.34, 1.4))


def _flipped(image: Image.Image, rng: random.Random) -> Transformed:
    return flipped(image)


def _cropped(image: Image.Image, rng: random.Random) -> Transformed:
    return cropped(image, rng.uniform(0.08, 1), rng.random(), rng.random())


def _shifted(image: Image.Image, rng: random.Random) -> Transformed:
    pixels = int(image.width * rng.uniform(0.15, 0.3))
    return shifted(image, rng.choice((-pixels, pixels)))


def _gray(image: Image.Image, rng: random.Random) -> Transformed:
    return gray(image)


def _brightened(image: Image.Image, rng: random.Random) -> Transformed:
    return brightened(image, rng.uniform(*rng.choice(((0.4, 0.6), (1.3, 1.5)))))


def _cut_out(image: Image.Image, rng: random.Random) -> Transformed:
    return cut_out(image, rng.uniform(0.1, 0.33), rng.random(), rng.random())


def _tiled(image: Image.Image, rng: random.Random) -> Transformed:
    return tiled(image, rng.choice((2, 4)))


# of each group at most one, and each as likely as the others of its group
GROUPS: tuple[tuple[Callable[[Image.Image, random.Random], Transformed], ...], ...] = (
    (_scaled, _flipped, _cropped, _shifted),
    (_gray, _brightened),
    (_cut_out, _tiled),
)


def transformed(
    image: Image.Image, probability: float, rng: random.Random
) -> tuple[Image.Image, list[str]]:
    """A picture transformed at random.

    Args:
        image: RGB, of any size.
        probability: of each group.
        rng: of everything that is drawn.

    Returns:
        A picture of the same size, and the names of what was done, in order.
    """
    names = []
    for group in GROUPS:
        if rng.random() < probability:
            image, name = rng.choice(group)(image, rng)
            names += [name] if name else []
    return image, names
