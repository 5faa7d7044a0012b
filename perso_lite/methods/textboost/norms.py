"""How long learned vectors may become.

A vector that is much longer than those of the base's words drowns the rest of a prompt.
From November 2024 on, the released code therefore shortens new vectors after each step,
to the longest of the base's words; since December 2024 to their mean length.
"""

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor


def mean_norm(base: StableDiffusionPipeline) -> float:
    """The mean length of the vectors of the base's words."""
    table = base.text_encoder.get_input_embeddings().weight.detach()
    return table.float().norm(dim=-1).mean().item()


def capped(vectors: Tensor, most: float) -> Tensor:
    """The vectors (count, dim), longer ones scaled to the length `most`."""
    norms = vectors.norm(dim=-1, keepdim=True)
    return torch.where(norms > most, vectors * (most / norms), vectors)
