"""Where words look: cross-attention maps.

In each cross-attention layer, every pixel of the feature map has a query q, and every
token of the prompt a key k and a value v:

    attention = softmax(q k^T / sqrt(d))        output = attention v

Keys decide where a word acts, values what it adds there. `record_attention` keeps the
attention; `swap_keys_values` and `inject_prompts` (swap.py) change k and v.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.models import attention_processor
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from perso_lite.attention.maps import AttentionMaps
from perso_lite.attention.unet_calls import UNetCallTracker, tracked_unet_calls
from perso_lite.conditioning.architecture import check_parts
from perso_lite.conditioning.cross_attention import CrossAttentionLayer
from perso_lite.conditioning.restored import Undo, restored
from perso_lite.errors import PersoError

# All of them compute the attention above from the outputs of to_q and to_k.
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
    """Record the cross-attention of all pictures drawn inside the `with` block.

    The pictures stay the same to the last bit: hooks read the queries and keys of each
    layer and compute the softmax a second time. Under guidance, only the prompts' half
    of the batch is recorded. A U-Net call continues the pictures of the call before if
    it has the same text and the next timestep of `pipe.scheduler`; any other call, such
    as a training step, starts new pictures.

    Args:
        pipe: a stock pipeline of Stable Diffusion 1.x or 2.x, used by its call, by
            `generate` or by calls of its U-Net.
        keep_steps: keep every step, as float16 on the CPU; default: only the sum over
            steps, so memory does not grow with them.
        keep_heads: keep every attention head; default: only their mean.
        prompts: the prompts of the pictures, in order, or one for all; default: the ids
            that went through the text encoder. Needed if the text was encoded before
            the block, or if keys are swapped.
        guided: whether U-Net calls have a negative half; default: detected (see
            `UNetCallTracker`).

    Yields:
        The maps, which grow as pictures are drawn.

    Raises:
        PersoError: within a U-Net call, if a layer has a processor whose attention is
            not known here, or if `guided` is needed because it cannot be detected; at
            once for a pipeline of another architecture, such as SDXL.
    """
    check_parts(pipe)
    maps = AttentionMaps(pipe, prompts, keep_steps, keep_heads)
    latest: dict[int, Tensor] = {}  # by layer, of the present call
    tracked = tracked_unet_calls(pipe, guided, lambda call: maps.add(call, latest))
    with tracked as tracker, restored() as at_exit:
        for layer in maps.layers:
            attention = pipe.unet.get_submodule(layer.name)
            given = (attention, layer, tracker, latest, keep_heads)
            _note_attention(at_exit, *given)
        yield maps


def _note_attention(
    at_exit: Callable[[Undo], None],
    attention: Attention,
    layer: CrossAttentionLayer,
    tracker: UNetCallTracker,
    latest: dict[int, Tensor],
    keep_heads: bool,
) -> None:
    """Let hooks on one layer write its attention into `latest`."""
    noted: dict[str, Tensor] = {}

    def note_queries(module: nn.Module, args: tuple, output: Tensor) -> None:
        noted["queries"] = output

    def note_keys(module: nn.Module, args: tuple, output: Tensor) -> None:
        noted["keys"] = output

    @torch.no_grad()
    def note_maps(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
        _check_processor(layer, attention.processor)
        queries, keys = noted.pop("queries"), noted.pop("keys")
        if tracker.running:  # else the layer runs alone, as gradient checkpointing does
            rows, mask = tracker.call.rows, kwargs.get("attention_mask")
            mask = None if mask is None else mask[rows]
            shares = attention_weights(attention, queries[rows], keys[rows], mask)
            if not keep_heads:
                shares = shares.mean(1, keepdim=True, dtype=torch.float32)
            latest[layer.position] = shares.float()

    at_exit(attention.to_q.register_forward_hook(note_queries).remove)
    at_exit(attention.to_k.register_forward_hook(note_keys).remove)
    at_exit(attention.register_forward_hook(note_maps, with_kwargs=True).remove)


def attention_weights(
    attention: Attention, queries: Tensor, keys: Tensor, mask: Tensor | None
) -> Tensor:
    """The attention of one layer.

    Args:
        attention: the layer.
        queries: (pictures, pixels, dim), of all heads.
        keys: (pictures, tokens, dim), of all heads.
        mask: an attention mask of the layer's call, or None.

    Returns:
        (pictures, heads, pixels, tokens); sums to 1 over tokens.
    """
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
