"""Other text inside the attention: swap keys or values, inject prompts.

A word's key decides where it acts, its value what it adds there (see record.py). Each
cross-attention layer computes both from the text at every step. So keys and values can
come from different prompts (`swap_keys_values`), and chosen layers can read another
prompt during chosen steps (`inject_prompts`), which shows where and when a part of a
prompt is used.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.attention.layers import Layers, choose_layers
from perso_lite.attention.unet_calls import UNetCallTracker, tracked_unet_calls
from perso_lite.conditioning.cross_attention import (
    CrossAttentionLayer,
    cross_attention_layers,
    rewritten_text,
)
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError


@contextmanager
def swap_keys_values(
    pipe: StableDiffusionPipeline,
    keys: str | None = None,
    values: str | None = None,
    guided: bool | None = None,
) -> Iterator[None]:
    """Inside, pictures take keys (where) or values (what) from other prompts.

    Negative prompts keep theirs. Maps recorded inside belong to the keys' prompt: give
    it to `record_attention(prompts=...)`.

    Args:
        pipe: a stock pipeline, with the concepts in the prompts attached already.
        keys: the prompt the keys come from; None: the picture's own.
        values: the prompt the values come from; None: the picture's own.
        guided: as in `record_attention`.

    Raises:
        PersoError: neither is given, or a prompt is so long that a learned word in it
            would be cut off; within a U-Net call, as for `record_attention`.
    """
    if keys is None and values is None:
        raise PersoError(
            "swap_keys_values() was given neither keys nor values, so there is nothing "
            'to swap. Say for example swap_keys_values(pipe, values="a red car").'
        )
    with torch.no_grad():
        key_states, value_states = (  # (1, tokens, dim)
            None if prompt is None else encode_prompts(pipe, [prompt])
            for prompt in (keys, values)
        )
    with tracked_unet_calls(pipe, guided) as tracker:

        def with_keys(layer: CrossAttentionLayer, states: Tensor) -> Tensor:
            return _replaced(tracker, states, key_states)

        def with_values(layer: CrossAttentionLayer, states: Tensor) -> Tensor:
            return _replaced(tracker, states, value_states)

        with rewritten_text(
            pipe.unet,
            with_keys if keys is not None else None,
            with_values if values is not None else None,
        ):
            yield


@contextmanager
def inject_prompts(
    pipe: StableDiffusionPipeline,
    prompts_by: Mapping[tuple[Layers, tuple[int, int] | None], str],
    guided: bool | None = None,
    *,
    keys: bool = True,
    values: bool = True,
) -> Iterator[None]:
    """Inside, chosen layers read another prompt during chosen steps.

    With `{("mid", (0, 8)): "a red car"}`, for example, the middle layer reads the
    prompt during the first eight steps. Negative prompts stay.

    Args:
        pipe: a stock pipeline, with the concepts in the prompts attached already.
        prompts_by: prompts by (layers, steps). Layers are as in `AttentionMaps.word`
            (positions as a tuple), steps are (first, last + 1); None: all of them.
            Where two entries overlap, the later one counts.
        guided: as in `record_attention`.
        keys: whether the layers make their keys (where) of the other prompt.
        values: whether they make their values (what) of it.

    Raises:
        PersoError: no prompts, neither keys nor values, a prompt so long that a learned
            word in it would be cut off, or steps that are no range; within a U-Net
            call, layers that do not exist, or as for `record_attention`.
    """
    _check_injection(prompts_by, keys or values)
    with torch.no_grad():
        states_by = {
            choice: encode_prompts(pipe, [prompt])  # (1, tokens, dim)
            for choice, prompt in prompts_by.items()
        }
    layers = cross_attention_layers(pipe.unet)
    with tracked_unet_calls(pipe, guided) as tracker:

        def rewrite(layer: CrossAttentionLayer, states: Tensor) -> Tensor:
            call = tracker.call
            for (which, steps), others in reversed(states_by.items()):
                chosen = choose_layers(layers, which, call.height, call.width)
                if layer in chosen and (steps is None or call.step in range(*steps)):
                    return _replaced(tracker, states, others)
            return states

        with rewritten_text(
            pipe.unet, rewrite if keys else None, rewrite if values else None
        ):
            yield


def _replaced(tracker: UNetCallTracker, states: Tensor, others: Tensor) -> Tensor:
    """Text states (batch, tokens, dim) with `others` in the prompts' rows."""
    states = states.clone()
    states[tracker.call.rows] = others.to(states)
    return states


def _check_injection(prompts_by: Mapping[tuple, str], anything: bool) -> None:
    example = 'Say for example {("mid", (0, 8)): "a red car"}.'
    if not anything:
        raise PersoError(
            "inject_prompts() was given neither keys nor values to inject. Leave out "
            "keys=False or values=False."
        )
    if not prompts_by:
        raise PersoError(f"inject_prompts() was given no prompts. {example}")
    for _, steps in prompts_by:
        if steps is not None and not (len(steps) == 2 and 0 <= steps[0] < steps[1]):
            raise PersoError(
                f"{steps!r} is no range of steps: the first step and the last one "
                f"plus 1 were expected, or None for all. {example}"
            )
