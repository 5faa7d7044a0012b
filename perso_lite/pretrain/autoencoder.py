"""Stages 2 and 5: the autoencoder between pictures and 16 x 16 latents.

At first encoder and decoder learn together. Once the U-Net knows the latents, encoder
and `quant_conv` stay as they are, while decoder and `post_quant_conv` learn on by
themselves.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import AutoencoderKL
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from perso_lite.pretrain.loop import Modules
from perso_lite.pretrain.pictures import as_tensor
from perso_lite.pretrain.settings import Budget

LATENT_SIZE = 16
# Weight of the KL divergence by picture size. Ours; at 64 px, with a hundred times
# more, one of four channels is lost.
DIVERGENCE = {64: 1e-8, 128: 5e-8}
NOISE = 0.03  # ours; drawn latents are never exactly those of an encoder


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


def drawn_pictures(
    pictures: np.ndarray,
    batch: int,
    seed: list[int],
    whole: bool,
    device: torch.device,
) -> Tensor:
    """Random pictures, or the same random quarter of each.

    Args:
        pictures: bytes (count, 3, size, size).
        batch: how many.
        seed: of the choice.
        whole: not only quarters.
        device: of the result.

    Returns:
        (batch, 3, side, side) in [-1, 1]; the side is the size or half of it.
    """
    size, rng = pictures.shape[-1], np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(pictures), batch, replace=False))
    side = size if whole else size // 2
    top, left = rng.integers(0, size - side + 1, 2)
    crop = np.s_[rows, :, top : top + side, left : left + side]
    return as_tensor(pictures[crop], device).to(memory_format=torch.channels_last)


def autoencoder_loss(
    pictures: np.ndarray, batch: int, rank: int, budget: Budget, whole: float = 0.05
) -> Callable[[Modules, int], Tensor]:
    """The loss of the stage: reconstruction plus a little KL divergence.

    The autoencoder is convolutional, so it learns on quarters of pictures, at a quarter
    of the cost, and on whole ones only at the end.

    Args:
        pictures: bytes (count, 3, size, size).
        batch: pictures per step.
        rank: of the process; each draws its own pictures.
        budget: of the stage.
        whole: share of the budget, at the end, with whole pictures (ours: 0.05).

    Returns:
        The loss as a function of the modules and the step.
    """
    size = pictures.shape[-1]

    def loss(modules: Modules, step: int) -> Tensor:
        model = modules["autoencoder"]
        device = next(model.parameters()).device
        uncut = budget.progress >= 1 - whole
        picture = drawn_pictures(pictures, batch, [step, rank], uncut, device)
        generator = torch.Generator().manual_seed(step * 1000 + rank)
        latent_side = LATENT_SIZE * picture.shape[-1] // size
        noise_shape = (batch, 4, latent_side, latent_side)
        noise = torch.randn(noise_shape, generator=generator).to(device)
        guess, mean, log_variance = model(picture, noise)
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum() / batch
        weighted = DIVERGENCE[size] * divergence
        return reconstruction_loss(guess.float(), picture) + weighted

    return loss


class TrainableAutoencoder(nn.Module):
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


class TrainableDecoder(nn.Module):
    """The parts of an autoencoder behind its latents; they share its weights."""

    def __init__(self, autoencoder: AutoencoderKL):
        super().__init__()
        self.post_quant_conv = autoencoder.post_quant_conv
        self.decoder = autoencoder.decoder

    def forward(self, latent: Tensor) -> Tensor:
        """Latents `(batch, 4, side, side)` to pictures `(batch, 3, ...)`."""
        return self.decoder(self.post_quant_conv(latent))


def decoder_loss(
    pictures: np.ndarray,
    autoencoder: AutoencoderKL,
    batch: int,
    accelerator: Accelerator,
    budget: Budget,
    whole: float = 0.05,
) -> Callable[[Modules, int], Tensor]:
    """The loss of the stage: reconstruction from slightly noisy posterior means.

    Args:
        pictures: bytes (count, 3, size, size).
        autoencoder: encodes.
        batch: pictures per step.
        accelerator: of the run; its precision is also that of the encoder.
        budget: of the stage.
        whole: share of the budget, at the end, with whole pictures, as in
            `autoencoder_loss` (ours: 0.05).

    Returns:
        The loss as a function of the modules and the step.
    """
    rank = accelerator.process_index

    def loss(modules: Modules, step: int) -> Tensor:
        uncut = budget.progress >= 1 - whole
        device = next(modules["decoder"].parameters()).device
        picture = drawn_pictures(pictures, batch, [step, rank], uncut, device)
        with torch.no_grad(), accelerator.autocast():
            mean = autoencoder.encode(picture).latent_dist.mean.float()
        generator = torch.Generator().manual_seed(step * 1000 + rank)
        noise = torch.randn(mean.shape, generator=generator).to(device)
        guess = modules["decoder"](mean + NOISE * noise)
        return reconstruction_loss(guess.float(), picture)

    return loss


def take_averages(autoencoder: AutoencoderKL, saved: dict) -> None:
    """Give an autoencoder the averaged decoder of a checkpoint.

    Args:
        autoencoder: changed in place.
        saved: content of the checkpoint.
    """
    decoder = TrainableDecoder(autoencoder)
    decoder.load_state_dict(saved["modules"]["decoder"])
    average = EMAModel(list(decoder.parameters()))
    average.load_state_dict(saved["average"])
    average.copy_to(list(decoder.parameters()))


@contextmanager
def only_decoder_learns(autoencoder: AutoencoderKL) -> Iterator[TrainableDecoder]:
    """Let the decoder of a frozen autoencoder learn, and freeze it again.

    Yields:
        The part that learns.
    """
    decoder = TrainableDecoder(autoencoder)
    autoencoder.requires_grad_(False)
    try:
        yield decoder.requires_grad_(True)
    finally:
        autoencoder.requires_grad_(False)


@torch.no_grad()
def reconstructed(autoencoder: AutoencoderKL, picture: Tensor) -> Tensor:
    """Pictures `(batch, 3, size, size)` in [-1, 1], encoded and decoded again."""
    picture = picture.to(memory_format=torch.channels_last)
    return autoencoder(picture).sample.float().clamp(-1, 1)


@torch.no_grad()
def decibels(autoencoder: AutoencoderKL, pictures: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio of reconstructions, in dB."""
    device = next(autoencoder.parameters()).device
    values = []
    for start in range(0, len(pictures), 64):
        picture = as_tensor(pictures[start : start + 64], device)
        error = (
            ((reconstructed(autoencoder, picture) - picture) / 2).pow(2).mean((1, 2, 3))
        )
        values.append(-10 * error.log10())
    return torch.cat(values).mean().item()


@torch.no_grad()
def encoded(autoencoder: AutoencoderKL, stored: Tensor) -> Tensor:
    """Posterior means `(batch, 4, 16, 16)`, in half precision, of bytes."""
    picture = (stored.float() / 127.5 - 1).to(memory_format=torch.channels_last)
    return autoencoder.encode(picture).latent_dist.mean.half().contiguous()


def scaling_factor(latents: Tensor) -> float:
    """The factor that gives latents unit variance."""
    return round(1 / latents[:8192].float().std().item(), 5)
