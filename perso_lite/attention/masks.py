"""Masks for pictures that have none, from where the base looks for the class word."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from PIL import Image

from perso_lite.attention.grounding import attention_on_noised
from perso_lite.base import picture_size
from perso_lite.concepts import Concept

TIMESTEP = 200  # ours: on development toys, more noise blurs the map
DRAWS = 4  # of noise, whose maps are averaged (ours)
ROWS = range(8, 17)  # of the maps that are averaged (ours: they are the sharpest)


@torch.no_grad()
def automatic_mask(
    base: StableDiffusionPipeline, image: Image.Image, class_word: str, seed: int = 0
) -> Image.Image:
    """A mask of what the class word names in a picture, as the frozen base sees it.

    The picture is noised a little, and the U-Net called once under "a photo of a
    <class word>". The mask is where the word's cross-attention map reaches half of its
    maximum: a rough outline that takes no account of edges.

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
    whole = Concept("", class_word, [image], [None])
    pictures = whole.pictures(picture_size(base)).expand(DRAWS, -1, -1, -1)
    prompt = f"a photo of a {class_word}"
    maps = attention_on_noised(base, prompt, pictures, TIMESTEP, seed)
    size = pictures.shape[-1] // base.vae_scale_factor  # of the latents
    layers = [x.position for x in maps.layers if x.size(size, size)[0] in ROWS] or None
    heat = [maps.word(class_word, draw, layers=layers) for draw in range(DRAWS)]
    heat = torch.stack(heat).mean(0)[None, None]  # (1, 1, rows, columns)
    heat = F.interpolate(heat, (image.height, image.width), mode="bicubic")[0, 0]
    on = heat >= heat.max() / 2  # (height, width)
    return Image.fromarray((on * 255).byte().numpy())


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
