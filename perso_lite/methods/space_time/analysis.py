"""What layers read of a word, and what NeTI's mapper writes over timesteps and layers.

The mapper writes the word M(t, l) for each timestep and layer (`mapper.py`). How many
of its hidden units it may use, and how far the bypass goes, can be changed without any
training (`neti.py`); `teaching/method_panels/neti.py` has sliders for them.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor

from perso_lite.concepts import Concept
from perso_lite.conditioning.cross_attention import shared_by
from perso_lite.errors import PersoError
from perso_lite.examples import draw_batch, prepare
from perso_lite.methods.space_time.encoder import States
from perso_lite.methods.space_time.hooks import KEY
from perso_lite.methods.space_time.neti import NeTI
from perso_lite.methods.space_time.word import SpaceTimeWord
from perso_lite.methods.space_time.xti import ExtendedTextualInversion
from perso_lite.sampling import inference_parameters
from perso_lite.training import denoising_losses


def states_by_layer(
    method: SpaceTimeWord, prompts: list[str], timesteps: Tensor
) -> States:
    """What every layer reads of prompts at timesteps (batch,).

    Args:
        method: the word, attached to its own base or not.
        prompts: each says the word once.
        timesteps: one for each prompt.

    Returns:
        Text states for keys and for values, each (batch, layers, tokens, dim); one
        layer where all share it.

    Raises:
        PersoError: a prompt does not say the word exactly once, or there are not as
            many timesteps as prompts.
    """
    base, token = method.base, method.placeholder_token
    if len(prompts) != len(timesteps):
        raise PersoError(
            f"There are {len(prompts)} prompts but {len(timesteps)} timesteps; "
            "give each prompt one."
        )
    present = shared_by(base.unet, KEY)
    here = present is not None and method in present.cache.words
    with nullcontext() if here else method.attach(base):
        texts = base.maybe_convert_prompt(prompts, base.tokenizer)
        given = base.tokenizer(texts, padding="max_length", truncation=True)
        ids = torch.tensor(given.input_ids, device=base.device)
        method.check_once(ids, base.tokenizer)
        if not method.tokens.places(base.tokenizer, ids).any(1).all():
            raise PersoError(
                f"A prompt does not say {token}, or so late that it is cut off after "
                f"{ids.shape[1]} tokens, so no layer would read it. Write for example "
                f'"a photo of a {token}".'
            )
        return shared_by(base.unet, KEY).encoded(ids, timesteps.to(base.device))


@torch.no_grad()
def mapper_output(
    method: NeTI, timesteps: int | Tensor = 50, truncation_idx: int | None = None
) -> Tensor:
    """The word M(t, l) over time and layers.

    Args:
        method: the word; its inference parameters stay as they are.
        timesteps: (times,), or how many, evenly spaced from 0 to the last (ours: 50).
        truncation_idx: how many of the 128 hidden units to write it with; None: all.

    Returns:
        (times, layers, dim), float32 on the CPU, as the text encoder reads them. Layers
        that share a word have the same.

    Raises:
        PersoError: there are not so many units or timesteps.
    """
    if isinstance(timesteps, int):
        timesteps = even_timesteps(method, timesteps)
    timesteps = timesteps.to(next(method.parameters()).device)
    with inference_parameters(method, truncation_idx=truncation_idx):
        word, _ = method.vectors(timesteps)
    return word.expand(-1, method.num_layers, -1).float().cpu()


def even_timesteps(method: NeTI, count: int = 50) -> Tensor:
    """So many timesteps from 0 to the last one of training, (count,).

    Raises:
        PersoError: that many there are not.
    """
    if not 0 < count <= method.num_train_timesteps:
        raise PersoError(
            f"{count} timesteps were asked for, but {method.placeholder_token} knows "
            f"{method.num_train_timesteps}: give 1 to {method.num_train_timesteps}."
        )
    return torch.linspace(0, method.num_train_timesteps - 1, count).round().long()


def variance_shares(words: Tensor) -> dict[str, float]:
    """How much of a word differs from place to place, by what it differs with.

    The words' mean squared length is that of their mean and three variances: of the
    layers' means, of the timesteps' means, and the rest, which no layer and no timestep
    has alone.

    Args:
        words: (times, layers, dim), as `mapper_output` gives.

    Returns:
        Shares of the mean squared length: "layers", "timesteps", "both together".
    """
    apart = words - words.mean((0, 1))
    by_layer, by_time = apart.mean(0, keepdim=True), apart.mean(1, keepdim=True)
    parts = {
        "layers": by_layer,
        "timesteps": by_time,
        "both together": apart - by_layer - by_time,
    }
    whole = words.square().sum(-1).mean()
    return {
        name: float(part.square().sum(-1).mean() / whole)
        for name, part in parts.items()
    }


@dataclass
class FixedTimestep:
    """Stands for a method in `draw_batch`, to draw all pictures at one timestep."""

    method: SpaceTimeWord
    timestep: int

    @property
    def base(self) -> StableDiffusionPipeline:
        """The method's own."""
        return self.method.base

    def draw_timesteps(
        self, count: int, num_train_timesteps: int, generator: torch.Generator
    ) -> Tensor:
        """The timestep for each picture, (count,)."""
        return torch.full((count,), self.timestep)


def layer_gradients(
    word: ExtendedTextualInversion,
    concept: Concept,
    timesteps: Sequence[int],
    batch_size: int = 16,
) -> Tensor:
    """The loss's gradient for each layer's own vector at several timesteps, twice.

    Of the same word at the same timestep, the two gradients differ only by the pictures
    and the noise that were drawn: their cosine says how much of a gradient is noise.

    Args:
        word: XTI, whose vectors are the point at which gradients are taken.
        concept: its pictures.
        timesteps: from 0.
        batch_size: pictures for one gradient (ours: 16).

    Returns:
        (2, timesteps, layers, dim).
    """
    base, examples = word.base, prepare(word, concept)
    scheduler = DDPMScheduler.from_config(base.scheduler.config)
    gradients = []
    for number in range(2 * len(timesteps)):
        generator = torch.Generator().manual_seed(number)
        timestep = timesteps[number % len(timesteps)]
        fixed = FixedTimestep(word, timestep)
        batch = draw_batch(fixed, examples, scheduler, batch_size, generator)
        with word.attach(base):
            states = word.encoder_hidden_states(batch.captions, batch.timesteps)
            loss = denoising_losses(word, batch, states).mean()
        gradients.append(torch.autograd.grad(loss, word.table)[0])
    return torch.stack(gradients).unflatten(0, (2, len(timesteps)))
