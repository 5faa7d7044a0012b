"""One batch, drawn as `fit` draws it, and its losses."""

import torch
from diffusers import DDPMScheduler

from perso_lite.examples import Batch, draw_batch, prepare
from perso_lite.training import denoising_losses


def batch_of(method, concept, batch_size=2) -> Batch:
    """What the method would be trained on in its first step with seed 0."""
    scheduler = DDPMScheduler.from_config(method.base.scheduler.config)
    generator = torch.Generator().manual_seed(0)
    examples = prepare(method, concept)
    return draw_batch(method, examples, scheduler, batch_size, generator)


def losses_of(method, batch) -> torch.Tensor:
    """The denoising losses (batch,) of an attached method."""
    states = method.encoder_hidden_states(batch.captions, batch.timesteps)
    return denoising_losses(method, batch, states)
