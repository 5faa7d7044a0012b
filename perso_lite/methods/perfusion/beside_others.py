"""A gate that stays shut beside words of other concepts.

Perfusion knows its word by its text state, and that depends on the words before it. The
words of other concepts were not among those it was trained with; beside them the gate
may open too little, and the concept would be drawn as any thing of its class.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import call_argument
from perso_lite.conditioning.restored import restored
from perso_lite.conditioning.tokens import LearnedTokens, words_of_others
from perso_lite.methods.perfusion.rank_one import similarities

STEP = 0.15  # how much lower a beta is proposed (ours: brought such a teddy back)


class Gated(Protocol):
    """What has to be known of a concept (see `perfusion.py`)."""

    placeholder_token: str
    tokens: LearnedTokens
    training: bool
    inverse_covariance: Tensor  # C^-1, (dim, dim)
    target_input: Tensor  # i*, (dim,)
    gate_settings: tuple[float, float]  # beta, tau


@contextmanager
def shut_gate_noticed(base: StableDiffusionPipeline, concept: Gated) -> Iterator[None]:
    """Inside, warns once of a prompt with other new words, if the gate is half shut."""
    warned: list[str] = []

    def note(_: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        ids = call_argument(args, kwargs, 0, "input_ids")
        if not (concept.training or warned) and _is_shut(base, concept, ids, output[0]):
            warned.append(_sentence(concept))
            warnings.warn(warned[0], stacklevel=2)

    encoder = base.text_encoder
    with restored() as at_exit:
        at_exit(encoder.register_forward_hook(note, with_kwargs=True).remove)
        yield


@torch.no_grad()
def _is_shut(
    base: StableDiffusionPipeline, concept: Gated, ids: Tensor, states: Tensor
) -> bool:
    """Whether s < beta at the word, in a text (texts, tokens) with other new words."""
    tokenizer, tokens = base.tokenizer, concept.tokens
    others = words_of_others(tokenizer, ids, [tokens])
    said = tokens.places(tokenizer, ids) & others.any(1, keepdim=True)
    if not said.any():
        return False
    own = states[said].float()  # (words, dim)
    inputs, inverse = concept.target_input[None], concept.inverse_covariance
    shares = similarities(own, inputs.to(own), inverse.to(own))
    return bool((shares < concept.gate_settings[0]).any())


def _sentence(concept: Gated) -> str:
    token, (beta, _) = concept.placeholder_token, concept.gate_settings
    lower = f"beta={max(0, beta - STEP):.2f}, in place of {beta:.2f}"
    return (
        f"Beside another new word, {token} opens its gate less than half, so little of "
        f"it will be drawn. Say {token} first in the prompt, or draw with a lower beta "
        f"({lower})."
    )
