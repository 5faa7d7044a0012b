"""What every notebook calls: `setup` first, then `report`, `verdict` and `claim`.

`python -m perso_lite.teaching.notebook` tells whether the packages we need are there.
"""

import operator
import random
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from perso_lite import __version__
from perso_lite._lazy import import_quietly
from perso_lite.errors import PersoError

# The dependencies of pyproject.toml, which a test compares with this table. They are
# here again because a clone that was never installed, as on Colab, has no metadata.
NEEDED = {
    "torch": ">=2.6",
    "diffusers": ">=0.35,<1",
    "transformers": ">=4.57",
    "accelerate": ">=1.0",
    "peft": ">=0.17",
    "safetensors": ">=0.4.5",
    "pillow": ">=10.1",
    "numpy": ">=1.26",
    "tqdm": ">=4.66",
    "matplotlib": ">=3.8",
}


# -- before the first cell -------------------------------------------------------------


def setup(seed: int = 0) -> None:
    """Make a notebook ready, and print one line that says on what it runs.

    Seeds python, numpy and torch, gives figures our style, and silences the libraries'
    progress bars and remarks by their own switches. Safe to call again.

    Args:
        seed: of everything random from here on.

    Raises:
        PersoError: a package is missing, too old or too new.
    """
    troubles = [trouble for name in NEEDED if (trouble := trouble_with(name))]
    if troubles:
        raise PersoError("\n".join([*troubles, "Then restart the kernel."]))

    import matplotlib
    import numpy as np
    import torch

    from perso_lite.figures.style import STYLE

    _silence_libraries()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    matplotlib.rcParams.update(STYLE)

    libraries = [f"{name} {version(name)}" for name in NEEDED][:3]
    threads = f"threads: {torch.get_num_threads()}"
    print(f"perso_lite {__version__}", *libraries, device_name(), threads, sep=", ")


def device_name() -> str:
    """The device that `load_base` takes here: "cuda" or "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def trouble_with(name: str) -> str | None:
    """What is wrong with the package `name`, and what to do; None if nothing is."""
    needed = NEEDED[name]
    in_words = needed.replace(">=", "at least ").replace(",<", " and below ")
    advice = f'{in_words} is needed: pip install "{name}{needed}"'
    try:
        installed = version(name)
    except PackageNotFoundError:
        return f"{name} is not installed, {advice}"
    if find_spec("packaging") is None:  # matplotlib brings it
        return f"{name} {installed} cannot be judged yet: pip install packaging"
    from packaging.specifiers import SpecifierSet

    if SpecifierSet(needed).contains(installed, prereleases=True):
        return None
    return f"{name} {installed} is installed, {advice}"


def _silence_libraries() -> None:
    """Turn off progress bars, remarks and announcements of changes to come.

    One remark stays, since a learner can do something about it: that a prompt was
    longer than the text encoder reads.
    """
    import_quietly("base")  # imports both libraries, without a remark
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
        warnings.filterwarnings(
            "ignore", category=FutureWarning, module=rf"{library.__name__}\b"
        )
    pipelines = diffusers.utils.logging.get_logger("diffusers.pipelines")
    pipelines.setLevel(diffusers.utils.logging.WARNING)


# -- what a notebook found -------------------------------------------------------------


def report(
    what: str,
    value: float,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unit: str = "",
) -> None:
    """Print that a measurement keeps its bounds, for example `identity ≥ 0.80 ✓`.

    The digits measured are not printed, as they differ a little from machine to
    machine: show them in a figure's title.

    Args:
        what: was measured.
        value: the measurement; NaN keeps no bound.
        at_least: value >= this.
        at_most: value <= this.
        above: value > this.
        below: value < this.
        unit: of value and bounds.

    Raises:
        PersoError: the value does not keep its bounds (with the digits), or none was
            given.
    """
    value = float(value)
    signs = (
        ("≥", operator.ge, at_least),
        (">", operator.gt, above),
        ("≤", operator.le, at_most),
        ("<", operator.lt, below),
    )
    bounds = [line for line in signs if line[2] is not None]
    if not bounds:
        raise PersoError(
            f"No bound was given for {what}. Say at_least, at_most, above or below."
        )
    unit = f" {unit}" if unit else ""
    wanted = " and ".join(f"{sign} {_bound(bound)}{unit}" for sign, _, bound in bounds)
    if not all(keeps(value, bound) for _, keeps, bound in bounds):
        raise PersoError(
            f"{what} is {value}{unit}, but {wanted} was expected. Run the notebook "
            "from its first cell; if you changed something, this is what it did."
        )
    print(f"{what} {wanted} ✓")


def _bound(number: float) -> str:
    """A bound as it is best read: 250, 0.80, 0.125."""
    if float(number).is_integer():
        return f"{number:.0f}"
    return f"{number:.2f}" if round(number, 2) == number else f"{number}"


def verdict(claim: str, holds: bool) -> None:
    """Print whether a claim holds here; one that does not is a result too.

    Prints `✓ claim` or `✗ claim (not in our small world)`.
    """
    print(f"✓ {claim}" if holds else f"✗ {claim} (not in our small world)")


def claim(
    text: str,
    interval: tuple[float, float, float],
    *,
    above: float | None = None,
    below: float | None = None,
    digits: bool = True,
) -> None:
    """Print whether a 95 % interval supports a claim, contradicts it, or does neither.

    "supported" if the whole interval is on the side that the claim names,
    "contradicted" if it is on the other side, "undecided" if it contains the bound.

    Args:
        text: the claim in words, with what is measured.
        interval: mean, low and high, as `bootstrap_interval` returns them.
        above: the claim says that the mean is above this.
        below: the claim says that the mean is below this.
        digits: whether to print the interval, too. Say False where a run in the
            notebook measured it, as its digits differ from machine to machine: show
            them in a figure.

    Raises:
        PersoError: not exactly one of `above` and `below` was given.
    """
    verdict_of = import_quietly("evaluation.bootstrap").interval_verdict
    outcome = verdict_of(interval, above, below)
    mean, low, high = interval
    measured = f": {mean:+.2f} [{low:+.2f}, {high:+.2f}]" if digits else ""
    print(f"{outcome:<12}  {text}{measured}")


# -- python -m perso_lite.teaching.notebook --------------------------------------------


def main() -> int:
    """Print one line a package; returns 1 if one of them is in the way, otherwise 0."""
    troubles = {name: trouble_with(name) for name in NEEDED}
    for name, trouble in troubles.items():
        print(f"[FAIL] {trouble}" if trouble else f"[OK]   {name} {version(name)}")
    return 1 if any(troubles.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
