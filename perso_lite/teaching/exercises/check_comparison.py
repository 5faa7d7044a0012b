"""Checks of the exercises of notebook 09; a learner finds them in `check.py`."""

from collections.abc import Callable

import torch

from perso_lite.teaching import solutions
from perso_lite.teaching.checker import Facts, agrees, ask, checker, close, numbers


@checker
def undominated(mine: Callable) -> Facts:
    """Check which points no other dominates."""
    (many,) = numbers((9, 3))
    ties = torch.tensor([[1.0, 2], [1, 2], [1, 3], [0, 4], [0, 3]])
    line = torch.tensor([[3.0, 1], [2, 2], [1, 3]])
    solution = solutions.undominated
    return {
        "a trade-off keeps all": agrees(mine, solution, line),
        "equal points stay together": agrees(mine, solution, ties),
        "any number of scores": agrees(mine, solution, many),
    }


@checker
def resampled_means(mine: Callable) -> Facts:
    """Check the means of resampled toys."""
    (values,) = numbers((4, 6))
    once = torch.arange(4)[None]
    same = torch.tensor([[2, 2, 2, 2]])
    chosen = torch.tensor([[0, 0, 1, 3], [3, 2, 2, 2], [1, 1, 1, 0]])
    each = [ask(mine, values, once), ask(mine, values, same)]
    wanted = torch.stack([values.mean()[None], values[2].mean()[None]])
    return {
        "one mean per resample": ask(mine, values, chosen).shape == (3,),
        "each toy once: the mean": close(torch.stack(each), wanted),
        "a toy may come twice": agrees(mine, solutions.resampled_means, values, chosen),
    }


@checker
def kendall_tau(mine: Callable) -> Facts:
    """Check the agreement of two orders."""
    one, other = numbers((7,), (7,))
    ends = [ask(mine, one, 3 * one + 1), ask(mine, one, -one)]
    swapped = torch.tensor([1.0, 2, 3, 4, 5]), torch.tensor([1.0, 2, 4, 3, 5])
    solution = solutions.kendall_tau
    return {
        "1 for one order, -1 for the opposite": close(
            torch.stack(ends), torch.tensor([1.0, -1.0])
        ),
        "one pair of ten swapped: 0.8": agrees(mine, solution, *swapped),
        "sizes do not count": agrees(mine, solution, one**3, other.exp()),
    }
