"""What training sees: views of a concept, encoded once, and batches drawn from them.

A view is a picture with its mask and captions (`Method.views`). Flips and crops add
views, for concepts of which there are few pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from PIL import Image, ImageOps
from torch import Tensor

from perso_lite.base import picture_size
from perso_lite.concepts import Concept
from perso_lite.conditioning.words import check_length
from perso_lite.method import Method, View

SMALLEST_CROP = 0.7  # of a picture's side (ours)


@dataclass
class Examples:
    """Views of a concept as training sees them, encoded once, on the base's device."""

    mean: Tensor  # of the latents (views, channels, height, width)
    std: Tensor  # of the latents (views, channels, height, width)
    masks: Tensor  # (views, 1, height, width)
    captions: list[list[str]]  # for each view, those to draw from


@dataclass
class Batch:
    """Everything drawn at random for one batch, on the base's device."""

    pictures: Tensor  # (batch,)
    captions: list[str]
    timesteps: Tensor  # (batch,)
    noisy: Tensor  # (batch, channels, height, width)
    target: Tensor  # (batch, channels, height, width)
    masks: Tensor  # (batch, 1, height, width)


def prepare(
    method: Method,
    concept: Concept,
    flips: bool = False,
    crops: int = 0,
    seed: int = 0,
) -> Examples:
    """Encode the views of a concept, once for the whole training.

    Args:
        method: whose views they are.
        concept: pictures, masks and captions.
        flips: whether every view, crops included, comes mirrored, too.
        crops: random square crops to add for each view.
        seed: of the crops.

    Raises:
        PersoError: a caption is so long that its word would be cut off.
    """
    views = method.views(concept)
    views = augmented(views, flips, crops, seed)
    images, captions = [v.image for v in views], [v.captions for v in views]
    seen = Concept(concept.name, concept.class_word, images, [v.mask for v in views])
    mean, std = encode_pictures(method.base, seen)
    masks = seen.mask_tensor(*mean.shape[-2:]).to(mean.device)
    with method.attach(method.base):  # refused now, and not when it is first drawn
        check_length(method.base, sorted({text for own in captions for text in own}))
    return Examples(mean, std, masks, captions)


def augmented(views: Sequence[View], flips: bool, crops: int, seed: int) -> list[View]:
    """Views, then random crops of each, then all of these mirrored.

    A crop is a square of 70 to 100 % of the side, anywhere (ours). Masks are cut and
    mirrored alike. Captions stay as they are, so one that says "on the left" will be
    wrong for a mirrored picture.
    """
    # not the generator of `fit`: what that one draws does not depend on crops
    generator = np.random.default_rng(int(seed))
    views = [*views, *(_cropped(v, generator) for v in views for _ in range(crops))]
    return [*views, *map(_mirrored, views)] if flips else views


def _cropped(view: View, generator: np.random.Generator) -> View:
    share = generator.uniform(SMALLEST_CROP, 1)
    place = generator.uniform(size=2)  # of the room there is, from the left and the top

    def cut(picture: Image.Image) -> Image.Image:
        side = round(share * picture.width)  # a mask may be of another size
        left, top = (round(part * (picture.width - side)) for part in place)
        return picture.crop((left, top, left + side, top + side))

    mask = None if view.mask is None else cut(view.mask)
    return View(cut(view.image), mask, view.captions)


def _mirrored(view: View) -> View:
    mask = None if view.mask is None else ImageOps.mirror(view.mask)
    return View(ImageOps.mirror(view.image), mask, view.captions)


@torch.no_grad()
def encode_pictures(
    base: StableDiffusionPipeline, concept: Concept
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the autoencoder's posterior for each picture.

    Returns:
        Two tensors (pictures, channels, height, width), float32, scaled as the U-Net
        expects.
    """
    pixels = concept.pixels(picture_size(base)).to(base.device, base.vae.dtype)
    posteriors = [base.vae.encode(picture[None]).latent_dist for picture in pixels]
    scale = base.vae.config.scaling_factor
    mean = torch.cat([posterior.mean for posterior in posteriors]) * scale
    std = torch.cat([posterior.std for posterior in posteriors]) * scale
    return mean.float(), std.float()


def draw_batch(
    method: Method,
    examples: Examples,
    scheduler: DDPMScheduler,
    batch_size: int,
    generator: torch.Generator,
) -> Batch:
    """Draw pictures, captions, timesteps and noise, and mix the noisy latents.

    z_t = sqrt(alpha_bar_t) z + sqrt(1 - alpha_bar_t) eps, with z from the
    autoencoder's posterior. The target is eps, or what else the base predicts.

    Pictures with the same captions to choose from share one in each step (ours; the
    released code draws one for each sample): the text encoder then runs once, which
    saves a tenth of the step on a CPU.
    """
    device, dtype = examples.mean.device, method.base.unet.conv_in.weight.dtype
    pictures = torch.randint(len(examples.mean), (batch_size,), generator=generator)
    choices = [examples.captions[picture] for picture in pictures]
    chosen = torch.rand((), generator=generator).item()
    captions = [texts[int(chosen * len(texts))] for texts in choices]
    timesteps = method.draw_timesteps(
        batch_size, scheduler.config.num_train_timesteps, generator
    )
    mean, std = examples.mean[pictures], examples.std[pictures]
    clean = mean + std * torch.randn(mean.shape, generator=generator).to(device)
    noise = torch.randn(mean.shape, generator=generator).to(device)
    timesteps = timesteps.to(device)
    noisy = scheduler.add_noise(clean, noise, timesteps)
    if scheduler.config.prediction_type == "v_prediction":
        target = scheduler.get_velocity(clean, noise, timesteps)
    else:
        target = noise
    noisy, masks = noisy.to(dtype), examples.masks[pictures]
    return Batch(pictures, captions, timesteps, noisy, target, masks)
