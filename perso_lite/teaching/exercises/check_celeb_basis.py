"""Checks of the exercises of notebook 07; a learner finds them in `check.py`."""

from collections.abc import Callable

import torch

from perso_lite.teaching import solutions
from perso_lite.teaching.checker import Facts, agrees, ask, checker, close, numbers

NAMES, DIM, P = 7, 5, 3


@checker
def in_first_directions(mine: Callable) -> Facts:
    """Check the nearest point in the space of the first principal directions."""
    rows, vectors = numbers((NAMES, DIM), (4, DIM))
    rows = rows * torch.arange(DIM, 0, -1) + 2  # far from 0, and longer along some axes
    solution = solutions.in_first_directions
    mean = rows.mean(0, keepdim=True)
    return {
        "the mean stays where it is": close(ask(mine, mean, rows, P), mean),
        "all directions: names come back": close(ask(mine, rows, rows, DIM), rows),
        "the most important ones are kept": agrees(mine, solution, vectors, rows, P),
    }


@checker
def person_vectors(mine: Callable) -> Facts:
    """Check that a person lies on a sphere around the mean of each slot."""
    shapes = ((2, P), (2, DIM), (2, DIM, DIM), (2,))
    weights, mean, square, lengths = numbers(*shapes)
    directions, lengths = torch.linalg.qr(square).Q[:, :P], lengths.abs() + 0.5
    rest, solution = (mean, directions, lengths), solutions.person_vectors
    factors = torch.tensor([[3.0], [0.2]])  # another one in each slot
    once, other = (ask(mine, h, *rest, 0.7) for h in (weights, factors * weights))
    return {
        "radius 0: the mean person": close(ask(mine, weights, *rest, 0.0), mean),
        "only the direction of h counts": close(other, once),
        "as far as radius and lengths say": agrees(mine, solution, weights, *rest, 1.3),
    }
