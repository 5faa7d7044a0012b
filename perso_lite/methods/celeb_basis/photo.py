"""What training makes of one photo: captions, and a black canvas to paste it on."""

import math

import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Generator

from perso_lite.conditioning.neutral_captions import TEMPLATES
from perso_lite.errors import PersoError
from perso_lite.method import View

# for a name there is no article
NAME_CAPTIONS = ("a photo of {}", "a picture of {}", "an image of {}", "{}")
CAPTIONS = ("name", "neutral", "face of")
JITTER = 0.2  # of brightness, contrast and saturation, up and down (released code)
SMALLEST, NARROWEST, WIDEST = 0.1, 0.9, 1.1  # of the canvas, of the height (the same)


def captions_of_kind(
    kind: str, placeholder_token: str, class_word: str
) -> list[str] | None:
    """The captions to draw from; None for those that every method has."""
    if kind == "neutral":
        return None
    if kind == "name":
        return [text.format(placeholder_token) for text in NAME_CAPTIONS]
    slot = f"face of {placeholder_token} {class_word}"
    return [text.format(slot) for text in TEMPLATES]


def check_caption(kind: str) -> None:
    """Refuse an unknown kind of captions.

    Raises:
        PersoError: it is none of `CAPTIONS`.
    """
    if kind not in CAPTIONS:
        raise PersoError(f'caption is "{kind}"; choose from {", ".join(CAPTIONS)}.')


def canvas_views(view: View, count: int, size: int, seed: int) -> list[View]:
    """A photo pasted `count` times on a black canvas, each time elsewhere.

    Half of them are mirrored; brightness, contrast and saturation vary. The height is
    drawn uniformly from a tenth of the canvas to all of it, the width is 0.9 to 1.1 of
    the height (or what is left of the canvas), and the place is anywhere.

    Args:
        view: the photo, with its mask and captions.
        count: of the views.
        size: pixels per side of the canvas.
        seed: of everything drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    return [_pasted(view, size, generator) for _ in range(count)]


def pasted_box(size: int, generator: Generator) -> tuple[int, int, int, int]:
    """Left, top, width and height of a photo on a canvas, in pixels."""
    share, ratio, x, y = torch.rand(4, generator=generator).tolist()
    height = math.ceil(size * (SMALLEST + (1 - SMALLEST) * share))
    width = round(height * (NARROWEST + (WIDEST - NARROWEST) * ratio))
    width = min(max(width, 1), size)
    return round(x * (size - width)), round(y * (size - height)), width, height


def _pasted(view: View, size: int, generator: Generator) -> View:
    image, mask = view.image, view.mask or Image.new("L", view.image.size, 255)
    if torch.rand((), generator=generator) < 0.5:
        image, mask = ImageOps.mirror(image), ImageOps.mirror(mask)
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    strengths = 1 - JITTER + 2 * JITTER * torch.rand(3, generator=generator)
    for kind, strength in zip(kinds, strengths.tolist(), strict=True):
        image = kind(image).enhance(strength)
    left, top, width, height = pasted_box(size, generator)
    canvas, covered = Image.new("RGB", (size, size)), Image.new("L", (size, size))
    box = (left, top)
    canvas.paste(image.resize((width, height), Image.Resampling.BICUBIC), box)
    covered.paste(mask.resize((width, height), Image.Resampling.BOX), box)
    return View(canvas, covered, view.captions)
