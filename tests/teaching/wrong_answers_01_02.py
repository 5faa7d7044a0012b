"""Wrong answers to the exercises of notebooks 01 and 02, and which facts they fail.

✓ or ✗ for each fact, or "stops": with an exception.
"""

import torch
from torch.nn.functional import normalize

from perso_lite.teaching import solutions


def wrong_axis(q, k, v):
    return (q @ k.T / q.shape[1] ** 0.5).softmax(0) @ v


def no_scaling(q, k, v):
    return (q @ k.T).softmax(1) @ v


def scaled_by_dim(q, k, v):
    return (q @ k.T / q.shape[1]).softmax(1) @ v


def scaled_by_tokens(q, k, v):
    return (q @ k.T / k.shape[0] ** 0.5).softmax(1) @ v


def wrong_sign(q, k, v):
    return (-q @ k.T / q.shape[1] ** 0.5).softmax(1) @ v


def no_softmax(q, k, v):
    return q @ k.T / q.shape[1] ** 0.5 @ v


def weights_alone(q, k, v):
    return (q @ k.T / q.shape[1] ** 0.5).softmax(1)


def half_on(heat):
    return (heat >= heat.max() / 2) & (heat > 0)


def over_the_mask(heat, mask):
    return (half_on(heat) & mask).sum() / mask.sum()


def dice(heat, mask):
    on = half_on(heat)
    return 2 * (on & mask).sum() / (on.sum() + mask.sum())


def cut_at_the_mean(heat, mask):
    return solutions.intersection_over_union((heat >= heat.mean()).float(), mask)


def cut_at_one_half(heat, mask):
    on = heat >= 0.5
    return (on & mask).sum() / (on | mask).sum()


def as_many_as_the_mask(heat, mask):
    on = heat >= heat.flatten().sort(descending=True).values[mask.sum() - 1]
    return (on & mask).sum() / (on | mask).sum()


def iou(on, mask):
    return (on & mask).sum() / (on | mask).sum()


def erased_in_place(heat, mask):
    whole = heat  # the same tensor, no copy
    heat[mask] = 0
    return heat.sum() / whole.sum()


