"""What recording cross-attention costs beside drawing without it.

    OMP_NUM_THREADS=1 python tests/benchmarks/recording.py [--base FOLDER]

The same guided pictures are drawn with and without, in turn and in changing order, so
that a busy machine slows both; the ratios of neighbours are compared, not the times.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from perso_lite import encode_prompts, load_base
from perso_lite.attention import record_attention
from perso_lite.exchange import exchanged
from perso_lite.sampling import denoise, starting_noise

BAR = 1.10
PROMPT = "a teddy wearing a hat on a beach"


def main() -> None:
    """Print the ratios for 1 and 4 pictures, and whether the default holds the bar."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--steps", type=int, default=4)
    options = options.parse_args()

    base = load_base(options.base)
    ways: dict[str, Callable[[], AbstractContextManager]] = {
        "not recording": nullcontext,
        "recording": lambda: record_attention(base),
        "steps kept": lambda: record_attention(base, keep_steps=True),
        "steps, heads kept": lambda: record_attention(
            base, keep_steps=True, keep_heads=True
        ),
        "values exchanged": lambda: exchanged(base, values="a red car"),
    }
    print(f"{torch.get_num_threads()} threads on {base.device}")
    for count in (1, 4):
        print(f"guided step for {count}, median of {options.rounds}")
        seconds = measure(base, ways, count, options.steps, options.rounds)
        plain = seconds.pop("not recording")
        print(f"  {'not recording':<20}{1000 * statistics.median(plain):8.1f} ms")
        for name, times in seconds.items():
            ratios = [time / bare for time, bare in zip(times, plain, strict=True)]
            ratio = statistics.median(ratios)
            verdict = "holds" if ratio <= BAR else "missed"
            bar = f", bar {BAR}: {verdict}" if name == "recording" else ""
            print(f"  {name:<20}{ratio:8.3f} times{bar}")


def measure(
    base, ways: dict[str, Callable], count: int, steps: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds a denoising step, for every way and round; the first round warms up."""
    latents = torch.cat([starting_noise(base, seed) for seed in range(count)])
    seconds = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        names = list(ways)[:: 1 if round_ % 2 else -1]
        for name in names:
            with ways[name](), torch.no_grad():
                states = encode_prompts(base, [PROMPT]).expand(count, -1, -1)
                null_state = encode_prompts(base, [""])
                start = time.perf_counter()
                for denoised in denoise(base, states, latents, null_state, steps, 5.0):
                    last = denoised
                last.cpu()
                if round_:
                    seconds[name].append((time.perf_counter() - start) / steps)
    return seconds


if __name__ == "__main__":
    main()
