"""What a panel can attach to the base, by label: methods and their parameters."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from diffusers import StableDiffusionPipeline

from perso_lite.errors import PersoError
from perso_lite.method import Method, attached
from perso_lite.sampling import inference_parameters

# one method, alone or with its inference parameters; or a list of these, [] for none
OneMethod = Method | tuple[Method, Mapping[str, Any]]
Attached = OneMethod | Sequence[OneMethod]


def methods_of(given: Attached) -> list[Method]:
    """The methods of one choice, in the order in which they are attached."""
    return [method for method, _ in _pairs(given)]


@contextmanager
def chosen(base: StableDiffusionPipeline, given: Attached) -> Iterator[None]:
    """Inside, the methods of one choice are attached, with their parameters set.

    Raises:
        PersoError: a method lacks or refuses a parameter, or the methods cannot be
            attached together.
    """
    with ExitStack() as stack:
        for method, parameters in _pairs(given):
            stack.enter_context(inference_parameters(method, **parameters))
        stack.enter_context(attached(base, *methods_of(given)))
        yield


def check_choices(choices: Mapping[str, Attached]) -> None:
    """Refuse what cannot be attached before anything is drawn.

    Raises:
        PersoError: there are no choices, one is no method or list of methods, or a
            method lacks or refuses a parameter.
    """
    example = 'for example {"class word": [], "beta 0.3": (perfusion, {"beta": 0.3})}'
    if not choices:
        raise PersoError(f"There is nothing to compare: give choices, {example}.")
    for label, given in choices.items():
        if not _is_attached(given):
            raise PersoError(
                f"The choice {label!r} is neither a method, nor a method with its "
                f"inference parameters, nor a list of these; {example}."
            )
        for method, parameters in _pairs(given):
            with inference_parameters(method, **parameters):
                pass  # raises if the method lacks or refuses one


def _pairs(given: Attached) -> list[tuple[Method, Mapping[str, Any]]]:
    items = [given] if isinstance(given, Method | tuple) else given
    return [item if isinstance(item, tuple) else (item, {}) for item in items]


def _is_attached(given: Any) -> bool:
    if not isinstance(given, Method | tuple | list):
        return False
    return all(
        len(pair) == 2 and isinstance(pair[0], Method) and isinstance(pair[1], Mapping)
        for pair in _pairs(given)
    )
