"""Wrong answers to the exercises of notebook 05, and which facts they fail.

✓ or ✗ for each fact, or "stops": with an exception.
"""

import torch
from torch.nn.functional import normalize

from perso_lite.teaching import solutions


def no_length(points, frequencies):
    angles = points @ frequencies.T
    return torch.cat([angles.sin(), angles.cos()], 1)


def sines_alone(points, frequencies):
    angles = points @ frequencies.T
    return normalize(angles.sin(), dim=1)


def cosines_first(points, frequencies):
    return solutions.waves(points, frequencies).roll(len(frequencies), 1)


def two_pi(points, frequencies):
    return solutions.waves(points, 2 * torch.pi * frequencies)


def the_points_normalized(points, frequencies):
    return solutions.waves(normalize(points, dim=1), frequencies)


def one_more(hidden, kept):
    return solutions.first_units(hidden, kept + 1)


def the_last_units(hidden, kept):
    return solutions.first_units(hidden.flip(1), kept).flip(1)


def one_k_for_all(hidden, kept):
    return solutions.first_units(hidden, kept[:1].expand(len(kept)))


def rescaled(hidden, kept):
    scale = hidden.shape[1] / kept[:, None].clamp(min=1)
    return solutions.first_units(hidden, kept) * scale


def whole_batch_length(state, bypass, alpha):
    return state + alpha * state.norm() * bypass / bypass.norm()


def plain_sum(state, bypass, alpha):
    return state + alpha * bypass


def unit_step(state, bypass, alpha):
    return state + alpha * normalize(bypass, dim=1)


def length_of_bypass(state, bypass, alpha):
    direction = normalize(state, dim=1)
    return state + alpha * bypass.norm(dim=1, keepdim=True) * direction


def mixed_in(state, bypass, alpha):
    moved = solutions.bypassed(torch.zeros_like(state), bypass, 0) + alpha * (
        state.norm(dim=1, keepdim=True) * bypass / bypass.norm(dim=1, keepdim=True)
    )
    return (1 - alpha) * state + moved


def the_largest_units(hidden, kept):
    rank = hidden.abs().argsort(1, descending=True).argsort(1)
    return hidden * (rank < kept[:, None])


def length_kept(state, bypass, alpha):
    moved = solutions.bypassed(state, bypass, alpha)
    return normalize(moved) * state.norm(dim=1, keepdim=True)


