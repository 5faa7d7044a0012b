"""The one exception for everything a user can put right, and a check for numbers."""

import math
from numbers import Real


class PersoError(ValueError):
    """Says in a sentence what was wrong, what was expected and what to do.

    The command line prints the sentence and exits with code 2, without a traceback.
    """


def check_finite(
    name: str, value: Real, *, least: float | None = None, above: float | None = None
) -> None:
    """Refuse what is not a finite number in its range.

    Args:
        name: of the argument.
        value: as given.
        least: the smallest value allowed.
        above: the value must be larger than this.

    Raises:
        PersoError: it is no number, infinite or not a number, or out of range.
    """
    wanted = "a finite number"
    if least is not None:
        wanted += f" of at least {least:g}"
    if above is not None:
        wanted += f" above {above:g}"
    number = isinstance(value, Real) and not isinstance(value, bool)
    low = -math.inf if least is None else least
    under = -math.inf if above is None else above
    if not (number and math.isfinite(value) and value >= low and value > under):
        raise PersoError(f"{name} is {value!r}, but {wanted} is needed.")
