"""What each method costs: numbers, bytes, a training step, a drawn step, and memory.

    OMP_NUM_THREADS=2 python tests/benchmarks/method_cost.py [METHOD ...] [--out F]

Times are ratios to the bare U-Net (training) and to nothing attached (drawing), from
neighbors in one process, as in `perfusion.py`; seconds are medians of this machine.
Memory is the most that a process of its own has held while it learned three steps.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from perfusion import ratios, training_ways, words

from perso_lite import METHODS, attached, encode_prompts, fit, load_base, load_concept
from perso_lite.method import Method
from perso_lite.sampling import denoise, starting_noise

KILOBYTES = 1024  # of a megabyte


def main() -> None:
    """Print what was measured, and keep it as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("methods", nargs="*", default=list(METHODS))
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--out", type=Path)
    options.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = options.parse_args()
    if options.memory_of:
        learned(options.memory_of, steps=3)
        status = Path("/proc/self/status").read_text()  # on Linux alone
        print(int(status.split("VmHWM:")[1].split()[0]) / KILOBYTES)
        return
    found = {"threads": torch.get_num_threads(), "methods": {}}
    for name in options.methods:
        print(name)
        found["methods"][name] = cost_of(name, options.rounds)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


def learned(name: str, steps: int) -> tuple[StableDiffusionPipeline, Method]:
    """A method after a few steps, and its base."""
    base = load_base()
    concept = load_concept("person-a" if name == "celeb_basis" else "dotty-teddy")
    method = METHODS[name](base, *words(concept))
    for _ in fit(method, concept, steps):
        pass
    return base, method


def cost_of(name: str, rounds: int) -> dict[str, float | tuple[float, float, float]]:
    """All costs of one method."""
    base, method = learned(name, steps=1)
    concept = load_concept("person-a" if name == "celeb_basis" else "dotty-teddy")
    drawing = drawing_ways(base, method)
    training = training_ways(METHODS[name](base, *words(concept)), concept)
    tensors = list(method.tensors().values())
    memory = subprocess.run(
        [sys.executable, __file__, "--memory-of", name],
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        "numbers": sum(tensor.numel() for tensor in tensors),
        "bytes": sum(tensor.nbytes for tensor in tensors),
        "step": ratios(training, rounds, 1.15)[name],
        "step_seconds": seconds_of(training[name]),
        "drawn_step": ratios(drawing, rounds, 1.15)[name],
        "memory_mb": float(memory.stdout.split()[-1]),
    }


def drawing_ways(
    base: StableDiffusionPipeline, method: Method
) -> dict[str, Callable[[], None]]:
    """Four guided steps of one picture, without and with the method."""

    def draw(*methods: Method) -> None:
        word = method.placeholder_token if methods else method.class_word
        with attached(base, *methods):
            states = encode_prompts(base, [f"a photo of a {word} on a beach"])
            null = encode_prompts(base, [""])
            for _ in denoise(base, states, starting_noise(base, 0), null, 4, 4.0):
                pass

    return {"nothing attached": draw, method.name: lambda: draw(method)}


def seconds_of(way: Callable[[], None], rounds: int = 5) -> float:
    """The median time of a few rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
