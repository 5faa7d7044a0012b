"""fit(): the one training loop, a generator, used by every method.

It is the denoising loss and nothing else: draw pictures, captions, timesteps and noise
(`examples.py`), let the frozen U-Net predict, compare. What is learned, and how it
reaches the U-Net, is the method's own business.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.checkpoints import (
    TrainingState,
    begin_training,
    save_checkpoint,
    training_record,
)
from perso_lite.concepts import Concept
from perso_lite.conditioning.architecture import check_parts
from perso_lite.errors import PersoError, check_whole
from perso_lite.examples import Batch, draw_batch, prepare
from perso_lite.files.writing import check_writable
from perso_lite.method import Method


@dataclass
class TrainingStep:
    """What happened in one step.

    Attributes:
        index: counts from 0.
        loss: what was minimized, extra loss included.
        extra_loss: the method's own term in it.
        losses: denoising loss of each sample, (samples,).
        timesteps: (samples,).
        pictures: which of the views, (samples,); the concept's pictures come first.
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


def fit(
    method: Method,
    concept: Concept,
    steps: int = 200,
    *,
    batch_size: int = 4,
    gradient_accumulation: int = 1,
    flips: bool = False,
    crops: int = 0,
    learning_rate_schedule: str = "constant",
    warmup_steps: int = 0,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 50,
    resume: str | Path | None = None,
    allow_changes: bool = False,
) -> Iterator[TrainingStep]:
    """Train a method on a concept, yielding after every step.

    Between steps the base is untouched, so a loop over `fit` may attach and draw.
    Everything random comes from the seed: the same one gives the same concept on the
    same machine.

    Args:
        method: what learns.
        concept: what from.
        steps: optimizer steps altogether, those before `resume` included.
        batch_size: samples per batch (paper: 4).
        gradient_accumulation: batches per step; the gradient is that of their mean
            loss, so a large batch fits a small memory.
        flips: whether to train on mirrored pictures, too.
        crops: random square crops to add for each picture (see `augmented`).
        learning_rate_schedule: "constant", or to 0 at the last step: "linear" or
            "cosine".
        warmup_steps: in which the learning rate rises from 0, before that.
        seed: of everything drawn.
        checkpoint: a file to keep the state in every `checkpoint_every` steps; it is
            a concept file too, which `load_method` reads.
        checkpoint_every: steps between checkpoints.
        resume: a checkpoint to go on from, as if never interrupted.
        allow_changes: whether it may go on with other pictures, seed, batch size and
            so on than it was begun with; the file then names the later ones.

    Raises:
        PersoError: a checkpoint that cannot be written, read, or is of another
            method, base or setting; a number out of its range or an unknown schedule;
            a learning rate or a loss that is not finite.
        KeyboardInterrupt: says where the last checkpoint is.
    """
    check_parts(method.base, pictures=True)
    check_whole("steps", steps, 0)
    check_whole("checkpoint_every", checkpoint_every, 1)
    record = training_record(
        concept,
        steps,
        seed=seed,
        batch_size=batch_size,
        gradient_accumulation=gradient_accumulation,
        flips=flips,
        crops=crops,
        learning_rate_schedule=learning_rate_schedule,
        warmup_steps=warmup_steps,
    )
    if checkpoint is not None:
        check_writable(checkpoint)
    state = begin_training(method, record, steps, resume, allow_changes)
    method.before_training(concept)
    examples = prepare(method, concept, flips, crops, seed)
    scheduler = DDPMScheduler.from_config(method.base.scheduler.config)
    start, last_kept = time.perf_counter(), resume
    try:
        for index in range(state.done, steps):
            batches = [
                draw_batch(method, examples, scheduler, batch_size, state.generator)
                for _ in range(gradient_accumulation)
            ]
            found = train_step(method, batches, state, index)
            method.training_record["steps"] = index + 1
            if checkpoint is not None and (index + 1) % checkpoint_every == 0:
                save_checkpoint(checkpoint, method, state)
                last_kept = checkpoint
            yield _step_record(index, batches, *found, time.perf_counter() - start)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped(index, last_kept)) from None


def train_step(
    method: Method, batches: list[Batch], state: TrainingState, index: int
) -> tuple[Tensor, Tensor]:
    """One step down the gradient of the batches' mean loss.

    Args:
        method: what learns.
        batches: of `draw_batch`.
        state: of `begin_training`.
        index: of the step.

    Returns:
        Each sample's denoising loss (samples,) and the mean extra loss (), on the CPU.

    Raises:
        PersoError: the loss is not a finite number; nothing was learned from it.
    """
    dtype, losses, extras, texts = batches[0].noisy.dtype, [], [], []
    half = torch.autocast(batches[0].noisy.device.type, dtype, dtype != torch.float32)
    state.optimizer.zero_grad()  # an interrupted step may have left some
    with method.training_step(state.generator):
        for batch in batches:
            with half:
                states = method.encoder_hidden_states(batch.captions, batch.timesteps)
                errors = denoising_losses(method, batch, states)
                extra = method.extra_loss(state.generator)
                extra = torch.zeros(()) if extra is None else extra
                loss = errors.mean() + extra.to(errors.device)
                _check_loss(loss, index)
                state.scaler.scale(loss / len(batches)).backward()
            losses.append(errors.detach().cpu())
            extras.append(extra.detach().cpu())
            texts.append(states.detach())
        _optimizer_step(state)
        captions = [text for batch in batches for text in batch.captions]
        method.after_step(index, captions, torch.cat(texts))
    return torch.cat(losses), torch.stack(extras).mean()


def _optimizer_step(state: TrainingState) -> None:
    """Move what learns, and the learning rate after it."""
    scale = state.scaler.get_scale()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    # a smaller scale: the gradients overflowed, and no step was made
    if state.scaler.get_scale() >= scale:
        state.schedule.step()


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


def _stopped(index: int, last_kept: str | Path | None) -> str:
    said = f"Training stopped in step {index}"
    if last_kept is None:
        return f"{said}, before the first checkpoint."
    return f"{said}; the last checkpoint is {last_kept}, and resume goes on from it."


def _step_record(
    index: int, batches: list[Batch], losses: Tensor, extra: Tensor, seconds: float
) -> TrainingStep:
    """What `fit` yields."""
    return TrainingStep(
        index=index,
        loss=float(losses.mean() + extra),
        extra_loss=float(extra),
        losses=losses,
        timesteps=torch.cat([batch.timesteps.cpu() for batch in batches]),
        pictures=torch.cat([batch.pictures for batch in batches]),
        captions=[text for batch in batches for text in batch.captions],
        seconds=seconds,
    )


def _check_loss(loss: Tensor, index: int) -> None:
    if not loss.isfinite():
        raise PersoError(
            f"The loss of step {index} is {loss.item()}, so training stopped before "
            "that step; what was learned before is kept, and so is the last "
            "checkpoint. Try a smaller learning rate, or single precision."
        )
