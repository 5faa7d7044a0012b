"""The one exception for everything a user can put right, and a check for numbers."""

import math
import operator
from numbers import Real
from typing import Any


class PersoError(ValueError):
    """Says in a sentence what was wrong, what was expected and what to do.

    The command line prints the sentence and exits with code 2, without a traceback. It
    is one line of less than 400 characters: of a longer one, with a whole prompt or a
    long path in it, the middle is left out.
    """

    def __init__(self, message: str):
        super().__init__(shortened(message, 390))


def shortened(text: object, most: int = 120) -> str:
    """A text in one line of at most `most` characters, without its middle if longer.

    So is every word in it that takes more than two fifths of them, such as a path. The
    ends are kept: a message says there what to do, and a path its file.
    """
    part = most // 5
    words = (
        word if len(word) <= 2 * part else f"{word[:part]}...{word[-part:]}"
        for word in str(text).split()
    )
    line = " ".join(words)
    if len(line) <= most:
        return line
    return f"{line[: most - 2 * part - 5]} ... {line[-2 * part :]}"


def check_finite(name: str, value: Real, least: float = -math.inf) -> None:
    """Refuse what is not a finite number in its range.

    Args:
        name: of the argument.
        value: as given.
        least: the smallest value allowed.

    Raises:
        PersoError: it is no number, infinite or not a number, or out of range.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value >= least):
        wanted = "a finite number"
        wanted += f" of at least {least:g}" if math.isfinite(least) else ""
        raise PersoError(f"{name} is {value!r}, but {wanted} is needed.")


def check_whole(
    name: str, value: Any, least: int | None = None, most: int | None = None
) -> None:
    """Refuse what is not a whole number in its range.

    Args:
        name: of the argument.
        value: as given; whole numbers of numpy and torch are welcome.
        least: the smallest value allowed.
        most: the largest.

    Raises:
        PersoError: it is no whole number, or out of range.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    fits = number is not None and not isinstance(value, bool)
    fits = fits and (least is None or number >= least)
    if not fits or (most is not None and number > most):
        wanted = "a whole number"
        wanted += "" if least is None else f" from {least}"
        wanted += "" if most is None else f" up to {most}"
        raise PersoError(f"{name} is {value!r}, but {wanted} is needed.")
