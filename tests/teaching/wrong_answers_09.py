"""Wrong answers to the exercises of notebook 09, and which facts they fail.

✓ or ✗ for each fact, or "stops": with an exception.
"""

import torch

from perso_lite.teaching import solutions


def compared(places):
    """The other at least as good, and better, for each score: twice (n, n, scores)."""
    own, others = places[:, None], places[None]
    return others >= own, others > own


def pairs(one, other):
    first, second = torch.triu_indices(len(one), len(one), 1)
    return one[first] - one[second], other[first] - other[second]


WRONG = {
    "undominated": {
        "beaten ones": (lambda p: ~solutions.undominated(p), "✗✗✗"),
        "best in each score": (lambda p: (p == p.amax(0)).any(1), "✗✗✗"),
        "best in all scores": (lambda p: (p == p.amax(0)).all(1), "✗✗✗"),
        "better in all": (lambda p: ~compared(p)[1].all(-1).any(1), "✓✗✓"),
        "better in any": (lambda p: ~compared(p)[1].any(-1).any(1), "✗✗✗"),
        "at least as good": (lambda p: ~compared(p)[0].all(-1).any(1), "✗✗✗"),
        "smaller is better": (lambda p: solutions.undominated(-p), "✓✗✗"),
        "best sum": (lambda p: p.sum(1) == p.sum(1).max(), "✓✓✗"),
        "two scores alone": (lambda p: solutions.undominated(p[:, :2]), "✓✓✗"),
        "first score alone": (lambda p: p[:, 0] == p[:, 0].max(), "✗✗✗"),
        "all": (lambda p: torch.ones(len(p)), "✓✗✗"),
        "none": (lambda p: torch.zeros(len(p)), "✗✗✗"),
        "their numbers": (lambda p: solutions.undominated(p).nonzero()[:, 0], "✗✗✗"),
        "the points themselves": (lambda p: p[solutions.undominated(p)], "✗✗✗"),
        "counted": (lambda p: (~compared(p)[1].all(-1)).sum(1), "✗✗✗"),
    },
    "resampled_means": {
        "one mean": (lambda v, c: v[c].mean(), "✗✗✗"),
        "over pictures alone": (lambda v, c: v[c].mean(2), "✗✗✗"),
        "over toys alone": (lambda v, c: v[c].mean(1), "✗✗✗"),
        "a sum": (lambda v, c: v[c].sum((1, 2)), "✓✗✗"),
        "pictures chosen": (lambda v, c: v[:, c].mean((0, 2)), "✓✗✗"),
        "not resampled": (lambda v, c: v.mean().expand(len(c)), "✓✗✗"),
        "each toy once": (
            lambda v, c: torch.stack([v[row.unique()].mean() for row in c]),
            "✓✓✗",
        ),
        "the first toy": (lambda v, c: v[c[:, 0]].mean(1), "✓✗✗"),
        "the first picture": (lambda v, c: v[c][:, :, 0].mean(1), "✓✗✗"),
        "the median": (lambda v, c: v[c].flatten(1).median(1).values, "✓✗✗"),
        "along the resamples": (lambda v, c: v[c].mean((0, 2)), "✗✗✗"),
        "minus the mean": (lambda v, c: v[c].mean((1, 2)) - v.mean(), "✓✗✗"),
        "the largest": (lambda v, c: v[c].amax((1, 2)), "✓✗✗"),
    },
    "kendall_tau": {
        "share of pairs": (
            lambda a, b: (
                (pairs(a, b)[0].sign() == pairs(a, b)[1].sign()).float().mean()
            ),
            "✗✗✗",
        ),
        "not the signs": (lambda a, b: (pairs(a, b)[0] * pairs(a, b)[1]).mean(), "✗✗✗"),
        "correlation": (lambda a, b: torch.corrcoef(torch.stack([a, b]))[0, 1], "✓✗✗"),
        "correlation of ranks": (
            lambda a, b: torch.corrcoef(
                torch.stack([a.argsort().argsort(), b.argsort().argsort()]).float()
            )[0, 1],
            "✓✗✗",
        ),
        "a sum": (
            lambda a, b: (pairs(a, b)[0].sign() * pairs(a, b)[1].sign()).sum(),
            "✗✗✗",
        ),
        "opposite": (lambda a, b: -solutions.kendall_tau(a, b), "✗✗✗"),
        "without its sign": (lambda a, b: solutions.kendall_tau(a, b).abs(), "✗✓✓"),
        "a thing with itself": (
            lambda a, b: ((a[:, None] - a).sign() * (b[:, None] - b).sign()).mean(),
            "✗✗✗",
        ),
        "neighbors alone": (
            lambda a, b: (a.diff().sign() * b.diff().sign()).mean(),
            "✓✗✗",
        ),
        "the same places": (
            lambda a, b: (a.argsort() == b.argsort()).float().mean(),
            "✗✗✗",
        ),
        "pairs with the first": (
            lambda a, b: ((a[1:] - a[0]).sign() * (b[1:] - b[0]).sign()).mean(),
            "✓✗✗",
        ),
        "always one": (lambda a, b: torch.tensor(1.0), "✗✗✗"),
        "zero": (lambda a, b: torch.tensor(0.0), "✗✗✗"),
    },
}
