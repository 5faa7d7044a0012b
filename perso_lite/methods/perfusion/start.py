"""Where a concept of Perfusion starts: at what the base makes of the class word."""

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.conditioning.neutral_captions import TEMPLATES
from perso_lite.conditioning.words import encode_prompts


@torch.no_grad()
def state_in_sentences(base: StableDiffusionPipeline, word: str) -> Tensor:
    """A word's text state on average over the neutral captions, (dim,)."""
    states = encode_prompts(base, [template.format(word) for template in TEMPLATES])
    until_word = [template.split("{}")[0] + word for template in TEMPLATES]
    ends = [len(base.tokenizer(text).input_ids) - 2 for text in until_word]
    return states[range(len(ends)), ends].float().mean(0)


@torch.no_grad()
def projected_text(unet: UNet2DConditionModel, state: Tensor, kind: str) -> Tensor:
    """What the layers' "to_k" or "to_v" make of a text state (dim,), in one vector.

    Returns:
        (sum of the layers' widths,), layer after layer.
    """
    layers = cross_attention_layers(unet)
    modules = [getattr(unet.get_submodule(layer.name), kind) for layer in layers]
    return torch.cat([module.weight.float() @ state for module in modules])
