"""Keys and values before the tokens, as a residual on what self-attention found.

With a prefix, attention is softmax(q [P_K, k]^T + b) [P_V, v], where b is added to the
prefix's column alone. Nothing has to be concatenated for that: the softmax gives the
prefix a share alpha and leaves 1 - alpha to the tokens, which divide it among them as
they did before. So

    out = Attn + alpha (P_V - Attn),   alpha = e^(q P_K + b) / (e^(q P_K + b) + Z),

with Z = sum_j e^(q k_j) over the tokens that the query may see. This is exact, reads
as the paper says it ("a residual on the attention output"), and needs no more than
hooks: whatever computes Attn (eager, SDPA, flash) computes it as before, no layer's
`forward` is replaced, and a text in which alpha is 0 keeps its states to the last bit.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

from perso_lite.conditioning.cross_attention import call_argument, shared_on
from perso_lite.conditioning.restored import restored, take_out
from perso_lite.conditioning.tokens import LearnedTokens, words_of_others
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError

KEY = "joined_prefixes"  # under which the text encoder keeps them


# -- the equation ----------------------------------------------------------------------


def prefix_shares(
    query: Tensor, key: Tensor, prefix_keys: Tensor, bias: Tensor, visible: Tensor
) -> Tensor:
    """Each prefix's share alpha of the attention, (texts, heads, tokens, prefixes).

    Args:
        query: q, scaled, (texts, heads, tokens, dim of a head).
        key: k of the tokens, of the same shape.
        prefix_keys: P_K, (heads, prefixes, dim of a head).
        bias: b, (texts, prefixes); -inf for a prefix that does not act in a text.
        visible: which token (last) each token may see; broadcasts to (texts, heads,
            tokens, tokens).
    """
    to_tokens = (query @ key.mT).masked_fill(~visible, -torch.inf)
    log_z = to_tokens.logsumexp(-1, keepdim=True)  # (texts, heads, tokens, 1)
    to_prefixes = query @ prefix_keys.mT + bias[:, None, None]
    return torch.cat([to_prefixes, log_z], -1).softmax(-1)[..., :-1]


def with_prefixes(attention: Tensor, shares: Tensor, prefix_values: Tensor) -> Tensor:
    """Attn + sum_p alpha_p (P_V,p - Attn), of the shape of `attention`.

    Args:
        attention: Attn, what the tokens gave, (texts, heads, tokens, dim of a head).
        shares: alpha, (texts, heads, tokens, prefixes).
        prefix_values: P_V, (heads, prefixes, dim of a head).
    """
    alpha = shares.sum(-1, keepdim=True)
    return attention + (shares @ prefix_values - alpha * attention)


def in_heads(states: Tensor, layer: nn.Module) -> Tensor:
    """(..., tokens, dim) as (..., heads, tokens, dim of a head), single precision."""
    return states.unflatten(-1, (layer.num_heads, -1)).transpose(-3, -2).float()


def queries_and_keys(layer: nn.Module, states: Tensor) -> tuple[Tensor, Tensor]:
    """q, scaled, and k of a layer that is given states (texts, tokens, dim)."""
    query = in_heads(layer.q_proj(states), layer) * layer.scale
    return query, in_heads(layer.k_proj(states), layer)


def causal(tokens: int, device: torch.device) -> Tensor:
    """Which tokens (last) each token of CLIP's text encoder sees, (tokens, tokens)."""
    return torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()


# -- in a text encoder -----------------------------------------------------------------


def self_attention_layers(text_encoder: nn.Module) -> list[nn.Module]:
    """The text encoder's self-attention layers, from the input to the output."""
    modules = text_encoder.named_modules()
    return [module for name, module in modules if name.endswith(".self_attn")]


@torch.no_grad()
def queries_keys_values(
    base: StableDiffusionPipeline, text: str, layer: int
) -> tuple[Tensor, Tensor, Tensor]:
    """q, scaled, k and v of a text in a layer, (heads, tokens, dim of a head) each."""
    attention, seen = self_attention_layers(base.text_encoder)[layer], []
    with ExitStack() as hooks:
        for part in (attention.q_proj, attention.k_proj, attention.v_proj):
            taken = part.register_forward_hook(lambda *call: seen.append(call[2]))
            hooks.callback(taken.remove)
        encode_prompts(base, [text])
    query, key, value = (in_heads(states, attention)[0] for states in seen)
    return query * attention.scale, key, value


class Prefixed(Protocol):
    """What has to be known of a concept (see `catversion.py`)."""

    placeholder_token: str
    tokens: LearnedTokens
    layers: list[int]
    prefix_keys: Tensor  # (prefix length, layers, dim)
    prefix_values: Tensor  # of the same shape
    prefix_logit_bias: float

    def acts_in(self, tokenizer: CLIPTokenizer, ids: Tensor) -> Tensor:
        """Which texts (texts, tokens) the prefix acts in: (texts,) and boolean."""


