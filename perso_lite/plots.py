"""Pictures about pictures: labelled contact sheets."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

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
