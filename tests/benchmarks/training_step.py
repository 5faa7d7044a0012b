"""What a training step of Textual Inversion costs beside the bare U-Net.

    python tests/benchmarks/training_step.py [--base FOLDER] [--batch-size 4]

The bare step is one forward and backward of the frozen U-Net for the same batch, with
text states that want a gradient. Both run in turn, so that a busy machine slows both.
The bar: at most 1.15 times the bare step.
"""

import argparse
import statistics
import time

import torch
from diffusers import DDPMScheduler

from perso_lite import TextualInversion, load_base, load_concept, shipped_concepts
from perso_lite.checkpoints import begin_training, training_record
from perso_lite.examples import draw_batch, prepare
from perso_lite.training import train_step

BAR = 1.15


def main() -> None:
    """Measure both in turn and print them side by side."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base")
    options.add_argument("--concept", default=next(iter(shipped_concepts()), None))
    options.add_argument("--class-word")
    options.add_argument("--batch-size", type=int, default=4)
    options.add_argument("--rounds", type=int, default=15)
    options = options.parse_args()

    base = load_base(options.base)
    concept = load_concept(options.concept, options.class_word)
    method = TextualInversion(base, concept.class_word)
    record = training_record(concept, 1, seed=0, batch_size=options.batch_size)
    state = begin_training(method, record, 1)
    scheduler = DDPMScheduler.from_config(base.scheduler.config)
    examples = prepare(method, concept)

    def draw():
        size, generator = options.batch_size, state.generator
        return draw_batch(method, examples, scheduler, size, generator)

    def whole():
        train_step(method, [draw()], state, 0)

    batch = draw()
    with method.attach(base), torch.no_grad():
        states = method.encoder_hidden_states(batch.captions, batch.timesteps)
    states = states.requires_grad_()

    def bare():
        predicted = base.unet(batch.noisy, batch.timesteps, states).sample
        (predicted.float() - batch.target).square().mean().backward()
        states.grad = None

    milliseconds = {"bare U-Net": [], "training step": []}
    for round_ in range(options.rounds + 3):  # the first three only warm up
        for name, step in (("bare U-Net", bare), ("training step", whole)):
            if base.device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            step()
            if base.device.type == "cuda":
                torch.cuda.synchronize()
            if round_ >= 3:
                milliseconds[name].append(1000 * (time.perf_counter() - start))
    medians = {name: statistics.median(ms) for name, ms in milliseconds.items()}
    for name, ms in medians.items():
        print(f"{name:<16}{ms:8.1f} ms, median of {options.rounds}")
    ratio = medians["training step"] / medians["bare U-Net"]
    verdict = "holds" if ratio <= BAR else "missed"
    print(f"{'ratio':<16}{ratio:8.3f}, bar {BAR}: {verdict}")


if __name__ == "__main__":
    main()
