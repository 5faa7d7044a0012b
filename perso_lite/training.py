"""fit(): the one training loop, a generator, used by every method.

It is the denoising loss and nothing else: draw pictures, captions, timesteps and noise,
let the frozen U-Net predict, compare. What is learned, and how it reaches the U-Net, is
the method's own business.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.base import check_length, picture_size
from perso_lite.checkpoints import load_checkpoint, save_checkpoint
from perso_lite.concepts import Concept
from perso_lite.errors import PersoError, check_finite, check_whole
from perso_lite.files import check_writable
from perso_lite.method import Method


@dataclass
class TrainingStep:
    """What happened in one step.

    Attributes:
        index: counts from 0.
        loss: what was minimised, extra loss included.
        extra_loss: the method's own term in it.
        losses: denoising loss of each sample, (batch,).
        timesteps: (batch,).
        pictures: which of the views (without augmentation: of the concept's pictures),
            (batch,).
        captions: one per sample.
        seconds: since `fit` began.
    """

    index: int
    loss: float
    extra_loss: float
    losses: Tensor
    timesteps: Tensor
    pictures: Tensor
    captions: list[str]
    seconds: float


@dataclass
class Examples:
    """Views of a concept as training sees them, encoded once, on the base's device."""

    mean: Tensor  # of the latents (views, channels, height, width)
    std: Tensor  # of the latents (views, channels, height, width)
    masks: Tensor  # (views, 1, height, width)
    captions: list[list[str]]  # for each view, those to draw from


@dataclass
class Batch:
    """Everything drawn at random for one step, on the base's device."""

    pictures: Tensor  # (batch,)
    captions: list[str]
    timesteps: Tensor  # (batch,)
    noisy: Tensor  # (batch, channels, height, width)
    target: Tensor  # (batch, channels, height, width)
    masks: Tensor  # (batch, 1, height, width)


def fit(
    method: Method,
    concept: Concept,
    steps: int = 200,
    *,
    batch_size: int = 4,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 50,
    resume: str | Path | None = None,
    allow_changes: bool = False,
) -> Iterator[TrainingStep]:
    """Train a method on a concept, yielding after every step.

    Between steps the base is untouched, so a loop over `fit` may attach and draw.
    Everything random comes from one CPU generator: the same seed gives the same
    concept on the same machine.

    Args:
        method: what learns.
        concept: what from.
        steps: optimizer steps altogether, those before `resume` included.
        batch_size: samples per step (paper: 4).
        seed: of everything drawn.
        checkpoint: a file to keep the state in every `checkpoint_every` steps; it is
            a concept file too, which `load_method` reads.
        checkpoint_every: steps between checkpoints.
        resume: a checkpoint to go on from, as if never interrupted.
        allow_changes: whether it may go on with other pictures, seed or batch size than
            it was begun with; the file then names the later ones.

    Raises:
        PersoError: a checkpoint that cannot be written, read, or is of another
            method, base or setting; a number out of its range; a learning rate or a
            loss that is not a finite number.
        KeyboardInterrupt: says where the last checkpoint is.
    """
    check_whole("steps", steps, 0)
    check_whole("batch_size", batch_size, 1)
    check_whole("checkpoint_every", checkpoint_every, 1)
    check_whole("seed", seed, 0, 2**64 - 1)
    base, done, last_kept = method.base, 0, resume
    if checkpoint is not None:
        check_writable(checkpoint)
    method.to(base.device)
    groups = method.parameter_groups()
    for group in groups:
        check_finite("learning_rate", group["lr"], least=0)
    optimizer = torch.optim.AdamW(groups)
    generator = torch.Generator().manual_seed(seed)
    record = {"concept": concept.name, "pictures": picture_hash(concept)}
    record |= {"seed": seed, "batch_size": batch_size}
    if resume is not None:
        state = (method, optimizer, generator)
        done = load_checkpoint(resume, *state, record, allow_changes)
    method.training_record = record | {"steps": done}
    half = base.unet.dtype == torch.float16
    scaler = torch.amp.GradScaler(base.device.type, enabled=half)
    scheduler = DDPMScheduler.from_config(base.scheduler.config)
    method.before_training(concept)
    examples = prepare(method, concept)
    start = time.perf_counter()
    try:
        for index in range(done, steps):
            batch = draw_batch(method, examples, scheduler, batch_size, generator)
            found = train_step(method, batch, optimizer, scaler, generator, index)
            method.training_record["steps"] = index + 1
            if checkpoint is not None and (index + 1) % checkpoint_every == 0:
                save_checkpoint(checkpoint, method, optimizer, generator)
                last_kept = checkpoint
            seconds = time.perf_counter() - start
            yield _step_record(index, batch, *found, seconds)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Training stopped in step {index}; the last checkpoint is {last_kept}, "
            "and resume goes on from it."
            if last_kept
            else f"Training stopped in step {index}, before the first checkpoint."
        ) from None


