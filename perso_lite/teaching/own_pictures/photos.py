"""What photos should be like: hints for a folder, and examples of what goes wrong."""

import numpy as np
import torch
from PIL import Image, ImageFilter

from perso_lite.concepts import Concept
from perso_lite.teaching.exercises.solutions_own_pictures import sharpness

FEWEST, MOST = 3, 10  # photos (ours; the papers take 3 to 6)
BLURRED = 0.25  # of the others' sharpness (ours)
CUT_OFF = 0.1  # of the frame's pixels on the concept (ours)
ALIKE = 0.05  # mean difference of backgrounds, gray values from 0 to 1 (ours)
SMALL = 16  # pixels per side at which backgrounds are compared (ours)


def photo_hints(concept: Concept, side: int) -> list[str]:
    """What could be better about photos; nothing where all is well.

    Args:
        concept: photos, with masks where there are some.
        side: pixels per side that the base draws, from `picture_size`.

    Returns:
        Sentences; photos count from 1.
    """
    hints, count = [], len(concept.images)
    if not FEWEST <= count <= MOST:
        hints.append(f"{count} photos: {FEWEST} to {MOST} are best.")
    sharp = [sharpness(gray) for gray in concept.pictures(side).mean(1)]
    for number, (image, mask) in enumerate(
        zip(concept.images, concept.masks, strict=True), start=1
    ):
        if image.width < side:
            hints.append(f"Photo {number} is smaller than what the base draws.")
        others = sharp[: number - 1] + sharp[number:]
        if others and sharp[number - 1] < BLURRED * torch.stack(others).median():
            hints.append(f"Photo {number} is blurred, beside the others.")
        if mask is not None and frame_share(mask) > CUT_OFF:
            hints.append(f"Photo {number} cuts the thing off at the frame.")
    if count > 1 and background_difference(concept) < ALIKE:
        hints.append("All backgrounds are alike: the word would learn them, too.")
    return hints


def frame_share(mask: Image.Image) -> float:
    """The part of a mask's outermost pixels that is on the concept."""
    on = np.asarray(mask) >= 128  # (height, width)
    return float(np.concatenate([on[0], on[-1], on[1:-1, 0], on[1:-1, -1]]).mean())


def background_difference(concept: Concept) -> float:
    """How far backgrounds differ, pair by pair, where no mask is: 0 to 1."""
    pictures = concept.pictures(SMALL)  # (photos, 3, SMALL, SMALL)
    masks = concept.mask_tensor(SMALL, SMALL)
    given = torch.tensor([mask is not None for mask in concept.masks])
    outside = torch.where(given[:, None, None, None], masks < 0.5, True)
    first, second = torch.triu_indices(len(pictures), len(pictures), 1)
    both = (outside[first] & outside[second]).float()
    apart = (pictures[first] - pictures[second]).abs().mean(1, keepdim=True)
    shared = both.sum((1, 2, 3)).clamp(min=1)
    return float(((apart * both).sum((1, 2, 3)) / shared).mean())


def cut_off(picture: Image.Image) -> Image.Image:
    """The right lower quarter of a picture, enlarged: the thing is cut off."""
    half = picture.width // 2
    corner = picture.crop((half, half, picture.width, picture.height))
    return corner.resize(picture.size, Image.Resampling.BICUBIC)


def blurred(picture: Image.Image) -> Image.Image:
    """A picture out of focus: a Gaussian of 3 % of its width."""
    return picture.filter(ImageFilter.GaussianBlur(0.03 * picture.width))
