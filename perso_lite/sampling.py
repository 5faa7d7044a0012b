"""From noise to pictures: the denoising loop, for many prompts and seeds at once.

And the inference parameters of methods: what is chosen when drawing, without training.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.conditioning.restored import restored
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError, check_finite, check_whole


@torch.no_grad()
def generate(
    base: StableDiffusionPipeline,
    prompts: str | list[str],
    seeds: Sequence[int] = (0,),
    num_inference_steps: int = 25,
    guidance_scale: float = 5.0,
    negative_prompt: str = "",
    *,
    batch_size: int = 8,
    output_type: str = "pil",
    progress: bool = False,
) -> list[Image.Image] | Tensor:
    """Draw every prompt with every seed.

    A picture depends on its prompt and seed alone: all its noise, also what some
    schedulers add in each step, comes from a CPU generator of its own, whatever the
    device and the rest of the batch. The pictures are those of
    `base(prompt, generator=torch.Generator().manual_seed(seed))`.

    Args:
        base: a pipeline, with or without concepts attached.
        prompts: one or several.
        seeds: one picture per prompt and seed.
        num_inference_steps: denoising steps (ours: 25).
        guidance_scale: weight of classifier-free guidance (ours: 5); 1 or less
            switches it off.
        negative_prompt: guidance leads away from it.
        batch_size: pictures computed together (ours: 8).
        output_type: "pil", or "pt" for a tensor.
        progress: whether to show a bar on stderr.

    Returns:
        Pictures, prompt by prompt and seed by seed: a list, or a tensor
        (prompts * seeds, 3, height, width) in [0, 1].

    Raises:
        PersoError: a prompt is so long that a learned word in it would be cut off, or
            a number is out of its range, or there is no prompt or no seed.
    """
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    seeds = _checked_seeds(seeds)
    check_finite("guidance_scale", guidance_scale)
    check_whole("batch_size", batch_size, 1)
    most = base.scheduler.config.num_train_timesteps
    check_whole("num_inference_steps", num_inference_steps, 1, most)
    if not prompts:
        raise PersoError("There is no prompt to draw: give at least one.")
    guided = guidance_scale > 1
    states = encode_prompts(base, prompts)  # (prompts, tokens, dim)
    states = states.repeat_interleave(len(seeds), dim=0)  # (pictures, tokens, dim)
    null_state = encode_prompts(base, [negative_prompt]) if guided else None
    generators = [torch.Generator().manual_seed(s) for _ in prompts for s in seeds]

    pictures, settings = [], (null_state, num_inference_steps, guidance_scale)
    parts = states.split(batch_size)
    steps = len(parts) * num_inference_steps
    with tqdm(total=steps, desc="drawing", disable=not progress) as bar:
        for index, part in enumerate(parts):
            own = generators[index * batch_size :][: len(part)]
            noise = torch.cat([noise_from(base, generator) for generator in own])
            for latest in denoise(base, part, noise, *settings, own):
                bar.update()
                denoised = latest
            decoded = base.vae.decode(denoised / base.vae.config.scaling_factor).sample
            pictures += base.image_processor.postprocess(decoded, output_type)
    return torch.stack(pictures) if output_type == "pt" else pictures


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds as a list, each of them from 0 to 2^64 - 1."""
    try:
        listed = list(seeds)
    except TypeError:  # a single number
        listed = []
    if not listed:
        raise PersoError(
            f"seeds is {seeds!r}, but one picture is drawn for each of several seeds: "
            "give at least one, for example seeds=(0, 1)."
        )
    for seed in listed:
        check_whole("a seed", seed, 0, 2**64 - 1)
    return [int(seed) for seed in listed]


def starting_noise(base: StableDiffusionPipeline, seed: int) -> Tensor:
    """The latent noise of a seed, (1, channels, height, width) of the latents."""
    return noise_from(base, torch.Generator().manual_seed(seed))


def noise_from(base: StableDiffusionPipeline, generator: torch.Generator) -> Tensor:
    """The latent noise that a CPU generator gives next, as `starting_noise`."""
    size = base.unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    shape = (1, base.unet.config.in_channels, height, width)
    noise = torch.randn(shape, generator=generator)
    return noise.to(base.device, base.unet.dtype)


@torch.no_grad()
def denoise(
    base: StableDiffusionPipeline,
    states: Tensor,
    latents: Tensor,
    null_state: Tensor | None,
    num_inference_steps: int,
    guidance_scale: float,
    seeded: list[torch.Generator] | None = None,
) -> Iterator[Tensor]:
    """Turn noise into latents of pictures, step by step.

    Args:
        base: the pipeline.
        states: text states (pictures, tokens, dim).
        latents: noise (pictures, channels, height, width).
        null_state: text states (1, tokens, dim) of the negative prompt; None: no
            guidance.
        num_inference_steps: denoising steps.
        guidance_scale: weight of classifier-free guidance.
        seeded: a generator per picture, for schedulers that add noise in each step;
            default: PyTorch's own.

    Yields:
        The latents after each step, (pictures, channels, height, width).
    """
    scheduler, extra = base.scheduler, base.prepare_extra_step_kwargs(seeded, eta=0.0)
    scheduler.set_timesteps(num_inference_steps, device=latents.device)
    if null_state is not None:
        states = torch.cat([null_state.expand_as(states), states])
    latents = latents * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        repeated = latents if null_state is None else torch.cat([latents, latents])
        repeated = scheduler.scale_model_input(repeated, timestep)
        noise = base.unet(repeated, timestep, encoder_hidden_states=states).sample
        if null_state is not None:
            unprompted, prompted = noise.chunk(2)
            noise = unprompted + guidance_scale * (prompted - unprompted)
        latents = scheduler.step(noise, timestep, latents, **extra).prev_sample
        yield latents


# -- what is chosen when drawing ------------------------------------------------------


class InferenceParameter:
    """A number or word that is chosen when drawing, declared in the class of a method.

        beta = InferenceParameter("the bias of the gate", check)

    Setting it checks the value. `INFERENCE_PARAMETERS` lists those of a class.

    Args:
        meaning: what it is, in one sentence.
        check: given the method and a value, returns the value to keep.

    Raises:
        PersoError: from `check`, on setting a value that is out of range.
    """

    def __init__(self, meaning: str, check: Callable[[Any, Any], Any]):
        self.meaning, self.check = meaning, check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, method: Any, owner: type) -> Any:
        if method is None:
            return self
        if self.name not in vars(method):
            raise AttributeError(self.name)  # so that hasattr works before it is set
        return vars(method)[self.name]

    def __set__(self, method: Any, value: Any) -> None:
        vars(method)[self.name] = self.check(method, value)


@contextmanager
def inference_parameters(method: Any, **given: Any) -> Iterator[None]:
    """Set inference parameters for the length of the `with` block.

    Raises:
        PersoError: the method has no such parameter, or a value is out of range.
    """
    for name in given.keys() - method.INFERENCE_PARAMETERS.keys():
        known = ", ".join(method.INFERENCE_PARAMETERS) or "none"
        raise PersoError(
            f"{method.name} has no inference parameter {name}; it has: {known}."
        )
    with restored() as at_exit:
        for name, value in given.items():
            at_exit(partial(setattr, method, name, getattr(method, name)))
            setattr(method, name, value)
        yield
