"""Masks for pictures that have none, from where the base looks for the class word."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from perso_lite.attention.grounding import attention_on_noised
from perso_lite.base import picture_size
from perso_lite.concepts import Concept

TIMESTEP = 200  # ours: on development toys, more noise blurs the map
DRAWS = 4  # of noise, whose maps are averaged (ours)
ROWS = range(8, 17)  # of the maps that are averaged (ours: they are the sharpest)


@torch.no_grad()
def class_word_map(
    base: StableDiffusionPipeline, image: Image.Image, class_word: str, seed: int = 0
) -> Tensor:
    """Where the frozen base looks for the class word in a picture.

    The picture is noised a little, and the U-Net called once under "a photo of a
    <class word>".

    Args:
        base: a pipeline with nothing attached.
        image: square and RGB.
        class_word: the everyday word for what it shows.
        seed: of the noise.

    Returns:
        The word's cross-attention map (height, width) of the picture's size, on the
        CPU, divided by its maximum, so that the highest value is 1.

    Raises:
        PersoError: a layer has a processor whose attention is not known.
    """
    whole = Concept("", class_word, [image], [None])
    pictures = whole.pictures(picture_size(base)).expand(DRAWS, -1, -1, -1)
    prompt = f"a photo of a {class_word}"
    maps = attention_on_noised(base, prompt, pictures, TIMESTEP, seed)
    size = pictures.shape[-1] // base.vae_scale_factor  # of the latents
    layers = [x.position for x in maps.layers if x.size(size, size)[0] in ROWS] or None
    heat = [maps.word(class_word, draw, layers=layers) for draw in range(DRAWS)]
    heat = torch.stack(heat).mean(0)[None, None]  # (1, 1, rows, columns)
    heat = F.interpolate(heat, (image.height, image.width), mode="bicubic")[0, 0]
    return heat.cpu() / heat.max().cpu()


def automatic_mask(
    base: StableDiffusionPipeline, image: Image.Image, class_word: str, seed: int = 0
) -> Image.Image:
    """A mask of what the class word names in a picture, as the frozen base sees it.

    The mask is where `class_word_map` reaches half of its maximum: a rough outline that
    takes no account of edges.

    Args:
        base: a pipeline with nothing attached.
        image: square and RGB.
        class_word: the everyday word for what it shows.
        seed: of the noise.

    Returns:
        An "L" mask of the picture's size, white on the concept.

    Raises:
        PersoError: a layer has a processor whose attention is not known.
    """
    return mask_where(class_word_map(base, image, class_word, seed))


def mask_where(heat: Tensor, threshold: float = 0.5, grow: float = 0.0) -> Image.Image:
    """A mask where a map reaches a part of its maximum, made wider or narrower.

    Args:
        heat: (height, width), its highest value is 1.
        threshold: the part, from 0 to 1 (ours: 0.5).
        grow: by which part of the picture's width the mask grows on all sides; it
            shrinks if this is negative.

    Returns:
        An "L" mask of the map's size, white on the concept.
    """
    on = (heat >= threshold).float()[None]  # (1, height, width)
    reach = round(abs(grow) * heat.shape[1])  # pixels
    if reach:
        sign = 1 if grow > 0 else -1  # a mask shrinks where its opposite grows
        on = sign * F.max_pool2d(sign * on, 2 * reach + 1, stride=1, padding=reach)
    return Image.fromarray((on[0] * 255).byte().numpy())


def with_automatic_masks(base: StableDiffusionPipeline, concept: Concept) -> Concept:
    """The concept, with an `automatic_mask` for every picture that has none.

    Raises:
        PersoError: as for `automatic_mask`.
    """
    masks = [
        mask or automatic_mask(base, image, concept.class_word)
        for image, mask in zip(concept.images, concept.masks, strict=True)
    ]
    return replace(concept, masks=masks)
