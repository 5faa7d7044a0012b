"""Pictures about pictures: contact sheets, grids for notebooks, heat over pictures."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.files import write_atomically

INK, PAPER = (32, 32, 32), (255, 255, 255)


@dataclass
class SheetRow:
    """One row of a contact sheet.

    Attributes:
        label: stands at the left of the row.
        images: the pictures, from left to right; None leaves a cell empty.
        titles: stand above the pictures; fewer than pictures is fine.
    """

    label: str
    images: list[Image.Image | None]
    titles: list[str] | None = None


def contact_sheet(
    rows: list[SheetRow],
    title: str = "",
    cell: int = 128,
    label_width: int = 150,
) -> Image.Image:
    """Lay rows of pictures out under each other, with their labels.

    Args:
        rows: from top to bottom.
        title: stands above everything.
        cell: side of each picture in pixels; pictures are resized to it.
        label_width: room for the labels in pixels.

    Returns:
        One RGB picture.
    """
    font, gap, line = ImageFont.load_default(size=13), 6, 18
    columns = max(len(row.images) for row in rows)
    heights = [cell + gap + (line if row.titles else 0) for row in rows]
    top = 2 * line if title else gap
    width = label_width + columns * (cell + gap) + gap
    sheet = Image.new("RGB", (width, top + sum(heights)), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((gap, gap), title, INK, ImageFont.load_default(size=16))
    for row, height in zip(rows, heights, strict=True):
        for column, words in enumerate(row.titles or []):
            pen.text((label_width + column * (cell + gap), top), words, INK, font)
        y = top + height - cell - gap
        label = wrapped(row.label, font, label_width - 2 * gap)
        pen.multiline_text((gap, y + gap), label, INK, font)
        for column, image in enumerate(row.images):
            if image is not None:
                # enlarging keeps the model's own pixels visible
                enlarge = Image.Resampling.NEAREST
                reduce = Image.Resampling.LANCZOS
                how = enlarge if image.width < cell else reduce
                place = (label_width + column * (cell + gap), y)
                sheet.paste(image.convert("RGB").resize((cell, cell), how), place)
        top += height
    return sheet


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Break a text into lines of at most `width` pixels, between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def save_picture(image: Image.Image, path: str | Path) -> None:
    """Write a PNG whole or not at all.

    Raises:
        PersoError: the place cannot be written or the disk is full.
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def show_pictures(
    pictures: Sequence[Image.Image],
    labels: Sequence[str] = (),
    *,
    title: str = "",
    columns: int = 6,
    size: float = 1.5,
) -> Figure:
    """A grid of pictures for a notebook, their own pixels visible.

    Args:
        pictures: row by row.
        labels: stand above the pictures; fewer than pictures is fine.
        title: stands above everything, and says what is to be seen.
        columns: pictures in a row.
        size: side of each picture in inches.

    Raises:
        PersoError: there is no picture.
    """
    if not pictures:
        raise PersoError("There is no picture to show: give at least one.")
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    above = 0.22 * (1 + max((label.count("\n") for label in labels), default=-1))
    extent = (columns * size, rows * (size + above) + (0.35 if title else 0))
    figure, axes = plt.subplots(rows, columns, figsize=extent, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture in zip(axes.flat, pictures, strict=False):
        axis.imshow(picture, interpolation="nearest")
    for axis, label in zip(axes.flat, labels, strict=False):
        axis.set_title(label, fontsize=9, fontweight="normal", loc="center", pad=3)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def as_images(pictures: Tensor) -> list[Image.Image]:
    """Pictures (pictures, 3, height, width) in [0, 1] as PIL images."""
    pixels = pictures.detach().cpu().clamp(0, 1).mul(255).round().byte()
    return [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pixels]


def heat_over(
    picture: Image.Image, heat: Tensor, *, strength: float = 0.75, size: int = 128
) -> Image.Image:
    """A picture with a heat map over it: bright where hot, dark and grey where cold.

    Args:
        picture: any size.
        heat: non-negative numbers (height, width), of any resolution; scaled so that
            its largest is full heat.
        strength: how much of the picture full heat hides, 0 to 1.
        size: side of the result in pixels.
    """
    heat = heat.detach().float().cpu()
    heat = F.interpolate(
        heat[None, None], (size, size), mode="bilinear", align_corners=False
    )[0, 0]
    heat = (heat / heat.max().clamp(min=1e-12)).clamp(0, 1)
    colour = torch.from_numpy(colormaps["inferno"](heat.numpy())[..., :3]).float()
    grey = picture.convert("L").resize((size, size), Image.Resampling.NEAREST)
    plain = torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8)
    plain = plain.view(size, size, 1).float().div(255)
    mixed = strength * colour + (1 - strength) * plain
    return Image.fromarray(mixed.mul(255).round().byte().numpy())