WRONG = {
    "waves": {
        "no length": (no_length, "✗✓✗"),
        "sines alone": (sines_alone, "✓✗✗"),
        "cosines first": (cosines_first, "✓✓✗"),
        "two pi": (two_pi, "✓✓✗"),
        "the points normalized": (the_points_normalized, "✓✗✗"),
        "zeros": (lambda points, frequencies: torch.zeros(5, 14), "✗✓✗"),
        "not transposed": (lambda p, w: solutions.waves(p, w.T), "stops"),
        "normalized over points": (
            lambda p, w: normalize(no_length(p, w), dim=0),
            "✗✗✗",
        ),
        "normalized over all": (
            lambda p, w: no_length(p, w) / no_length(p, w).norm(),
            "✗✓✗",
        ),
        "divided by all features": (
            lambda p, w: no_length(p, w) / (2 * len(w)) ** 0.5,
            "✗✓✗",
        ),
        "divided by the waves": (lambda p, w: no_length(p, w) / len(w), "✗✓✗"),
        "square for length": (
            lambda p, w: no_length(p, w) / no_length(p, w).square().sum(1, True),
            "✗✓✗",
        ),
        "in turns": (
            lambda p, w: (
                torch.stack([(p @ w.T).sin(), (p @ w.T).cos()], 2).flatten(1)
                / len(w) ** 0.5
            ),
            "✓✓✗",
        ),
        "sines twice": (
            lambda p, w: normalize(torch.cat([(p @ w.T).sin()] * 2, 1)),
            "✓✗✗",
        ),
        "angles alone": (
            lambda p, w: normalize(torch.cat([p @ w.T, p @ w.T], 1)),
            "✓✗✗",
        ),
        "stacked below": (
            lambda p, w: torch.cat([(p @ w.T).sin(), (p @ w.T).cos()]) / len(w) ** 0.5,
            "✗✗✗",
        ),
        "columns swapped": (lambda p, w: solutions.waves(p.flip(1), w), "✓✓✗"),
        "timestep alone": (
            lambda p, w: solutions.waves(p * torch.tensor([1.0, 0.0]), w),
            "✓✓✗",
        ),
        "halves normalized": (
            lambda p, w: (
                torch.cat([normalize((p @ w.T).sin()), normalize((p @ w.T).cos())], 1)
                / 2**0.5
            ),
            "✓✗✗",
        ),
    },
    "first_units": {
        "one more": (one_more, "✗✗✗"),
        "the last units": (the_last_units, "✓✗✗"),
        "one k for all": (one_k_for_all, "✗✓✗"),
        "rescaled": (rescaled, "✓✗✗"),
        "unchanged": (lambda hidden, kept: hidden, "✗✗✗"),
        "one less": (
            lambda hidden, kept: solutions.first_units(hidden, kept - 1),
            "✗✗✗",
        ),
        "the others": (
            lambda hidden, kept: hidden - solutions.first_units(hidden, kept),
            "✗✗✗",
        ),
        "so many dropped": (
            lambda hidden, kept: solutions.first_units(hidden, hidden.shape[1] - kept),
            "✗✗✗",
        ),
        "mask alone": (
            lambda hidden, kept: solutions.first_units(torch.ones_like(hidden), kept),
            "✗✗✗",
        ),
        "cut off": (lambda hidden, kept: hidden[:, : kept.max()], "✗✗✗"),
        "the most for all": (
            lambda hidden, kept: solutions.first_units(hidden, kept.max().expand(4)),
            "✗✓✗",
        ),
        "the least for all": (
            lambda hidden, kept: solutions.first_units(hidden, kept.min().expand(4)),
            "✗✓✗",
        ),
        "not reshaped": (
            lambda hidden, kept: hidden * (torch.arange(6) < kept),
            "stops",
        ),
        "the largest units": (the_largest_units, "✓✗✗"),
        "minus infinity": (
            lambda hidden, kept: hidden.masked_fill(
                torch.arange(6) >= kept[:, None], -torch.inf
            ),
            "✗✗✗",
        ),
        "that unit alone": (
            lambda hidden, kept: hidden * (torch.arange(6) == kept[:, None] - 1),
            "✗✗✗",
        ),
        "first rows": (
            lambda hidden, kept: hidden * (torch.arange(4)[:, None] < kept[:, None]),
            "✓✗✗",
        ),
        "reversed batch": (
            lambda hidden, kept: solutions.first_units(hidden, kept.flip(0)),
            "✗✓✗",
        ),
    },
    "bypassed": {
        "whole batch length": (whole_batch_length, "✓✓✗"),
        "plain sum": (plain_sum, "✓✗✗"),
        "unit step": (unit_step, "✓✓✗"),
        "length of bypass": (length_of_bypass, "✓✗✗"),
        "mixed in": (mixed_in, "✓✓✗"),
        "no step": (lambda state, bypass, alpha: state, "✓✗✗"),
        "swapped arguments": (
            lambda state, bypass, alpha: solutions.bypassed(bypass, state, alpha),
            "✗✗✗",
        ),
        "backwards": (
            lambda state, bypass, alpha: solutions.bypassed(state, -bypass, alpha),
            "✓✓✗",
        ),
        "no alpha": (
            lambda state, bypass, alpha: solutions.bypassed(state, bypass, 1.0),
            "✗✓✗",
        ),
        "alpha squared": (
            lambda state, bypass, alpha: solutions.bypassed(state, bypass, alpha**2),
            "✓✓✗",
        ),
        "not normalized": (
            lambda state, bypass, alpha: (
                state + alpha * state.norm(dim=1, keepdim=True) * bypass
            ),
            "✓✗✗",
        ),
        "square for length": (
            lambda h, b, alpha: (
                h + alpha * h.norm(dim=1, keepdim=True) * b / b.square().sum(1, True)
            ),
            "✓✗✗",
        ),
        "squared state": (
            lambda h, b, alpha: h + alpha * h.square().sum(1, True) * normalize(b),
            "✓✓✗",
        ),
        "step alone": (
            lambda state, bypass, alpha: (
                solutions.bypassed(state, bypass, alpha) - state
            ),
            "✗✓✗",
        ),
        "mean length": (
            lambda h, b, alpha: h + alpha * h.norm(dim=1).mean() * normalize(b),
            "✓✓✗",
        ),
        "over the batch": (
            lambda h, b, alpha: h + alpha * h.norm(dim=0) * normalize(b, dim=0),
            "✓✓✗",
        ),
        "length kept": (length_kept, "✓✓✗"),
        "added up": (
            lambda h, b, alpha: (
                h + alpha * h.abs().sum(1, True) * b / b.abs().sum(1, True)
            ),
            "✓✓✗",
        ),
        "not broadcast": (
            lambda h, b, alpha: h + alpha * h.norm(dim=1) * b / b.norm(dim=1),
            "stops",
        ),
        "largest number one": (
            lambda h, b, alpha: (
                h + alpha * h.norm(dim=1, keepdim=True) * b / b.abs().amax(1, True)
            ),
            "✓✓✗",
        ),
    },
}
