"""One picture of the user's own, whatever the camera or drawing program made of it."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from perso_lite.errors import PersoError, shortened
from perso_lite.files.reading import existing_file

LARGEST_SIDE = 1024  # in pixels; larger pictures are reduced to this


def open_picture(
    path: Path, mask_path: Path | None = None
) -> tuple[Image.Image, Image.Image | None]:
    """Open one picture as square RGB, with its mask if there is one.

    Raises:
        PersoError: the picture or its mask cannot be read.
    """
    image = _open(path).convert("RGBA")
    alpha = image.getchannel("A")
    mask = None
    if mask_path is not None:
        mask = _as_mask(_open(mask_path)).resize(image.size)
    elif alpha.getextrema() != (255, 255):
        mask = alpha
    white = Image.new("RGBA", image.size, "white")
    flat = Image.alpha_composite(white, image).convert("RGB")
    return _square(flat), None if mask is None else _square(mask)


def _as_mask(image: Image.Image) -> Image.Image:
    """A mask from a picture: from its transparency if it has some, else its gray."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            return alpha
    return image.convert("L")


def _open(path: Path) -> Image.Image:
    """Decode one file: upright, 8 bits per channel, not needlessly large."""
    existing_file(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels and refuses from 179
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.draft("RGB", (2 * LARGEST_SIDE, 2 * LARGEST_SIDE))  # JPEG only
                image.load()
                return _to_8_bits(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as reason:
        raise PersoError(
            f"{path} has too many pixels to open safely; save it smaller, 1024 pixels "
            "a side are plenty."
        ) from reason
    except UnidentifiedImageError as reason:
        raise PersoError(
            f"{path} cannot be read as a picture (no format Pillow knows); save it "
            "again as PNG or JPEG."
        ) from reason
    # a damaged file can make Pillow's decoders raise anything
    except Exception as reason:
        raise PersoError(
            f"{path} cannot be read as a picture ({shortened(reason)}); save it again "
            "as PNG or JPEG."
        ) from reason


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit and floating-point gray values to 0 to 255."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        values = values * 255 if values.max() <= 1 else values
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return image


def _square(image: Image.Image) -> Image.Image:
    """Cut out the middle square and reduce it to `LARGEST_SIDE`."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    if side <= LARGEST_SIDE:
        return square
    return square.resize((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
