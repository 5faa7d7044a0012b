"""A concept file opened on a fine-tuned relative of the base it was learned on.

    OMP_NUM_THREADS=2 python tests/benchmarks/transfer.py dotty.safetensors

The shipped U-Net goes on learning for a while from watercolours whose captions do not
say so, as communities fine-tune Stable Diffusion into a style. Then the concept is
drawn on both, beside the class word: is it still the concept, and in the new style?
"""

import argparse
import copy
import random
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor

from perso_lite import (
    bootstrap_interval,
    class_prior_scores,
    contact_sheet,
    encode_prompts,
    load_base,
    load_concept,
    load_judges,
    load_method,
    read_attribute,
    score_concept,
)
from perso_lite.base import picture_size
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.scores import ConceptScores
from perso_lite.figures.pictures import SheetRow, as_images, save_picture
from perso_lite.world.captions import caption
from perso_lite.world.render import render
from perso_lite.world.scenes import sample_scene

PROMPTS = (
    "a photo of a {}",
    "a {} on a beach",
    "a {} wearing a hat",
    "a {} in a library",
)


def fine_tuned(base: StableDiffusionPipeline, steps: int) -> StableDiffusionPipeline:
    """A copy of a base whose U-Net has learned to paint all in watercolour."""
    relative = copy.copy(base)
    relative.unet = copy.deepcopy(base.unet).train().requires_grad_(True)
    latents, captions = watercolours(base, 256)
    optimizer = torch.optim.AdamW(relative.unet.parameters(), lr=2e-4)
    schedule = DDPMScheduler.from_config(base.scheduler.config)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        some = torch.randint(len(latents), (8,), generator=generator)
        noise = torch.randn(latents[some].shape, generator=generator)
        timesteps = torch.randint(1000, (8,), generator=generator)
        with torch.no_grad():
            states = encode_prompts(base, [captions[i] for i in some])
        noisy = schedule.add_noise(latents[some], noise, timesteps)
        predicted = relative.unet(noisy, timesteps, states).sample
        loss = (predicted - noise).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 25 == 0:
            print(f"  step {step}: {loss.item():.3f}", flush=True)
    relative.unet.eval().requires_grad_(False)
    return relative


@torch.no_grad()
def watercolours(base: StableDiffusionPipeline, count: int) -> tuple[Tensor, list[str]]:
    """Latents of scenes in watercolour, and captions that do not mention it."""
    scenes = [sample_scene(random.Random(f"transfer/{i}")) for i in range(count)]
    scenes = [replace(scene, style=None, augmentation=None) for scene in scenes]
    painted = [replace(scene, style="watercolor") for scene in scenes]
    pictures, _ = render(painted, picture_size(base))
    latents = torch.cat(
        [base.vae.encode(p * 2 - 1).latent_dist.mode() for p in pictures.split(32)]
    )
    captions = [caption(scene, random.Random(i)) for i, scene in enumerate(scenes)]
    return latents * base.vae.config.scaling_factor, captions


def main() -> None:
    """Print scores on both bases, and lay the pictures out on a sheet."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("file", type=Path)
    options.add_argument("--concept", default="dotty-teddy")
    options.add_argument("--steps", type=int, default=200)
    options.add_argument("--out", type=Path, default=Path("transfer.png"))
    options = options.parse_args()
    base, judges = load_base(), load_judges()
    concept, rows = load_concept(options.concept), []
    bases = {"its own base": base, "the painter": fine_tuned(base, options.steps)}
    given = (judges, concept, PROMPTS, (0, 1, 2, 3))
    drawing = {"num_inference_steps": 10, "guidance_scale": 4.0}
    for name, pipe in bases.items():
        method = load_method(options.file, pipe, transfer=True)
        prior = class_prior_scores(pipe, *given, **drawing)
        with method.attach(pipe):
            drawn = score_concept(pipe, *given, method.placeholder_token, **drawing)
        for who, scores in ((concept.class_word, prior), ("the concept", drawn)):
            say(judges, f"{who} on {name}", scores)
            pictures = as_images(scores.pictures[::2])
            rows.append(SheetRow(f"{who} on {name}", pictures))
    save_picture(contact_sheet(rows, "a concept carried over"), options.out)


def say(judges: Judges, name: str, scores: ConceptScores) -> None:
    """One line: likeness to the concept, and how many pictures are watercolours."""
    mean, low, high = bootstrap_interval(scores.instance_masked)
    styles = read_attribute(judges, scores.pictures, "style")
    share = styles.count("watercolor") / len(styles)
    print(
        f"{name:<34} instance {mean:.3f} [{low:.3f}, {high:.3f}], {share:.0%} painted"
    )


if __name__ == "__main__":
    main()
