"""Figures made of pictures: contact sheets, grids for notebooks, heat maps."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.figures.style import SMALL, entitle, new_figure
from perso_lite.files.writing import write_atomically

INK, PAPER = (32, 32, 32), (255, 255, 255)
GAP, LINE = 6, 18  # between the pictures of a sheet; height of a line of text


@dataclass
class SheetRow:
    """One row of a contact sheet.

    Attributes:
        label: text at the left of the row.
        images: the pictures, from left to right; None leaves a cell empty.
        titles: texts above the pictures; there may be fewer than pictures.
        notes: texts below the pictures, of one or several lines; there may be fewer
            than pictures.
    """

    label: str
    images: list[Image.Image | None]
    titles: list[str] | None = None
    notes: list[str] | None = None


def contact_sheet(
    rows: list[SheetRow], title: str = "", cell: int = 128, label_width: int = 150
) -> Image.Image:
    """Arrange rows of pictures with their labels below each other.

    Args:
        rows: from top to bottom.
        title: text above all rows.
        cell: side of each picture in pixels; pictures are resized to it.
        label_width: width of the labels in pixels.

    Returns:
        One RGB picture.
    """
    columns = max(len(row.images) for row in rows)
    width = label_width + columns * (cell + GAP) + GAP
    title = wrapped(title, _font(16), width - 2 * GAP)
    top = (2 + title.count("\n")) * LINE if title else GAP
    sheet = Image.new("RGB", (width, top + sum(_height(r, cell) for r in rows)), PAPER)
    ImageDraw.Draw(sheet).multiline_text((GAP, GAP), title, INK, _font(16), spacing=2)
    for row in rows:
        _draw_row(sheet, row, top, cell, label_width)
        top += _height(row, cell)
    return sheet


def _height(row: SheetRow, cell: int) -> int:
    notes = max((1 + note.count("\n") for note in row.notes or []), default=0)
    return cell + GAP + (LINE if row.titles else 0) + notes * LINE


def _draw_row(
    sheet: Image.Image, row: SheetRow, top: int, cell: int, label_width: int
) -> None:
    pen, font = ImageDraw.Draw(sheet), _font(13)
    places = [label_width + i * (cell + GAP) for i in range(len(row.images))]
    for x, words in zip(places, row.titles or [], strict=False):
        pen.text((x, top), words, INK, font)
    top += LINE if row.titles else 0
    label = wrapped(row.label, font, label_width - 2 * GAP)
    pen.multiline_text((GAP, top + GAP), label, INK, font)
    for x, image in zip(places, row.images, strict=True):
        if image is not None:
            # enlarging keeps the model's own pixels visible
            enlarge, reduce = Image.Resampling.NEAREST, Image.Resampling.LANCZOS
            how = enlarge if image.width < cell else reduce
            sheet.paste(image.convert("RGB").resize((cell, cell), how), (x, top))
    for x, note in zip(places, row.notes or [], strict=False):
        pen.multiline_text((x, top + cell), note, INK, font)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Break a text between words into lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def save_picture(image: Image.Image, path: str | Path) -> None:
    """Save a picture as PNG; no partial file is left if that fails.

    Raises:
        PersoError: the path cannot be written or the disk is full.
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def show_pictures(
    pictures: Sequence[Image.Image],
    labels: Sequence[str] = (),
    *,
    title: str = "",
    columns: int = 4,
    size: float = 8 / 3,
) -> Figure:
    """A grid of pictures for a notebook, large enough for a projector.

    Args:
        pictures: row by row.
        labels: texts above the pictures; there may be fewer than pictures.
        title: the finding of the figure, above all pictures.
        columns: number of pictures per row (ours: 4).
        size: side of each picture in inches (ours: 8/3, that is 256 pixels).

    Raises:
        PersoError: `pictures` is empty.
    """
    if not pictures:
        raise PersoError("There is no picture to show: give at least one.")
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    above = 0.22 * (1 + max((label.count("\n") for label in labels), default=-1))
    extent = (columns * size, rows * (size + above) + (0.35 if title else 0))
    figure, axes = new_figure(rows, columns, figsize=extent, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture in zip(axes.flat, pictures, strict=False):
        axis.imshow(picture, interpolation="antialiased")
    for axis, label in zip(axes.flat, labels, strict=False):
        axis.set_title(label, pad=3, **SMALL)
    if title:
        entitle(figure, title)
    return figure


def as_images(pictures: Tensor) -> list[Image.Image]:
    """Convert pictures (pictures, 3, height, width) in [0, 1] to PIL images."""
    pixels = pictures.detach().cpu().clamp(0, 1).mul(255).round().byte()
    return [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pixels]


def heat_over(
    picture: Image.Image,
    heat: Tensor,
    *,
    strength: float = 0.75,
    size: int = 128,
    brightest: float | None = None,
) -> Image.Image:
    """A gray version of a picture with a heat map over it, bright where heat is high.

    Args:
        picture: of any size.
        heat: non-negative numbers (height, width), of any resolution.
        strength: opacity of the heat map, 0 to 1.
        size: side of the result in pixels.
        brightest: the heat that is drawn brightest; give the same for maps that are to
            be compared. Default: the maximum of `heat`.

    Returns:
        An RGB picture (size, size).
    """
    heat = heat.detach().float().cpu()
    heat = F.interpolate(
        heat[None, None], (size, size), mode="bilinear", align_corners=False
    )[0, 0]
    top = heat.max().item() if brightest is None else float(brightest)
    heat = (heat / max(top, 1e-12)).clamp(0, 1)
    color = torch.from_numpy(colormaps["inferno"](heat.numpy())[..., :3]).float()
    gray = picture.convert("L").resize((size, size), Image.Resampling.NEAREST)
    plain = torch.frombuffer(bytearray(gray.tobytes()), dtype=torch.uint8)
    plain = plain.view(size, size, 1).float().div(255)
    mixed = strength * color + (1 - strength) * plain
    return Image.fromarray(mixed.mul(255).round().byte().numpy())
