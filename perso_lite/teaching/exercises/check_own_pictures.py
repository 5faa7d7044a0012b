"""Checks of the exercises of notebook 10; a learner finds them in `check.py`."""

from collections.abc import Callable

import torch

from perso_lite.teaching import solutions
from perso_lite.teaching.checker import Facts, agrees, ask, checker, close, numbers


@checker
def sharpness(mine: Callable) -> Facts:
    """Check the mean square of the Laplacian."""
    (noise,) = numbers((6, 9))
    even = torch.arange(5.0)[:, None] + 2 * torch.arange(7.0) + 3  # a slope
    dot = torch.zeros(5, 7)
    dot[2, 3] = 1
    found = torch.stack([ask(mine, even), ask(mine, 0 * even + 1)])
    return {
        "0 where gray changes evenly": close(found, torch.zeros(2)),
        "a single dot": agrees(mine, solutions.sharpness, dot),
        "any picture": agrees(mine, solutions.sharpness, noise),
    }
