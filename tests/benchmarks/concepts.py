"""What a drawn step costs with 1 to 8 concepts attached.

    OMP_NUM_THREADS=1 python tests/benchmarks/concepts.py [--shapes sd15] [--out F]

Four guided steps of one picture whose prompt says all of the concepts, beside the same
steps of the bare base with their class words; attaching and the text are in it. As in
`public_scripts.py`, all is measured in one process, in turn, and ratios are compared.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from time import process_time

import torch
from diffusers import StableDiffusionPipeline
from perfusion import ratios
from public_scripts import base_of, keep, made

from perso_lite import attached, encode_prompts, load_concept
from perso_lite.evaluation.prompts import toys
from perso_lite.method import Method
from perso_lite.sampling import denoise, starting_noise

COUNTS = (0, 1, 2, 4, 8)


def main() -> None:
    """Print the ratios with their intervals, and keep them as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "methods", nargs="*", default=["perfusion", "textual_inversion"]
    )
    options.add_argument("--shapes", choices=("toy", "sd15"), default="toy")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--steps", type=int, default=4)
    options.add_argument("--out", type=Path)
    options = options.parse_args()
    base = base_of(options.shapes)
    print(f"{torch.get_num_threads()} threads, {options.shapes}")
    for name in options.methods:
        print(name)
        concepts = [load_concept(toy) for toy in toys()]
        methods = [made(name, base, concept) for concept in concepts]
        ways = drawing_ways(base, methods, options.steps)
        found = ratios(ways, options.rounds, 1.05, process_time)
        if options.out:
            keep(options.out, options.shapes, {name: found})


def drawing_ways(
    base: StableDiffusionPipeline, methods: list[Method], steps: int
) -> dict[str, Callable[[], None]]:
    """Guided steps with the first few methods attached, for each of `COUNTS`."""

    @torch.no_grad()
    def draw(count: int) -> None:
        with attached(base, *methods[:count]):
            said = [m.placeholder_token for m in methods[:count]]
            prompt = " and ".join(said or [m.class_word for m in methods])
            states = encode_prompts(base, [prompt])
            null = encode_prompts(base, [""])
            for _ in denoise(base, states, starting_noise(base, 0), null, steps, 4.0):
                pass

    return {f"{count} concepts": lambda count=count: draw(count) for count in COUNTS}


if __name__ == "__main__":
    main()
