"""How an exercise's answer is checked: what the checkers of `check.py` stand on.

A checker finds three facts about an answer, prints them, and never raises for a wrong
one.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.teaching import solutions

Facts = dict[str, bool]


def checker(find_facts: Callable[[Callable], Facts]) -> Callable[[Callable], None]:
    """Make a checker, which prints, of a function that finds facts about an answer.

    The function stays within reach as the checker's `facts`.
    """
    name = find_facts.__name__

    def check(mine: Callable) -> None:
        try:
            facts = find_facts(mine)
        except PersoError as reason:
            print(f"✗ {reason}")
        except Exception as reason:  # whatever a half-written function may do
            first_line = str(reason).partition("\n")[0]
            print(f"✗ your function stopped with {type(reason).__name__}: {first_line}")
        else:
            print("  ".join(f"{'✓' if facts[fact] else '✗'} {fact}" for fact in facts))
            if is_provided(mine, name):
                print("this is still the provided solution")

    check.__name__ = check.__qualname__ = name
    check.__doc__ = find_facts.__doc__
    check.facts = find_facts
    return check


def is_provided(mine: Callable, name: str) -> bool:
    """Whether an answer is the solution, or still returns what the solution does."""
    if mine is getattr(solutions, name):
        return True
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(mine))).body
        returns = [line for line in function.body if isinstance(line, ast.Return)]
    except (OSError, TypeError, SyntaxError, AttributeError):
        return False  # no plain function, so not the one the notebook gave
    return bool(returns) and f"solutions.{name}(" in ast.unparse(returns[0])


def agrees(mine: Callable, solution: Callable, *given: Any) -> bool:
    """Whether an answer is the solution's, but for rounding."""
    return close(ask(mine, *given), ask(solution, *given))


def ask(function: Callable, *given: Any) -> Tensor:
    """What a function answers to copies of the input, so that none can change it."""
    copies = [x.clone() if isinstance(x, Tensor) else x for x in given]
    return as_tensor(function(*copies))


def as_tensor(answer: Any) -> Tensor:
    """An answer as a tensor; a number becomes one of shape ().

    Raises:
        PersoError: it is neither.
    """
    if not isinstance(answer, Tensor | int | float):
        raise PersoError(
            f"your function returned {type(answer).__name__}, but a tensor was expected"
        )
    return torch.as_tensor(answer).float()


def close(answer: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors have one shape and, but for rounding, the same numbers."""
    return answer.shape == wanted.shape and torch.allclose(answer, wanted, atol=1e-5)


def numbers(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Normal random tensors of these shapes, the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]
