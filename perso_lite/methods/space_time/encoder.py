"""A prompt encoded for every layer at once, each with the word's vectors of its own.

This is the step in which the word of XTI and NeTI, and NeTI's bypass, go through the
text encoder:

    H = text encoder(prompt with word(t, l) in it), before its last LayerNorm
    keys of layer l   = LN(H)
    values of layer l = LN(H + |H| bypass(t, l))         at the word's own place

The text encoder never mixes the rows of a batch, so a batch of all layers gives what a
loop over them would.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from perso_lite.conditioning.restored import restored
from perso_lite.conditioning.tokens import injected_vectors

States = tuple[Tensor, Tensor]  # text states for keys and for values


class WordVectors(NamedTuple):
    """What a word is in each text of a batch, for each layer.

    Attributes:
        token_id: of the word.
        word: its vectors among the token embeddings, (batch, layers or 1, dim).
        bypass: of the same shape, the step from the word's own text state, in units of
            that state's length; or None.
    """

    token_id: int
    word: Tensor
    bypass: Tensor | None


def encode_for_layers(
    text_encoder: nn.Module, ids: Tensor, words: Sequence[WordVectors]
) -> States:
    """Encode texts in one call for all layers.

    Args:
        text_encoder: CLIP's, with or without concepts attached.
        ids: token ids, (batch, tokens).
        words: the words that the texts may say.

    Returns:
        Text states for keys and for values, each (batch, layers, tokens, dim); one
        layer if no word has more.
    """
    layers = max(vectors.word.shape[1] for vectors in words)
    ids = ids.repeat_interleave(layers, 0)  # a row for each text and layer

    def of_rows(parts: Tensor) -> Tensor:  # (batch * layers, 1, dim)
        return parts.expand(-1, layers, -1).flatten(0, 1)[:, None]

    with ExitStack() as stack:
        for token_id, word, _ in words:
            rows = partial(of_rows, word)
            stack.enter_context(injected_vectors(text_encoder, token_id, 1, rows))
        keys, state = last_states(text_encoder, ids)  # LN(H) and H
    moved = state
    for token_id, _, bypass in words:
        if bypass is not None:
            moved = with_bypass(moved, of_rows(bypass), ids == token_id)
    values = keys if moved is state else last_norm(text_encoder)(moved.to(state.dtype))
    return keys.unflatten(0, (-1, layers)), values.unflatten(0, (-1, layers))


def with_bypass(state: Tensor, bypass: Tensor, own: Tensor) -> Tensor:
    """States (texts, tokens, dim) with a step at the word's own place: H + |H| bypass.

    Args:
        state: H, before the last LayerNorm.
        bypass: the step in units of a state's length, (texts, 1, dim).
        own: where the word is, (texts, tokens).
    """
    step = state.norm(dim=-1, keepdim=True) * bypass
    return torch.where(own[..., None], state + step, state)


def last_states(text_encoder: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What the text encoder returns, and the same before its last LayerNorm."""
    before: list[Tensor] = []

    def note(_: nn.Module, args: tuple[Tensor]) -> None:
        before.append(args[0])

    with restored() as at_exit:
        at_exit(last_norm(text_encoder).register_forward_pre_hook(note).remove)
        return text_encoder(ids)[0], before[0]


def last_norm(text_encoder: nn.Module) -> nn.Module:
    """The LayerNorm whose output is the text states."""
    return getattr(text_encoder, "text_model", text_encoder).final_layer_norm
