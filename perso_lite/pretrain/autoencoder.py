"""Stage 2: the autoencoder between pictures and 16 x 16 latents."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.pretrain.loop import Modules
from perso_lite.pretrain.pictures import as_tensor

LATENT_SIZE = 16
DIVERGENCE = 1e-8  # ours; with a hundred times more, one of four channels is lost


def build_autoencoder(size: int) -> AutoencoderKL:
    """`AutoencoderKL` with latents of 16 x 16 x 4 for pictures of `size` pixels.

    It reduces the side of 64 px pictures four times, of 128 px pictures eight times.
    """
    channels = {64: (32, 64, 96), 128: (32, 64, 96, 128)}[size]
    return AutoencoderKL(
        sample_size=size,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,  # few groups: the norm must not hide a flat color
        mid_block_add_attention=False,
    )


def slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical differences of neighboring pixels."""
    return picture[..., 1:] - picture[..., :-1], picture[..., 1:, :] - picture[
        ..., :-1, :
    ]


def reconstruction_loss(guess: Tensor, picture: Tensor) -> Tensor:
    """Squared error, plus absolute error of the slopes: edges must stay sharp."""
    loss = F.mse_loss(guess, picture)
    for a, b in zip(slopes(guess), slopes(picture), strict=True):
        loss = loss + 0.1 * F.l1_loss(a, b)
    return loss


def autoencoder_loss(
    pictures: np.ndarray, batch: int, rank: int, steps: int, whole: float = 0.05
) -> Callable[[Modules, int], Tensor]:
    """The loss of the stage: reconstruction plus a little KL divergence.

    The autoencoder is convolutional, so it learns on quarters of pictures, at a quarter
    of the cost, and on whole ones only in the last steps.

    Args:
        pictures: bytes (count, 3, size, size).
        batch: pictures per step.
        rank: of the process; each draws its own pictures.
        steps: of the stage.
        whole: share of the steps, at the end, with whole pictures (ours: 0.05).

    Returns:
        The loss as a function of the modules and the step.
    """
    size = pictures.shape[-1]

    def loss(modules: Modules, step: int) -> Tensor:
        rng = np.random.default_rng([step, rank])
        rows = np.sort(rng.choice(len(pictures), batch, replace=False))
        side = size if step >= (1 - whole) * steps else size // 2
        top, left = rng.integers(0, size - side + 1, 2)
        crop = np.s_[rows, :, top : top + side, left : left + side]
        model = modules["autoencoder"]
        device = next(model.parameters()).device
        picture = as_tensor(pictures[crop], device)
        picture = picture.to(memory_format=torch.channels_last)
        generator = torch.Generator().manual_seed(step * 1000 + rank)
        latent_side = LATENT_SIZE * side // size
        noise_shape = (batch, 4, latent_side, latent_side)
        noise = torch.randn(noise_shape, generator=generator).to(device)
        guess, mean, log_variance = model(picture, noise)
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum() / batch
        return reconstruction_loss(guess.float(), picture) + DIVERGENCE * divergence

    return loss


class TrainableAutoencoder(torch.nn.Module):
    """One forward pass for training: encode, add the posterior's noise, decode."""

    def __init__(self, autoencoder: AutoencoderKL):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, picture: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures and noise to reconstruction, mean and log variance."""
        posterior = self.autoencoder.encode(picture).latent_dist
        latent = posterior.mean + posterior.std * noise
        guess = self.autoencoder.decode(latent).sample
        return guess, posterior.mean.float(), posterior.logvar.float()


@torch.no_grad()
def decibels(autoencoder: AutoencoderKL, pictures: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio of reconstructions, in dB."""
    device = next(autoencoder.parameters()).device
    values = []
    for start in range(0, len(pictures), 64):
        picture = as_tensor(pictures[start : start + 64], device)
        guess = autoencoder(picture).sample.clamp(-1, 1)
        error = ((guess - picture) / 2).pow(2).mean((1, 2, 3))
        values.append(-10 * error.log10())
    return torch.cat(values).mean().item()


@torch.no_grad()
def encoded_pictures(autoencoder: AutoencoderKL, pictures: np.ndarray) -> Tensor:
    """Posterior means of all pictures, `(count, 4, 16, 16)`."""
    device = next(autoencoder.parameters()).device
    means = []
    for start in tqdm(range(0, len(pictures), 256), desc="encoding", mininterval=10):
        picture = as_tensor(pictures[start : start + 256], device)
        picture = picture.to(memory_format=torch.channels_last)
        mean = autoencoder.encode(picture).latent_dist.mean
        means.append(mean.float().cpu().contiguous())
    return torch.cat(means)


def scaling_factor(latents: Tensor) -> float:
    """The factor that gives latents unit variance."""
    return round(1 / latents[:8192].float().std().item(), 5)
