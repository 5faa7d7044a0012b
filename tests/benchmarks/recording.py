"""What recording cross-attention costs beside drawing without it.

    OMP_NUM_THREADS=1 python tests/benchmarks/recording.py [--base FOLDER] [--out F]
    OMP_NUM_THREADS=2 python tests/benchmarks/recording.py --sd15 --rounds 4 --steps 2

The same guided pictures are drawn with and without, in turn and in changing order, so
that a busy machine slows both; the ratios of neighbours are compared, not the times.
With --sd15, networks of Stable Diffusion 1.5's shapes and random weights draw pictures
of 256 px. Every way but the exchange must end in the same latents to the last bit.
--out keeps the mean of the ratios with its interval.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from perso_lite import bootstrap_interval, encode_prompts, load_base
from perso_lite.attention.record import record_attention
from perso_lite.attention.swap import swap_keys_values
from perso_lite.sampling import denoise, starting_noise

BAR = 1.05
PROMPT = "a teddy wearing a hat on a beach"


def main() -> None:
    """Print the ratios for 1 and 4 pictures, and whether the default holds the bar."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base")
    options.add_argument("--sd15", action="store_true")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--steps", type=int, default=4)
    options.add_argument("--out", type=Path)
    options = options.parse_args()

    base = load_base(options.base)
    if options.sd15:
        base = stable_diffusion_shapes(base)
    ways = ways_of(base)
    print(f"{torch.get_num_threads()} threads on {base.device}")
    found = {}
    for count in (1,) if options.sd15 else (1, 4):
        of_count = found[f"pictures: {count}"] = {}
        print(f"guided step for {count}, median of {options.rounds}")
        seconds, ends = measure(base, ways, count, options.steps, options.rounds)
        plain = seconds.pop("not recording")
        print(f"  {'not recording':<20}{1000 * statistics.median(plain):8.1f} ms")
        for name, times in seconds.items():
            ratios = [time / bare for time, bare in zip(times, plain, strict=True)]
            ratio = statistics.median(ratios)
            of_count[name] = bootstrap_interval(torch.tensor(ratios))
            verdict = "holds" if ratio <= BAR else "missed"
            bar = f", bar {BAR}: {verdict}" if name == "recording" else ""
            print(f"  {name:<20}{ratio:8.3f} times{bar}")
        recorded = [end for name, end in ends.items() if name != "values exchanged"]
        same = all(torch.equal(end, recorded[0]) for end in recorded[1:])
        print(f"  latents the same to the last bit: {'yes' if same else 'NO'}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


def ways_of(
    base: StableDiffusionPipeline,
) -> dict[str, Callable[[], AbstractContextManager]]:
    """What to draw in: nothing first, then what is compared with it."""
    return {
        "not recording": nullcontext,
        "recording": lambda: record_attention(base),
        "steps kept": lambda: record_attention(base, keep_steps=True),
        "steps, heads kept": lambda: record_attention(
            base, keep_steps=True, keep_heads=True
        ),
        "values exchanged": lambda: swap_keys_values(base, values="a red car"),
    }


def stable_diffusion_shapes(
    base: StableDiffusionPipeline, sample_size: int = 32
) -> StableDiffusionPipeline:
    """A pipeline of Stable Diffusion 1.5's shapes with random weights.

    Its words are those of `base`, in a table as long as Stable Diffusion's.
    """
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.model_max_length = 77
    config = CLIPTextConfig(
        vocab_size=49_408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=sample_size, cross_attention_dim=768, attention_head_dim=8
    )
    parts = {
        **base.components,
        "tokenizer": tokenizer,
        "text_encoder": CLIPTextModel(config).eval(),
        "unet": unet.eval(),
    }
    return StableDiffusionPipeline(**parts, requires_safety_checker=False)


def measure(
    base, ways: dict[str, Callable], count: int, steps: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Seconds a denoising step, for every way and round, and where each way ended.

    The first round warms up.
    """
    latents = torch.cat([starting_noise(base, seed) for seed in range(count)])
    seconds, ends = {name: [] for name in ways}, {}
    for round_ in range(rounds + 1):
        names = list(ways)[:: 1 if round_ % 2 else -1]
        for name in names:
            with ways[name](), torch.no_grad():
                states = encode_prompts(base, [PROMPT]).expand(count, -1, -1)
                null_state = encode_prompts(base, [""])
                start = time.perf_counter()
                for denoised in denoise(base, states, latents, null_state, steps, 5.0):
                    last = denoised
                ends[name] = last.cpu()
                if round_:
                    seconds[name].append((time.perf_counter() - start) / steps)
    return seconds, ends


if __name__ == "__main__":
    main()
