"""Whether words look at the things they name: attention maps against exact masks.

A generated picture has no true mask, but a painted one has. So a painted picture is
noised to some timestep, the U-Net is asked for the noise under the picture's own
prompt, and what its words look at meanwhile is compared with where things really are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.attention.maps import AttentionMaps
from perso_lite.attention.record import record_attention
from perso_lite.conditioning.cross_attention import Layers
from perso_lite.conditioning.tokens import encode_prompts


@dataclass(frozen=True, eq=False)
class AttentionScore:
    """How well attention maps cover masks, both (maps,) in [0, 1]."""

    iou: Tensor  # overlap of the map's stronger half with the mask, over their union
    inside: Tensor  # share of the attention on the mask; the rest has leaked


def attention_against_mask(attention: Tensor, masks: Tensor) -> AttentionScore:
    """Compare attention maps with the true place of the concept.

    Args:
        attention: (maps, height, width), not negative. It is "on" where it reaches
            half of its own maximum.
        masks: (maps, 1, any height, any width) in [0, 1]; a cell of the map belongs to
            the concept if it is covered by half.
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
        prompts: what the pictures show, one for all or one each.
        pictures: (pictures, 3, height, width) in [0, 1].
        timestep: how much noise, 0 to 999.
        seed: of the noise.
        batch_size: pictures looked at together.
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
            here = slice(start, start + batch_size)
            base.unet(noisy[here], timestep, encoder_hidden_states=states[here])
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
        words: one for all pictures, or one each.
        masks: (pictures, 1, any height, any width) in [0, 1].
        layers: as in `AttentionMaps.word`; default: all.
    """
    words = [words] * len(masks) if isinstance(words, str) else words
    heat = [maps.word(word, i, layers=layers) for i, word in enumerate(words)]
    return attention_against_mask(torch.stack(heat), masks)