WRONG = {
    "cross_attention": {
        "wrong axis": (wrong_axis, "✓✗✗"),
        "no scaling": (no_scaling, "✓✓✗"),
        "scaled by dim": (scaled_by_dim, "✓✓✗"),
        "scaled by tokens": (scaled_by_tokens, "✓✓✗"),
        "wrong sign": (wrong_sign, "✓✓✗"),
        "no softmax": (no_softmax, "✓✗✗"),
        "weights alone": (weights_alone, "✗✗✗"),
        "queries alone": (lambda q, k, v: q, "✗✗✗"),
        "zeros": (lambda q, k, v: torch.zeros(5, 11), "✓✗✗"),
        "swapped arguments": (
            lambda q, k, v: solutions.cross_attention(k, q, v),
            "stops",
        ),
        "softmax before the scores are scaled": (
            lambda q, k, v: (q @ k.T).softmax(1) / q.shape[1] ** 0.5 @ v,
            "✓✗✗",
        ),
        "multiplied by the root": (
            lambda q, k, v: (q @ k.T * q.shape[1] ** 0.5).softmax(1) @ v,
            "✓✓✗",
        ),
        "scaled by the values": (
            lambda q, k, v: (q @ k.T / v.shape[1] ** 0.5).softmax(1) @ v,
            "✓✓✗",
        ),
        "scaled by positions": (
            lambda q, k, v: (q @ k.T / q.shape[0] ** 0.5).softmax(1) @ v,
            "✓✓✗",
        ),
        "exp without a sum": (
            lambda q, k, v: (q @ k.T / q.shape[1] ** 0.5).exp() @ v,
            "✓✗✗",
        ),
        "sigmoid for softmax": (
            lambda q, k, v: (q @ k.T / q.shape[1] ** 0.5).sigmoid() @ v,
            "✓✗✗",
        ),
        "log softmax": (
            lambda q, k, v: (q @ k.T / q.shape[1] ** 0.5).log_softmax(1) @ v,
            "✓✗✗",
        ),
        "hard attention": (lambda q, k, v: v[(q @ k.T).argmax(1)], "✓✓✗"),
        "keys not transposed": (
            lambda q, k, v: (q @ k / q.shape[1] ** 0.5).softmax(1) @ v,
            "stops",
        ),
        "transposed result": (
            lambda q, k, v: solutions.cross_attention(q, k, v).T,
            "✗✗✗",
        ),
        "cosine scores": (
            lambda q, k, v: (normalize(q) @ normalize(k).T).softmax(1) @ v,
            "✓✓✗",
        ),
        "causal": (
            lambda q, k, v: (q @ k.T / q.shape[1] ** 0.5).tril().softmax(1) @ v,
            "✓✓✗",
        ),
    },
    "guided_noise": {
        "unprompted alone": (lambda un, pro, scale: un, "✓✗✗"),
        "prompted alone": (lambda un, pro, scale: pro, "✗✓✗"),
        "prompted times scale": (lambda un, pro, scale: scale * pro, "✗✓✗"),
        "ends swapped": (lambda un, pro, scale: pro + scale * (un - pro), "✗✗✗"),
        "from the prompted end": (
            lambda un, pro, scale: pro + scale * (pro - un),
            "✗✗✗",
        ),
        "scale at most one": (
            lambda un, pro, scale: un.lerp(pro, min(scale, 1)),
            "✓✓✗",
        ),
        "zeros": (lambda un, pro, scale: torch.zeros_like(un), "✗✗✗"),
        "arguments swapped": (
            lambda un, pro, scale: solutions.guided_noise(pro, un, scale),
            "✗✗✗",
        ),
        "one less": (lambda un, pro, scale: un + (scale - 1) * (pro - un), "✗✗✗"),
        "one more": (lambda un, pro, scale: un + (scale + 1) * (pro - un), "✗✗✗"),
        "no difference": (lambda un, pro, scale: un + scale * pro, "✓✗✗"),
        "brackets forgotten": (lambda un, pro, scale: un + scale * pro - un, "✗✓✗"),
        "away from the prompt": (lambda un, pro, scale: un - scale * (pro - un), "✓✗✗"),
        "divided": (lambda un, pro, scale: un + (pro - un) / max(scale, 1e-6), "✗✓✗"),
        "whole scales": (lambda un, pro, scale: un + int(scale) * (pro - un), "✓✓✗"),
        "mean direction": (
            lambda un, pro, scale: un + scale * (pro - un).mean(),
            "✓✗✗",
        ),
        "first picture alone": (
            lambda un, pro, scale: (un + scale * (pro - un))[:1],
            "✗✗✗",
        ),
        "difference alone": (lambda un, pro, scale: scale * (pro - un), "✗✗✗"),
        "unit direction": (
            lambda un, pro, scale: un + scale * (pro - un) / (pro - un).norm(),
            "✓✗✗",
        ),
    },
    "intersection_over_union": {
        "over the mask": (over_the_mask, "✓✓✗"),
        "dice": (dice, "✓✗✗"),
        "cut at the mean": (cut_at_the_mean, "✓✗✓"),
        "cut at one half": (cut_at_one_half, "✓✗✗"),
        "as many as the mask": (as_many_as_the_mask, "✓✗✓"),
        "mask of the intersection": (lambda heat, mask: half_on(heat) & mask, "✗✗✗"),
        "zero": (lambda heat, mask: 0.0, "✓✗✗"),
        "over the map": (
            lambda heat, mask: (half_on(heat) & mask).sum() / half_on(heat).sum(),
            "✓✗✗",
        ),
        "sum for union": (
            lambda heat, mask: (
                (half_on(heat) & mask).sum() / (half_on(heat).sum() + mask.sum())
            ),
            "✓✗✗",
        ),
        "xor for union": (
            lambda heat, mask: (
                (half_on(heat) & mask).sum() / (half_on(heat) ^ mask).sum()
            ),
            "✓✗✗",
        ),
        "over the picture": (
            lambda heat, mask: (half_on(heat) & mask).sum() / mask.numel(),
            "✓✓✗",
        ),
        "intersection alone": (lambda heat, mask: (half_on(heat) & mask).sum(), "✓✗✗"),
        "not exactly half": (
            lambda heat, mask: iou(heat > heat.max() / 2, mask),
            "✓✗✓",
        ),
        "half of the mean": (
            lambda heat, mask: iou(heat >= heat.mean() / 2, mask),
            "✓✗✓",
        ),
        "median": (lambda heat, mask: iou(heat >= heat.median(), mask), "✓✗✗"),
        "half of each row": (
            lambda heat, mask: iou(heat >= heat.amax(1, True) / 2, mask),
            "✓✗✗",
        ),
        "half of the range": (
            lambda heat, mask: iou(heat >= (heat.max() + heat.min()) / 2, mask),
            "✓✗✓",
        ),
        "a quarter": (lambda heat, mask: iou(heat >= heat.max() / 4, mask), "✓✗✓"),
        "soft": (
            lambda heat, mask: (
                (heat * mask).sum() / torch.maximum(heat, mask.float()).sum()
            ),
            "✓✗✗",
        ),
        "whole numbers": (
            lambda heat, mask: (
                (half_on(heat) & mask).sum() // (half_on(heat) | mask).sum()
            ),
            "✓✗✗",
        ),
        "per row": (
            lambda heat, mask: (
                (half_on(heat) & mask).sum(1) / (half_on(heat) | mask).sum(1)
            ),
            "✗✗✗",
        ),
        "beside the mask": (lambda heat, mask: iou(half_on(heat), ~mask), "✓✗✗"),
    },
    "leaked_share": {
        "share inside": (lambda heat, mask: heat[mask].sum() / heat.sum(), "✗✗✗"),
        "not divided": (lambda heat, mask: heat[~mask].sum(), "✓✗✗"),
        "means for sums": (lambda heat, mask: heat[~mask].mean() / heat.mean(), "✓✗✗"),
        "area of the map beside": (
            lambda heat, mask: (half_on(heat) & ~mask).sum() / 40,
            "✓✗✗",
        ),
        "sum forgotten": (lambda heat, mask: heat * ~mask / heat.sum(), "✗✗✗"),
        "zero": (lambda heat, mask: 0, "✓✗✗"),
        "leak over rest": (
            lambda heat, mask: heat[~mask].sum() / heat[mask].sum(),
            "✓✗✗",
        ),
        "area beside": (lambda heat, mask: (~mask).float().mean(), "✗✗✗"),
        "leaked peak": (lambda heat, mask: heat[~mask].max() / heat.max(), "✓✓✗"),
        "percent": (lambda heat, mask: 100 * heat[~mask].sum() / heat.sum(), "✓✗✗"),
        "squared": (
            lambda heat, mask: (heat[~mask] ** 2).sum() / (heat**2).sum(),
            "✓✓✗",
        ),
        "per row": (lambda heat, mask: (heat * ~mask).sum(1) / heat.sum(), "✗✗✗"),
        "whole numbers": (lambda heat, mask: heat[~mask].sum() // heat.sum(), "✓✓✗"),
        "erased in place": (erased_in_place, "✗✓✗"),
        "mean over sum": (lambda heat, mask: heat[~mask].mean() / heat.sum(), "✓✗✗"),
        "one minus iou": (
            lambda heat, mask: 1 - solutions.intersection_over_union(heat, mask),
            "✗✓✗",
        ),
        "normalized by the maximum": (
            lambda heat, mask: heat[~mask].sum() / heat.max(),
            "✓✗✗",
        ),
        "zero or one": (lambda heat, mask: (heat[~mask].sum() > 0).float(), "✓✓✗"),
    },
}
