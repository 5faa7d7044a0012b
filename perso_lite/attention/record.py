"""Where words look: cross-attention maps.

In each cross-attention layer, every pixel of the feature map asks with a query q, and
every token of the prompt answers with a key k and gives a value v:

    attention = softmax(q k^T / sqrt(d))        output = attention v

The keys decide where a word has a say, the values what it says. `record_attention`
keeps the first factor; `swap_keys_values` and `inject_prompts` (swap.py) change k and
v.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.models import attention_processor
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from perso_lite.attention.maps import AttentionMaps
from perso_lite.attention.unet_calls import UNetCallTracker, tracked_unet_calls
from perso_lite.conditioning.cross_attention import CrossAttentionLayer
from perso_lite.errors import PersoError

# They all compute the attention above from what to_q and to_k return, by other means.
PLAIN_PROCESSORS = (
    attention_processor.AttnProcessor,
    attention_processor.AttnProcessor2_0,
    attention_processor.SlicedAttnProcessor,
    attention_processor.XFormersAttnProcessor,
)


@contextmanager
def record_attention(
    pipe: StableDiffusionPipeline,
    *,
    keep_steps: bool = False,
    keep_heads: bool = False,
    prompts: str | list[str] | None = None,
    guided: bool | None = None,
) -> Iterator[AttentionMaps]:
    """Record the cross-attention of everything that is drawn inside the `with` block.

    Whatever computes the attention goes on doing so, and the pictures are the same to
    the last bit: hooks note the queries and keys on their way, and the softmax is done
    once more. Only the prompts' half of guidance is recorded. A U-Net call goes on with
    the pictures of the call before if it has the same text and the next timestep of
    `pipe.scheduler`; any other call, such as a training step, is of new pictures.

    Args:
        pipe: a stock pipeline of Stable Diffusion 1.x or 2.x, used by its call, by
            `generate` or by calls of its U-Net.
        keep_steps: keep every step, as float16 on the CPU; default: their sum alone, so
            that memory does not grow with steps.
        keep_heads: keep attention heads apart; default: their mean.
        prompts: what the pictures show, in order, or one text for all; default: the ids
            that went through the text encoder. Needed where text was encoded before,
            or its keys exchanged.
        guided: whether U-Net calls have a negative half; default: found out (see
            `calls.UNetCallTracker`), and asked for where it cannot be.

    Raises:
        PersoError: from within a U-Net call, if a layer has a processor whose attention
            is not known here or if its halves cannot be told apart.
    """
    maps = AttentionMaps(pipe, prompts, keep_steps, keep_heads)
    latest: dict[int, Tensor] = {}  # by layer, of the present call
    with ExitStack() as stack:
        watch = stack.enter_context(
            tracked_unet_calls(pipe, guided, lambda call: maps.add(call, latest))
        )
        for layer in maps.layers:
            attention = pipe.unet.get_submodule(layer.name)
            for hook in _listen(attention, layer, watch, latest, keep_heads):
                stack.callback(hook.remove)
        yield maps


def _listen(
    attention: Attention,
    layer: CrossAttentionLayer,
    watch: UNetCallTracker,
    latest: dict[int, Tensor],
    keep_heads: bool,
) -> list[torch.utils.hooks.RemovableHandle]:
    """Hooks on one layer that leave its attention in `latest`."""
    passing: dict[str, Tensor] = {}

    def note_queries(module: nn.Module, args: tuple, output: Tensor) -> None:
        passing["queries"] = output

    def note_keys(module: nn.Module, args: tuple, output: Tensor) -> None:
        passing["keys"] = output

    @torch.no_grad()
    def weigh(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
        _check_processor(layer, attention.processor)
        queries, keys = passing.pop("queries"), passing.pop("keys")
        if watch.running:  # else the layer runs alone, as gradient checkpointing does
            rows, mask = watch.call.rows, kwargs.get("attention_mask")
            mask = None if mask is None else mask[rows]
            shares = attention_weights(attention, queries[rows], keys[rows], mask)
            if not keep_heads:
                shares = shares.mean(1, keepdim=True, dtype=torch.float32)
            latest[layer.position] = shares.float()

    return [
        attention.to_q.register_forward_hook(note_queries),
        attention.to_k.register_forward_hook(note_keys),
        attention.register_forward_hook(weigh, with_kwargs=True),
    ]


def attention_weights(
    attention: Attention, queries: Tensor, keys: Tensor, mask: Tensor | None
) -> Tensor:
    """The layer's attention, (pictures, heads, pixels, tokens)."""
    if mask is not None:
        mask = attention.prepare_attention_mask(mask, keys.shape[1], len(keys))
    queries, keys = (attention.head_to_batch_dim(part) for part in (queries, keys))
    shares = attention.get_attention_scores(queries, keys, mask)
    return shares.unflatten(0, (-1, attention.heads))


def _check_processor(layer: CrossAttentionLayer, processor: Any) -> None:
    known = type(processor) in PLAIN_PROCESSORS
    if not known and not getattr(processor, "plain_attention", False):
        raise PersoError(
            f"{layer.name} has a {type(processor).__name__}, and whether its attention "
            "is the softmax of what its to_q and to_k return is not known. Take it "
            "away (unet.set_default_attn_processor(), unfuse_qkv_projections()), or "
            "set plain_attention = True on it if it is."
        )
