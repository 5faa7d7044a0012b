"""The basis of the checkers in `check.py`: how an exercise's answer is checked.

A checker tests three facts about an answer and prints the results, and for a fact that
fails one number that differs. A wrong answer never raises.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.teaching import solutions


@dataclass(frozen=True, eq=False)
class Difference:
    """A fact that does not hold: it is false, and can name a number that differs."""

    answer: Tensor
    wanted: Tensor

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        yours, wanted = self.answer, self.wanted
        if yours.shape != wanted.shape:
            shapes = tuple(yours.shape), tuple(wanted.shape)
            return f"yours has shape {shapes[0]}, expected is {shapes[1]}"
        place = tuple((~_nearly_equal(yours, wanted)).nonzero()[0].tolist())
        numbers = [f"{tensor[place].item():.5g}" for tensor in (yours, wanted)]
        where = f"at {list(place)} " if place else ""
        return f"{where}yours is {numbers[0]}, expected is {numbers[1]}"


# a short description of each fact, and whether it holds
Facts = dict[str, bool | Difference]


def checker(find_facts: Callable[[Callable], Facts]) -> Callable[[Callable], None]:
    """Turn a function that returns facts about an answer into one that prints them.

    Returns:
        The checker; its attribute `facts` is the original function.
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
            print_difference(facts)
            if is_provided(mine, name):
                print("this is still the provided solution")

    check.__name__ = check.__qualname__ = name
    check.__doc__ = find_facts.__doc__
    check.facts = find_facts
    return check


def print_difference(facts: Facts) -> None:
    """Print where the answer differs, for the first fact that shows it."""
    for fact, holds in facts.items():
        if isinstance(holds, Difference):
            print(f"  {fact}? {holds}")
            return


def is_provided(mine: Callable, name: str) -> bool:
    """Whether an answer is the solution itself, or returns a call of the solution.

    Args:
        mine: the learner's function.
        name: of the solution.
    """
    if mine is getattr(solutions, name):
        return True
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(mine))).body
        returns = [line for line in function.body if isinstance(line, ast.Return)]
    except (OSError, TypeError, SyntaxError, AttributeError):
        return False  # not a plain function, so not the one from the notebook
    return bool(returns) and f"solutions.{name}(" in ast.unparse(returns[0])


def agrees(mine: Callable, solution: Callable, *given: Any) -> bool | Difference:
    """Whether a function and the solution return the same for `given`, up to rounding.

    Raises:
        PersoError: the function returned neither a tensor nor a number.
        Exception: whatever the function raises.
    """
    return close(ask(mine, *given), ask(solution, *given))


def ask(function: Callable, *given: Any) -> Tensor:
    """Call a function with copies of the input, which it may therefore change.

    Returns:
        The result as a tensor.

    Raises:
        PersoError: the function returned neither a tensor nor a number.
        Exception: whatever the function raises.
    """
    copies = [x.clone() if isinstance(x, Tensor) else x for x in given]
    return as_tensor(function(*copies))


def as_tensor(answer: Any) -> Tensor:
    """Convert an answer to a float tensor; a number gets the shape ().

    Raises:
        PersoError: the answer is neither a tensor nor a number.
    """
    if not isinstance(answer, Tensor | int | float):
        raise PersoError(
            f"your function returned {type(answer).__name__}, but a tensor was expected"
        )
    return torch.as_tensor(answer).float()


def close(answer: Tensor, wanted: Tensor) -> bool | Difference:
    """Whether two tensors have the same shape and, up to rounding, equal numbers."""
    if answer.shape == wanted.shape and bool(_nearly_equal(answer, wanted).all()):
        return True
    return Difference(answer, wanted)


def _nearly_equal(answer: Tensor, wanted: Tensor) -> Tensor:
    return torch.isclose(answer, wanted, atol=1e-5)


def numbers(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Random normal tensors of these shapes, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]
