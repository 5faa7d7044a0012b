"""Whether words look at the things they name: attention maps against exact masks.

A generated picture has no true mask, but a painted one has. So a painted picture is
noised to some timestep, the U-Net predicts the noise under the picture's own prompt,
and the attention maps of the prompt's words are compared with the masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.attention.layers import Layers
from perso_lite.attention.maps import AttentionMaps
from perso_lite.attention.record import record_attention
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError


@dataclass(frozen=True, eq=False)
class AttentionScore:
    """How well attention maps cover masks; both are (maps,) in [0, 1]."""

    iou: Tensor  # intersection over union of the mask and the map, cut at half maximum
    inside: Tensor  # share of the attention on the mask; the rest has leaked


def attention_against_mask(attention: Tensor, masks: Tensor) -> AttentionScore:
    """Compare attention maps with the masks of what they should cover.

    Args:
        attention: (maps, height, width), not negative. A map is "on" where it reaches
            half of its own maximum.
        masks: (maps, 1, any height, any width) in [0, 1]; a cell of the map belongs to
            the mask if at least half of it is covered.

    Returns:
        For each map, on the CPU, the intersection over union with the mask, and the
        share of attention inside it.
    """
    masks = F.interpolate(masks.float(), size=attention.shape[-2:], mode="area")[:, 0]
    mask = masks.to(attention.device) >= 0.5  # (maps, height, width)
    on = (attention >= attention.amax((1, 2), keepdim=True) / 2) & (attention > 0)
    union = (on | mask).sum((1, 2)).clamp(min=1)
    total = attention.sum((1, 2)).clamp(min=1e-12)
    inside = (attention * mask).sum((1, 2)) / total
    return AttentionScore(((on & mask).sum((1, 2)) / union).cpu(), inside.cpu())


@torch.no_grad()
def attention_on_noised(
    base: StableDiffusionPipeline,
    prompts: str | Sequence[str],
    pictures: Tensor,
    timestep: int,
    seed: int = 0,
    batch_size: int = 25,
) -> AttentionMaps:
    """Record the attention of one U-Net call on noised pictures.

    Args:
        base: a pipeline, with or without concepts attached.
        prompts: of the pictures, one for all or one per picture.
        pictures: (pictures, 3, height, width) in [0, 1].
        timestep: noise level, 0 to 999.
        seed: of the noise.
        batch_size: pictures per U-Net call (ours: 25).

    Returns:
        Maps of all pictures, one step each.

    Raises:
        PersoError: a prompt is so long that a learned word in it would be cut off, or a
            layer has a processor whose attention is not known.
    """
    prompts = [prompts] * len(pictures) if isinstance(prompts, str) else list(prompts)
    states = encode_prompts(base, prompts)  # (pictures, tokens, dim)
    pictures = pictures.to(states) * 2 - 1
    latents = base.vae.encode(pictures).latent_dist.mode()
    latents = latents * base.vae.config.scaling_factor  # (pictures, channels, h, w)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    timesteps = torch.full((len(latents),), timestep, device=latents.device)
    noisy = base.scheduler.add_noise(latents, noise.to(latents), timesteps)
    with record_attention(base, prompts=prompts, guided=False) as maps:
        for start in range(0, len(noisy), batch_size):
            rows = slice(start, start + batch_size)
            base.unet(noisy[rows], timestep, encoder_hidden_states=states[rows])
    return maps


def word_grounding(
    maps: AttentionMaps,
    words: str | Sequence[str],
    masks: Tensor,
    layers: Layers = None,
) -> AttentionScore:
    """Compare the maps of words with the masks of what they name.

    Args:
        maps: of as many pictures as there are masks.
        words: one for all pictures, or one per picture.
        masks: (pictures, 1, any height, any width) in [0, 1].
        layers: as in `AttentionMaps.word`; default: all.

    Returns:
        As for `attention_against_mask`, one value per picture.

    Raises:
        PersoError: a word is not in its picture's prompt, the layers do not exist, or
            there are more masks than pictures, or not as many words as masks.
    """
    words = [words] * len(masks) if isinstance(words, str) else words
    if len(words) != len(masks):
        raise PersoError(
            f"There are {len(words)} words but {len(masks)} masks: give one word for "
            "each, or one as a string for all pictures."
        )
    heat = [maps.word(word, i, layers=layers) for i, word in enumerate(words)]
    return attention_against_mask(torch.stack(heat), masks)
