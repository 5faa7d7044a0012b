"""CLIP-I of subjects alone, as CatVersion measures it, and one number for both sides.

Plain CLIP-I compares whole pictures, so it rewards a method for drawing the background
it was trained on: overfitting looks like fidelity. Masked CLIP-I first puts one and the
same color behind the subject, in references and in drawn pictures:

    x' = m x + (1 - m) c,      m in {0, 1}

and is the mean cosine over all pairs of a reference and a drawn picture (Zhao et al.,
arXiv:2311.14631, which does not say what c is). "Overall" is the geometric mean of
CLIP-I and CLIP-T.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.metrics import (
    GRAY,
    clip_image_similarity,
    for_judge,
    subject_encoder,
)

Color = float | tuple[float, float, float]


def background_filled(pictures: Tensor, masks: Tensor, fill: Color = GRAY) -> Tensor:
    """Pictures with one color wherever a mask is at most 0.5.

    Args:
        pictures: (pictures, 3, height, width) in [0, 1].
        masks: (pictures, 1, height, width) in [0, 1], of any size.
        fill: c, a gray or red, green and blue, in [0, 1] (ours: mid gray).

    Raises:
        PersoError: another number of masks than of pictures, or no such color.
    """
    if len(masks) != len(pictures):
        raise PersoError(
            f"There are {len(masks)} masks for {len(pictures)} pictures: give one for "
            "each, or None to let the judge find them."
        )
    color = torch.as_tensor(fill, dtype=pictures.dtype, device=pictures.device)
    if color.numel() not in (1, 3) or not ((color >= 0) & (color <= 1)).all():
        raise PersoError(
            f"fill is {fill!r}, but a gray from 0 to 1 is needed, or three such "
            "numbers for red, green and blue."
        )
    masks = F.interpolate(masks.to(pictures), size=pictures.shape[-2:], mode="bilinear")
    return pictures.where(masks > 0.5, color.reshape(-1, 1, 1))


def masked_clip_image(
    judges: Judges,
    pictures: Tensor,
    references: Tensor,
    picture_masks: Tensor | None = None,
    reference_masks: Tensor | None = None,
    fill: Color = GRAY,
    person: bool = False,
) -> Tensor:
    """Masked CLIP-I: mean cosine of pictures to all references, (pictures,).

    The mean of these is the mean over all pairs.

    Args:
        judges: as loaded.
        pictures: (pictures, 3, height, width) in [0, 1], drawn.
        references: (references, 3, height, width) in [0, 1], of the concept.
        picture_masks: (pictures, 1, height, width) in [0, 1], true ones; default: where
            the subject encoder finds it.
        reference_masks: the same for the references.
        fill: the color behind all subjects (see `background_filled`).
        person: whether the concept is a person.

    Raises:
        PersoError: as `background_filled`.
    """
    encoder = subject_encoder(judges, person)

    def alone(shown: Tensor, masks: Tensor | None) -> Tensor:
        if masks is None:
            masks = encoder.find_masks(for_judge(shown, encoder))
        return background_filled(shown, masks, fill)

    drawn, known = alone(pictures, picture_masks), alone(references, reference_masks)
    return clip_image_similarity(judges, drawn, known)


def overall_score(clip_image: Tensor, clip_text: Tensor) -> float:
    """The square root of mean CLIP-I times mean CLIP-T; 0 if one is not positive.

    Args:
        clip_image: CLIP-I, plain or masked, of each picture or pair, any shape.
        clip_text: CLIP-T of each picture, any shape.
    """
    image, text = clip_image.mean().clamp(min=0), clip_text.mean().clamp(min=0)
    return (image * text).sqrt().item()