class JoinedPrefixes:
    """The prefixes of all concepts that are attached to one text encoder.

    A text that says two of them gets both, as one prefix of twice the length. Words of
    other methods in that text do not attend to it: they were learned without, and
    Perfusion knows its word by its state.

    Attributes:
        concepts: in the order in which they were attached.
    """

    def __init__(self, base: StableDiffusionPipeline):
        self.concepts: list[Prefixed] = []
        self._base = base
        self._acting: list[tuple[Prefixed, Tensor]] = []  # in the texts just encoded
        self._deaf: Tensor | None = None  # words of others in them, (texts, tokens)
        self._padding: Tensor | None = None
        self._states: Tensor | None = None  # on their way through a layer

    @contextmanager
    def installed(self) -> Iterator["JoinedPrefixes"]:
        """Inside, texts are encoded with the prefixes; yields itself."""
        encoder = self._base.text_encoder
        hooks = [(encoder, self._texts_come)]
        for index, layer in enumerate(self_attention_layers(encoder)):
            found = partial(self._attention_found, index, layer)
            hooks += [(layer, self._states_come), (layer.out_proj, found)]
        with restored() as at_exit:
            for module, hook in hooks:
                at_exit(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            yield self

    def _texts_come(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        ids = call_argument(args, kwargs, 0, "input_ids")
        self._padding = call_argument(args, kwargs, 1, "attention_mask")
        acting = [(c, c.acts_in(self._base.tokenizer, ids)) for c in self.concepts]
        self._acting = [(concept, texts) for concept, texts in acting if texts.any()]
        own = [concept.tokens for concept in self.concepts]
        self._deaf = words_of_others(self._base.tokenizer, ids, own)

    def _states_come(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        self._states = call_argument(args, kwargs, 0, "hidden_states")

    def _attention_found(
        self, index: int, layer: nn.Module, _: nn.Module, args: tuple, kwargs: dict
    ) -> tuple[tuple, dict] | None:
        """What a layer hands to its last projection, (texts, tokens, dim)."""
        acting = [(c, texts) for c, texts in self._acting if index in c.layers]
        if not acting:
            return None
        texts = torch.stack([each for _, each in acting]).any(0)  # (texts,)
        attention, *others = args
        changed = self._changed(index, layer, acting, texts, attention)
        return (attention.index_put((texts,), changed), *others), kwargs

    def _changed(
        self,
        index: int,
        layer: nn.Module,
        acting: list[tuple[Prefixed, Tensor]],
        texts: Tensor,
        attention: Tensor,
    ) -> Tensor:
        """The attention of the texts in which prefixes act, with these."""
        # of all texts, since a LoRA attached to a projection expects all
        query, key = (part[texts] for part in queries_and_keys(layer, self._states))
        visible = causal(key.shape[-2], key.device)
        if self._padding is not None:
            visible = visible & self._padding[texts][:, None, None].bool()
        # digits count, also where the text encoder computes in half of them
        with torch.autocast(attention.device.type, enabled=False):
            keys = torch.cat(
                [c.prefix_keys[:, c.layers.index(index)] for c, _ in acting]
            )
            values = torch.cat(
                [c.prefix_values[:, c.layers.index(index)] for c, _ in acting]
            )
            bias = torch.cat([_bias(c, own[texts]) for c, own in acting], 1)
            shares = prefix_shares(query, key, in_heads(keys, layer), bias, visible)
            shares = shares.masked_fill(self._deaf[texts][:, None, :, None], 0)
            found = in_heads(attention[texts], layer)
            found = with_prefixes(found, shares, in_heads(values, layer))
        return found.transpose(1, 2).flatten(2).to(attention.dtype)


def _bias(concept: Prefixed, acts: Tensor) -> Tensor:
    """The bias b of a concept's prefixes in texts, (texts, prefix length)."""
    bias = torch.full_like(acts, concept.prefix_logit_bias, dtype=torch.float32)
    bias = bias.masked_fill(~acts, -torch.inf)
    return bias[:, None].expand(-1, len(concept.prefix_keys))


@contextmanager
def joined_prefixes(base: StableDiffusionPipeline, concept: Prefixed) -> Iterator[None]:
    """Inside, a concept's prefix acts in the texts that `base` encodes.

    Raises:
        PersoError: the text encoder has other layers than the concept was learned for.
    """
    count = len(self_attention_layers(base.text_encoder))
    check_layers(concept.layers, count)
    make = JoinedPrefixes(base).installed
    with shared_on(base.text_encoder, KEY, make) as joined, restored() as at_exit:
        at_exit(partial(take_out, joined.concepts, concept))
        joined.concepts.append(concept)
        yield


def check_layers(layers: list[int], count: int) -> None:
    """Refuse layers that a text encoder of `count` layers does not have.

    Raises:
        PersoError: there are none, one is out of range, or one comes twice.
    """
    whole = all(isinstance(layer, int) and 0 <= layer < count for layer in layers)
    if not whole or not layers or len({*layers}) < len(layers):
        raise PersoError(
            f"layers is {layers!r}, but this text encoder has layers 0 to {count - 1}: "
            f"give some of them, each once, for example {last_layers(count)}."
        )


def last_layers(count: int) -> list[int]:
    """The last three of `count` layers."""
    return [*range(max(0, count - 3), count)]
