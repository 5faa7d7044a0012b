"""Solutions to the exercises of notebook 09; a learner finds them in `solutions.py`."""

import torch
from torch import Tensor


def undominated(places: Tensor) -> Tensor:
    """Which points no other dominates: at least as good in all scores, better in one.

    Args:
        places: (points, scores), larger is better.

    Returns:
        (points,), true for those that stay.
    """
    others, own = places[None], places[:, None]  # a row for each point of its own
    beaten = (others >= own).all(-1) & (others > own).any(-1)  # (points, points)
    return ~beaten.any(1)


def resampled_means(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean score of each resample of the toys.

    Args:
        values: one per toy and picture, (toys, pictures).
        chosen: the numbers of the toys in each resample, (resamples, toys).

    Returns:
        (resamples,).
    """
    return values[chosen].mean((1, 2))


def kendall_tau(one: Tensor, other: Tensor) -> Tensor:
    """How far two scores order the same things alike: 1 always, -1 never.

    Args:
        one: (things,), no two of them equal.
        other: (things,), the same.

    Returns:
        The share of pairs in the same order, minus the share in the opposite one.
    """
    first, second = torch.triu_indices(len(one), len(one), 1)  # all pairs
    alike = (one[first] - one[second]).sign() * (other[first] - other[second]).sign()
    return alike.mean()
