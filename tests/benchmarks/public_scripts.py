"""A training step of ours beside one built as the public scripts build it.

    OMP_NUM_THREADS=1 python tests/benchmarks/public_scripts.py [--shapes sd15]

`public_loops.py` has the other side. Both take their whole step (draw a batch, noise,
forwards, backwards, the optimizer), in one process, in turn and in changing order, so
that a busy machine slows both; the ratios of neighbors are compared, not the times,
and these are the work of this process, so take one thread.
With --shapes sd15, networks have Stable Diffusion 1.5's shapes, random weights, and
latents of 8 x 8, where the U-Net is a smaller part of the step than it is for pictures
of 512 px. --out adds to a file that is there already.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline
from perfusion import ratios, words
from public_loops import Step, neti_loop, perfusion_loop, textual_inversion_loop
from recording import stable_diffusion_shapes

from perso_lite import METHODS, load_base, load_concept
from perso_lite.base import parts, text_fingerprint
from perso_lite.checkpoints import begin_training, training_record
from perso_lite.concepts import Concept
from perso_lite.examples import draw_batch, prepare
from perso_lite.method import Method
from perso_lite.methods.perfusion.covariance import TextCovariance
from perso_lite.training import train_step

LOOPS: dict[str, Callable[[Method, Concept, int], Step]] = {
    "textual_inversion": textual_inversion_loop,
    "neti": neti_loop,
    "perfusion": perfusion_loop,
}


def main() -> None:
    """Print the ratios with their intervals, and keep them as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("methods", nargs="*", default=list(LOOPS))
    options.add_argument("--shapes", choices=("toy", "sd15"), default="toy")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--batch-size", type=int, default=4)
    options.add_argument("--out", type=Path)
    options = options.parse_args()
    base, concept = base_of(options.shapes), load_concept("dotty-teddy")
    print(f"{torch.get_num_threads()} threads, {options.shapes}, {options.batch_size}")
    for name in options.methods:
        print(name)
        ways = ways_of(name, base, concept, options.batch_size)
        found = ratios(ways, options.rounds, 1.0, process_time)["ours"]
        if options.out:
            keep(options.out, options.shapes, {name: found})


def keep(path: Path, part: str, found: dict) -> None:
    """Add results to a file under a name."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept[part] = kept.get(part, {}) | found
    path.write_text(json.dumps(kept, indent=1) + "\n")


def base_of(shapes: str) -> StableDiffusionPipeline:
    """The shipped base, or one of Stable Diffusion 1.5's shapes for 64 px."""
    base = load_base(device="cpu")
    if shapes == "toy":
        return base
    base = stable_diffusion_shapes(base, sample_size=8)
    base.vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=2,
        sample_size=64,
    )
    for part in parts(base):
        part.eval().requires_grad_(False)
    return base


def made(name: str, base: StableDiffusionPipeline, concept: Concept, **options):
    """A method; Perfusion with any covariance, if none is kept for the base."""
    if name == "perfusion" and base.tokenizer.model_max_length == 77:
        width = base.text_encoder.config.hidden_size
        options["covariance"] = TextCovariance(torch.eye(width), text_fingerprint(base))
    return METHODS[name](base, *words(concept), **options)


def ways_of(
    name: str, base: StableDiffusionPipeline, concept: Concept, size: int
) -> dict[str, Step]:
    """A step as in public, and ours."""
    options = {}
    if name == "perfusion":
        options["target_positions"] = base.tokenizer.model_max_length
    public = LOOPS[name](made(name, base, concept, **options), concept, size)
    return {
        "public": public,
        "ours": our_step(made(name, base, concept), concept, size),
    }


def our_step(method: Method, concept: Concept, size: int) -> Step:
    """What `fit` does in each step."""
    examples = prepare(method, concept)
    schedule = DDPMScheduler.from_config(method.base.scheduler.config)
    state = begin_training(
        method, training_record(concept, 1, seed=0, batch_size=size), 1
    )
    draw = partial(draw_batch, method, examples, schedule, size, state.generator)
    return lambda: train_step(method, [draw()], state, 0)


if __name__ == "__main__":
    main()
