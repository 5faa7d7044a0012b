"""What a training step of each method costs beside the bare U-Net.

    OMP_NUM_THREADS=2 python tests/benchmarks/training_step.py [METHOD ...] [--out F]

The bare step is one forward and backward of the frozen U-Net for the same batch of
four, with text states that want a gradient. As in `perfusion.py`, all is measured in
one process, in turn, and ratios are compared.
"""

import argparse
import json
from pathlib import Path

import torch
from perfusion import ratios, training_ways, words

from perso_lite import METHODS, load_base, load_concept

BARS = {  # of the ratio to the bare U-Net
    "textual_inversion": 1.15, "catversion": 1.3, "celeb_basis": 1.15, "textboost": 1.5,
}  # fmt: skip


def main() -> None:
    """Print the ratios with their intervals, and keep them as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("methods", nargs="*", default=list(BARS))
    options.add_argument("--base")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--out", type=Path)
    options = options.parse_args()
    base = load_base(options.base)
    print(f"{torch.get_num_threads()} threads on {base.device}")
    found = {}
    for name in options.methods:
        concept = load_concept("person-a" if name == "celeb_basis" else "dotty-teddy")
        ways = training_ways(METHODS[name](base, *words(concept)), concept)
        print(name)
        found |= ratios(ways, options.rounds, BARS.get(name, BARS["textual_inversion"]))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
