"""Checks of the exercises of notebook 08; a learner finds them in `check.py`."""

from collections.abc import Callable

import torch

from perso_lite.teaching import solutions
from perso_lite.teaching.checker import Facts, agrees, ask, checker, close, numbers


@checker
def low_rank(mine: Callable) -> Facts:
    """Check what LoRA adds to a layer's output."""
    inputs, thin, wide = numbers((3, 5, 7), (2, 7), (11, 2))
    given, solution = (inputs, thin, wide), solutions.low_rank
    return {
        "shape": ask(mine, *given, 1.0).shape == (3, 5, 11),
        "first A, then B": agrees(mine, solution, *given, 1.0),
        "the scale multiplies": agrees(mine, solution, *given, 0.3),
    }


@checker
def knowledge_loss(mine: Callable) -> Facts:
    """Check 1 - cosine, as a mean."""
    states, known, lengths = numbers((3, 5, 7), (3, 5, 7), (3, 5, 1))
    ends = [ask(mine, states, states.clone()), ask(mine, states, -states)]
    longer = states * (lengths.abs() + 0.5), known
    solution = solutions.knowledge_loss
    return {
        "0 for equal, 2 for opposite": close(
            torch.stack(ends), torch.tensor([0.0, 2.0])
        ),
        "lengths do not count": agrees(mine, solution, *longer),
        "a mean over all positions": agrees(mine, solution, states, known),
    }


@checker
def word_to_end(mine: Callable) -> Facts:
    """Check where causality-preserved LoRA acts; 9 is the word, 50 the end token."""
    whole = torch.tensor([[49, 5, 9, 7, 9, 50], [49, 9, 4, 3, 6, 50]])
    padded = torch.tensor(
        [[49, 5, 9, 7, 50, 50, 50], [49, 9, 50, 0, 0, 0, 0], [49, 3, 4, 5, 6, 9, 50]]
    )
    without = torch.tensor([[49, 5, 4, 7, 50, 50, 50], [49, 50, 50, 50, 50, 50, 50]])
    solution = solutions.word_to_end
    return {
        "from the first word on": agrees(mine, solution, whole, 9, 50),
        "up to the first end token": agrees(mine, solution, padded, 9, 50),
        "nowhere without the word": agrees(mine, solution, without, 9, 50),
    }