def picture_hash(concept: Concept) -> str:
    """Sixteen hexadecimal digits that tell pictures and masks of concepts apart."""
    digest = hashlib.sha256()
    for image in (*concept.images, *concept.masks):
        digest.update(b"none" if image is None else image.tobytes())
    return digest.hexdigest()[:16]


def _step_record(
    index: int, batch: Batch, losses: Tensor, extra: Tensor, seconds: float
) -> TrainingStep:
    """What `fit` yields."""
    return TrainingStep(
        index=index,
        loss=float(losses.mean() + extra),
        extra_loss=float(extra),
        losses=losses,
        timesteps=batch.timesteps.cpu(),
        pictures=batch.pictures,
        captions=batch.captions,
        seconds=seconds,
    )


def prepare(method: Method, concept: Concept) -> Examples:
    """Encode the views of a concept, once for the whole training.

    Raises:
        PersoError: a caption is so long that its word would be cut off.
    """
    views = method.views(concept)
    images, captions = [v.image for v in views], [v.captions for v in views]
    seen = Concept(concept.name, concept.class_word, images, [v.mask for v in views])
    mean, std = encode_pictures(method.base, seen)
    masks = seen.mask_tensor(*mean.shape[-2:]).to(mean.device)
    with method.attach(method.base):  # refused now, and not when it is first drawn
        check_length(method.base, sorted({text for own in captions for text in own}))
    return Examples(mean, std, masks, captions)


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


def train_step(
    method: Method,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    generator: torch.Generator,
    index: int,
) -> tuple[Tensor, Tensor]:
    """One step down the gradient.

    Args:
        method: what learns.
        batch: of `draw_batch`.
        optimizer: of the method's parameter groups.
        scaler: of the loss, for half precision.
        generator: of what the method draws at random itself.
        index: of the step.

    Returns:
        Each sample's denoising loss (batch,) and the extra loss (), on the CPU.

    Raises:
        PersoError: the loss is not a finite number; nothing was learned from it.
    """
    dtype = batch.noisy.dtype
    half = torch.autocast(batch.noisy.device.type, dtype, dtype != torch.float32)
    optimizer.zero_grad()  # an interrupted step may have left some
    with method.training_step(generator):
        with half:
            states = method.encoder_hidden_states(batch.captions, batch.timesteps)
            losses = denoising_losses(method, batch, states)
            extra = method.extra_loss(generator)
            extra = torch.zeros(()) if extra is None else extra
            loss = losses.mean() + extra.to(losses.device)
            _check_loss(loss, index)
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        method.after_step(index, batch.captions, states.detach())
    return losses.detach().cpu(), extra.detach().cpu()


def _check_loss(loss: Tensor, index: int) -> None:
    if not loss.isfinite():
        raise PersoError(
            f"The loss of step {index} is {loss.item()}, so training stopped before "
            "that step; what was learned before is kept, and so is the last "
            "checkpoint. Try a smaller learning rate, or single precision."
        )


def denoising_losses(method: Method, batch: Batch, states: Tensor) -> Tensor:
    """The loss that Stable Diffusion was trained with, of each sample: (batch,).

    mean(w (eps - eps_theta(z_t, t, c))^2), with the method attached, its text states c
    (batch, tokens, dim) and its weights w (1, unless it knows better).
    """
    predicted = method.base.unet(
        batch.noisy, batch.timesteps, encoder_hidden_states=states
    ).sample
    errors = (predicted.float() - batch.target).square()
    weights = method.loss_weights(batch.masks)
    if weights is not None:
        errors = errors * weights
    return errors.mean(dim=(1, 2, 3))


def fit_with_bar(
    method: Method, concept: Concept, steps: int, **options: object
) -> list[TrainingStep]:
    """Run `fit` to its end behind a progress bar on stderr."""
    done = []
    with tqdm(total=steps, desc=f"learning {concept.name}") as bar:
        for step in fit(method, concept, steps, **options):
            done.append(step)
            bar.update(step.index + 1 - bar.n)
            bar.set_postfix(loss=f"{step.loss:.3f}")
    return done
