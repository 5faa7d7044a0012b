"""Whether a machine is ready for the course: packages, threads, memory, disk, speed."""

import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version

from perso_lite._lazy import import_quietly
from perso_lite.errors import PersoError
from perso_lite.teaching.notebook import NEEDED, device_name, trouble_with

FOR_NOTEBOOKS = ("jupyterlab", "ipywidgets")
# ours: what a notebook takes at its peak, and what a panel needs to follow a slider
LEAST_MEMORY, LEAST_DISK = 3.0, 1.0  # GB free
SLOWEST_PICTURE = 6.0  # seconds for 20 steps
STEPS = 20


def check_machine() -> None:
    """Print a line for each thing the course needs, and whether it is there.

    Raises:
        PersoError: something is missing; what it is was printed, a sentence each.
    """
    print(f"Python {platform.python_version()} on {platform.system()}")
    troubles = check_packages()
    if any(name in troubles for name in NEEDED):
        line("not tried", "threads, memory, disk, a picture: packages come first")
    else:
        troubles |= check_room() | check_speed()
    print()
    if troubles:
        print(*troubles.values(), sep="\n")
        raise PersoError(
            "This machine is not ready for the course yet: put right what the lines "
            "above name, then run `python -m perso_lite check` again."
        )
    print("This machine is ready for the course.")


def line(name: str, found: str, fine: bool = True) -> None:
    """Print one line of the check."""
    print(f"{'[OK]  ' if fine else '[FAIL]'} {name:<14} {found}")


def check_packages() -> dict[str, str]:
    """Print what is installed, a line a package; returns a sentence per trouble."""
    troubles = {}
    for name, needed in NEEDED.items():
        trouble = trouble_with(name)
        found = installed(name) or "not installed"
        line(name, f"{found} (needed: {needed})", not trouble)
        if trouble:
            troubles[name] = f"{trouble}."
    for name in FOR_NOTEBOOKS:
        line(name, installed(name) or "not installed", bool(installed(name)))
        if not installed(name):
            troubles[name] = (
                f"{name} is not installed, which notebooks and panels need: "
                'pip install -c constraints.txt -e ".[notebooks]".'
            )
    return troubles


def installed(name: str) -> str | None:
    """The version of a package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_room() -> dict[str, str]:
    """Print threads, free memory and disk; returns a sentence per trouble."""
    import psutil  # accelerate brings it
    import torch

    line("threads", f"{torch.get_num_threads()} (device: {device_name()})")
    return judged_room(
        psutil.virtual_memory().available / 1e9, shutil.disk_usage(".").free / 1e9
    )


def judged_room(memory: float, disk: float) -> dict[str, str]:
    """Print free memory and disk in GB; returns a sentence per trouble."""
    troubles = {}
    line("free memory", f"{memory:.1f} GB", memory >= LEAST_MEMORY)
    line("free disk", f"{disk:.1f} GB", disk >= LEAST_DISK)
    if memory < LEAST_MEMORY:
        troubles["memory"] = (
            f"{memory:.1f} GB of memory are free, and a notebook takes up to "
            f"{LEAST_MEMORY:g}: close other programs and kernels."
        )
    if disk < LEAST_DISK:
        troubles["disk"] = (
            f"{disk:.1f} GB of disk are free, and {LEAST_DISK:g} is needed: delete "
            "something, or work on another disk."
        )
    return troubles


def check_speed() -> dict[str, str]:
    """Draw a picture with the shipped base; returns a sentence if it takes too long."""
    base = import_quietly("base").load_base()
    generate = import_quietly("sampling").generate
    generate(base, "a teddy on a beach", num_inference_steps=2)  # the first is slower
    started = time.perf_counter()
    generate(base, "a teddy on a beach", num_inference_steps=STEPS)
    return judged_speed(time.perf_counter() - started)


def judged_speed(seconds: float) -> dict[str, str]:
    """Print the time of a picture; returns a sentence if it is too long."""
    fine = seconds <= SLOWEST_PICTURE
    line("a picture", f"{seconds:.1f} s for {STEPS} steps", fine)
    if fine:
        return {}
    return {
        "speed": f"A picture takes {seconds:.1f} s, and panels need at most "
        f"{SLOWEST_PICTURE:g}: close other programs, or use Colab."
    }
