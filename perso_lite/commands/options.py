"""The options that commands share, their numbers, and how a wrong one is refused."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from perso_lite.errors import PersoError, check_finite, check_whole

LARGEST_SEED = 2**64 - 1


class Parser(argparse.ArgumentParser):
    """A parser that refuses a command line in a sentence, as everything else is."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            PersoError: always.
        """
        said = message.removeprefix("argument ").replace(": it is ", " is ", 1)
        said = said[:1].upper() + said[1:].rstrip(".")
        raise PersoError(f"{said}. `{self.prog} --help` lists what can be said.")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that is a whole number from `least` to `most`."""
    return _number(int, lambda number: check_whole("it", number, least, most))


def finite(least: float = float("-inf")) -> Callable[[str], float]:
    """The type of an option that is a finite number of at least `least`."""
    return _number(float, lambda number: check_finite("it", number, least))


def _number(parse: Callable, check: Callable) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        try:
            number = parse(text)
        except ValueError:
            number = text
        try:
            check(number)
        except PersoError as reason:
            raise argparse.ArgumentTypeError(str(reason)) from reason
        return number

    return parsed


def measuring_parser(
    command: str, description: str, out: str, seeds: int = 4, steps: int = 10
) -> Parser:
    """The command line of `python -m perso_lite evaluate <command>`.

    Args:
        command: its name.
        description: for `--help`.
        out: default of `--out`.
        seeds: default of `--seeds`.
        steps: default of `--steps`, denoising steps.
    """
    p = Parser(f"python -m perso_lite evaluate {command}", None, description)
    p.add_argument("--seeds", type=whole(1), default=seeds, help="of each prompt")
    p.add_argument("--base", help="folder or hub id; default: the shipped base")
    p.add_argument("--guidance", type=finite(), default=4.0)
    p.add_argument("--steps", type=whole(1), default=steps)
    p.add_argument("--out", type=Path, default=Path(out))
    return p


def drawing_options(options: argparse.Namespace, **others: Any) -> dict[str, Any]:
    """What was parsed, as keyword arguments of `generate`."""
    drawing = {"guidance_scale": options.guidance, "num_inference_steps": options.steps}
    return drawing | others
