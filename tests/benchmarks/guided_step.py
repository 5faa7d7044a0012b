"""What a guided denoising step costs, and the layers it goes through.

    python tests/benchmarks/guided_step.py [--base FOLDER]

A step is one U-Net call for two (with and without the prompt) for each picture, and the
scheduler's update. The bar on two idle cores: at most 55 ms for one picture.
"""

import argparse
import statistics
import time

import torch

from perso_lite import encode_prompts, load_base
from perso_lite.sampling import denoise, starting_noise

STEPS = 10


def main() -> None:
    """Print the cross-attention layers and the milliseconds for 1 and 4 pictures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base")
    options.add_argument("--rounds", type=int, default=7)
    options = options.parse_args()

    base = load_base(options.base)
    layers = [name for name in base.unet.attn_processors if "attn2" in name]
    print(f"{len(layers)} cross-attention layers")
    for name in layers:
        print(f"  {name.removesuffix('.processor')}")
    parameters = sum(parameter.numel() for parameter in base.unet.parameters())
    print(f"U-Net of {parameters / 1e6:.1f} M parameters, {base.unet.dtype}")
    print(f"{torch.get_num_threads()} threads on {base.device}")

    with torch.no_grad():
        null_state = encode_prompts(base, [""])
        for count in (1, 4):
            latents = torch.cat([starting_noise(base, seed) for seed in range(count)])
            states = encode_prompts(base, ["a photo"] * count)
            seconds = []
            for _ in range(options.rounds + 1):
                start = time.perf_counter()
                for denoised in denoise(base, states, latents, null_state, STEPS, 5.0):
                    last = denoised
                last.cpu()
                seconds.append(time.perf_counter() - start)
            milliseconds = 1000 * statistics.median(seconds[1:]) / STEPS
            print(f"guided step for {count}: {milliseconds:6.1f} ms")


if __name__ == "__main__":
    main()
