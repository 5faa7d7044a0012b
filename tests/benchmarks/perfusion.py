"""What Perfusion costs: a guided step with concepts attached, and a training step.

    OMP_NUM_THREADS=2 python tests/benchmarks/perfusion.py [--out cost.json]

Everything is measured in one process, in turn and in changing order, so that a busy
machine slows all alike; the ratios of neighbours are compared, not the times: drawing
with concepts to the same steps with nothing attached, training to the bare U-Net,
forwards and back to the text states.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline

from perso_lite import attached, encode_prompts, fit, load_base, load_concept
from perso_lite.checkpoints import begin_training, training_record
from perso_lite.concepts import Concept
from perso_lite.evaluation.bootstrap import bootstrap_interval
from perso_lite.examples import draw_batch, prepare
from perso_lite.method import Method
from perso_lite.methods.perfusion.perfusion import Perfusion
from perso_lite.sampling import denoise, starting_noise
from perso_lite.training import train_step

TOYS = ("dotty-teddy", "star-rocket", "patch-dog", "checked-mug")
COUNTS = (0, 1, 2, 4)
DRAWING_BAR, TRAINING_BAR = 1.05, 1.15


def main() -> None:
    """Print the ratios with their intervals, and keep them as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--out", type=Path)
    options = options.parse_args()
    base = load_base(options.base)
    print(f"{torch.get_num_threads()} threads on {base.device}")
    drawing = drawing_ways(base)
    concept = load_concept(TOYS[0])
    training = training_ways(Perfusion(base, *words(concept)), concept)
    found = {
        "drawing": ratios(drawing, options.rounds, DRAWING_BAR),
        "training": ratios(training, options.rounds, TRAINING_BAR),
    }
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


def words(concept: Concept) -> tuple[str, str]:
    """What a concept is, and what it is called."""
    return concept.class_word, concept.placeholder_token


def ratios(
    ways: dict[str, Callable[[], None]],
    rounds: int,
    bar: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, tuple[float, float, float]]:
    """Seconds of each way over the first one's in the same round: mean and interval.

    On a busy machine, `time.process_time` is less noisy: it counts the work of this
    process alone, and not how long it waits for a core. It is right for one thread.
    """
    for way in ways.values():
        way()  # warm up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        order = list(ways) if turn % 2 else list(reversed(ways))
        for name in order:
            start = clock()
            ways[name]()
            seconds[name].append(clock() - start)
    plain, found = torch.tensor(next(iter(seconds.values()))), {}
    for name, times in seconds.items():
        found[name] = bootstrap_interval(torch.tensor(times) / plain)
        mean, low, high = found[name]
        said = "holds" if high <= bar else "may miss"
        print(
            f"  {name:<24}{1000 * statistics.median(times):8.1f} ms  "
            f"{mean:.3f} [{low:.3f}, {high:.3f}], {said} {bar}"
        )
    return found


def drawing_ways(base: StableDiffusionPipeline) -> dict[str, Callable[[], None]]:
    """Four guided steps of one picture with 0, 1, 2 and 4 concepts attached."""
    methods = []
    for name in TOYS:
        concept = load_concept(name)
        method = Perfusion(base, *words(concept))
        for _ in fit(method, concept, 1):
            pass
        methods.append(method)

    def draw(count: int) -> None:
        with attached(base, *methods[:count]):
            word = methods[0].placeholder_token if count else "teddy"
            states = encode_prompts(base, [f"a photo of a {word} on a beach"])
            null = encode_prompts(base, [""])
            for _ in denoise(base, states, starting_noise(base, 0), null, 4, 4.0):
                pass

    return {f"{count} concepts": lambda count=count: draw(count) for count in COUNTS}


def training_ways(method: Method, concept: Concept) -> dict[str, Callable[[], None]]:
    """A step of the bare U-Net and one of a method on the same batch of four."""
    base = method.base
    method.before_training(concept)
    schedule = DDPMScheduler.from_config(base.scheduler.config)
    generator = torch.Generator().manual_seed(0)
    batch = draw_batch(method, prepare(method, concept), schedule, 4, generator)
    with torch.no_grad():
        states = encode_prompts(base, [f"a photo of a {concept.class_word}"] * 4)
    record = training_record(concept, 1, seed=0, batch_size=4)
    state = begin_training(method, record, 1)

    def bare() -> None:
        reached = states.clone().requires_grad_()
        predicted = base.unet(
            batch.noisy, batch.timesteps, encoder_hidden_states=reached
        ).sample
        (predicted - batch.target).square().mean().backward()

    def ours() -> None:
        train_step(method, [batch], state, 0)

    return {"bare U-Net": bare, method.name: ours}


if __name__ == "__main__":
    main()
