"""Maps of photos from an installed segmentation model that is asked by a word.

Lüddecke and Ecker, "Image Segmentation Using Text and Image Prompts", CVPR 2022
(arXiv:2112.10003): CLIPSeg, as transformers has it.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

from perso_lite.base import quiet
from perso_lite.concepts import Concept

CLIPSEG = "CIDAS/clipseg-rd64-refined"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of its training


@torch.no_grad()
def segmentation_maps(name: str | Path | None, concept: Concept) -> list[Tensor] | None:
    """Where a segmentation model sees the class word in photos.

    Args:
        name: hub id or folder of a CLIPSeg; None: there is none to ask.
        concept: photos and class word.

    Returns:
        For each photo a map (height, width) of its size, divided by its maximum, so
        that the highest value is 1; None if the model is not on this machine:
        nothing is downloaded.
    """
    if name is None:
        return None
    try:
        with quiet():
            tokenizer = CLIPTokenizer.from_pretrained(name, local_files_only=True)
            model = CLIPSegForImageSegmentation.from_pretrained(
                name, local_files_only=True
            )
    except OSError:
        return None
    side = model.config.vision_config.image_size
    mean, deviation = torch.tensor((MEAN, DEVIATION))[..., None, None]
    words = tokenizer(f"a photo of a {concept.class_word}", return_tensors="pt")
    maps = []
    for image, picture in zip(concept.images, concept.pictures(side), strict=True):
        pixels = (picture[None] - mean) / deviation  # (1, 3, side, side)
        logits = model.eval()(pixel_values=pixels, **words).logits
        heat = logits.view(1, 1, side, side).sigmoid()
        heat = F.interpolate(heat, (image.height, image.width), mode="bilinear")[0, 0]
        maps.append(heat / heat.max())
    return maps
