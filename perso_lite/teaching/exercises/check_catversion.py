"""Checks of the exercises of notebook 06; a learner finds them in `check.py`."""

from collections.abc import Callable

import torch

from perso_lite.teaching import solutions
from perso_lite.teaching.checker import Facts, agrees, ask, checker, close, numbers


@checker
def concatenated(mine: Callable) -> Facts:
    """Check attention with a key and a value before the tokens."""
    shapes = ((5, 7), (5, 7), (5, 3), (7,), (3,))
    given, solution = numbers(*shapes), solutions.concatenated
    value = given[-1].expand(5, 3)
    return {
        "bias -inf: as without": agrees(mine, solution, *given, -torch.inf),
        "a large bias: P_V alone": close(ask(mine, *given, 80.0), value),
        "each token sees P and those before it": agrees(mine, solution, *given, 0.7),
    }


@checker
def masked_similarity(mine: Callable) -> Facts:
    """Check that backgrounds do not count, and that all pairs do."""
    drawn, known, scene = numbers((4, 3, 5, 6), (2, 3, 5, 6), (1, 3, 5, 6))
    here, there = (x.sum(1, keepdim=True) > -0.5 for x in (drawn, known))
    found = ask(mine, drawn, here, known, there)
    moved = torch.where(here, drawn, scene), here, torch.where(there, known, scene)
    itself = (drawn[:1], here[:1])
    solution = solutions.masked_similarity
    return {
        "backgrounds do not count": close(ask(mine, *moved, there), found),
        "1 for the same picture": close(ask(mine, *itself, *itself), torch.ones(1)),
        "the mean over all pairs": agrees(mine, solution, drawn, here, known, there),
    }
