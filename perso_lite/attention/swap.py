"""Other text inside the attention: swap keys or values, inject prompts.

A word's key decides where it has a say, its value what it says (see record.py), and
each cross-attention layer makes both anew from the text at every step. So they can be
made of different prompts (`swap_keys_values`), and a prompt can be read by some layers
during some steps alone (`inject_prompts`), which shows where and when each of its parts
is used.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.attention.unet_calls import UNetCallTracker, tracked_unet_calls
from perso_lite.conditioning.cross_attention import (
    CrossAttentionLayer,
    Layers,
    choose_layers,
    cross_attention_layers,
    rewritten_text,
)
from perso_lite.conditioning.tokens import encode_prompts
from perso_lite.errors import PersoError


@contextmanager
def swap_keys_values(
    pipe: StableDiffusionPipeline,
    keys: str | None = None,
    values: str | None = None,
    guided: bool | None = None,
) -> Iterator[None]:
    """Inside, pictures take keys (where) or values (what) from other prompts.

    Negative prompts keep theirs. Maps recorded inside belong to the keys' prompt: tell
    `record_attention(prompts=...)`.

    Args:
        pipe: a stock pipeline, with the concepts in the prompts attached already.
        keys: the prompt to make keys of; None: the picture's own.
        values: the prompt to make values of; None: the picture's own.
        guided: as in `record_attention`.

    Raises:
        PersoError: neither is given.
    """
    if keys is None and values is None:
        raise PersoError(
            "swap_keys_values() was given neither keys nor values, so there is nothing "
            'to swap. Say for example swap_keys_values(pipe, values="a red car").'
        )
    with torch.no_grad():
        where, what = (
            None if prompt is None else encode_prompts(pipe, [prompt])
            for prompt in (keys, values)
        )
    with tracked_unet_calls(pipe, guided) as watch:

        def with_keys(layer: CrossAttentionLayer, states: Tensor) -> Tensor:
            return _prompted(watch, states, where)

        def with_values(layer: CrossAttentionLayer, states: Tensor) -> Tensor:
            return _prompted(watch, states, what)

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
) -> Iterator[None]:
    """Inside, chosen layers read another prompt during chosen steps.

    For example `{("mid", (0, 8)): "a red car"}`: the middle layer reads it during the
    first eight steps. Negative prompts stay.

    Args:
        pipe: a stock pipeline, with the concepts in the prompts attached already.
        prompts_by: prompts by layers, as in `AttentionMaps.word` (positions as a
            tuple), and by first and last + 1 step; None is all. Where two meet, the
            later wins.
        guided: as in `record_attention`.

    Raises:
        PersoError: no prompts, or steps that are no range; from within a U-Net call,
            layers that do not exist.
    """
    _check_injection(prompts_by)
    layers = cross_attention_layers(pipe.unet)
    with torch.no_grad():
        states_by = {
            where: encode_prompts(pipe, [prompt])  # (1, tokens, dim)
            for where, prompt in prompts_by.items()
        }
    with tracked_unet_calls(pipe, guided) as watch:

        def rewrite(layer: CrossAttentionLayer, states: Tensor) -> Tensor:
            call = watch.call
            for (which, steps), others in reversed(states_by.items()):
                there = choose_layers(layers, which, call.height, call.width)
                if layer in there and (steps is None or call.step in range(*steps)):
                    return _prompted(watch, states, others)
            return states

        with rewritten_text(pipe.unet, rewrite, rewrite):
            yield


def _prompted(watch: UNetCallTracker, states: Tensor, others: Tensor) -> Tensor:
    """Text states (batch, tokens, dim), with others in the prompts' rows."""
    states = states.clone()
    states[watch.call.rows] = others.to(states)
    return states


def _check_injection(prompts_by: Mapping[tuple, str]) -> None:
    example = 'Say for example {("mid", (0, 8)): "a red car"}.'
    if not prompts_by:
        raise PersoError(f"inject_prompts() was given no prompts. {example}")
    for _, steps in prompts_by:
        if steps is not None and not (len(steps) == 2 and 0 <= steps[0] < steps[1]):
            raise PersoError(
                f"{steps!r} is no range of steps: the first step and the last one "
                f"plus 1 were expected, or None for all. {example}"
            )
