"""Training steps built as public scripts build them, in our own words.

Each is a function without arguments that takes one step. What all of them share, and
ours do not: the autoencoder encodes the pictures and the text encoder the captions in
every step, and every caption of a batch by itself.

* diffusers' example for Textual Inversion: the word is a new row of the embedding
  table; the whole table has a gradient, moments and weight decay, and all old rows are
  put back after each step.
* NeTI's released code: for each of 16 layers one call of the mapper and one of the text
  encoder.
* The most complete re-implementation of Perfusion: each of 32 projections computes
  shares and gates for itself, and has an o* for each position of a text.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from neti import looped
from torch import Tensor, nn

from perso_lite.concepts import Concept
from perso_lite.conditioning.cross_attention import (
    cross_attention_layers,
    rewritten_text,
)
from perso_lite.conditioning.neutral_captions import TEMPLATES
from perso_lite.methods.perfusion.perfusion import Perfusion
from perso_lite.methods.space_time.neti import NeTI
from perso_lite.methods.textual_inversion import TextualInversion

Step = Callable[[], None]


class Batches:
    """Pictures, captions and noise of one step after another.

    Pixels are in memory already, resized: a script's loader reads and resizes them in
    other processes.
    """

    def __init__(
        self, base: StableDiffusionPipeline, concept: Concept, word: str, size: int
    ):
        self.base, self.word, self.size = base, word, size
        side = base.unet.config.sample_size * base.vae_scale_factor
        self.pixels = concept.pixels(side)  # (pictures, 3, side, side)
        self.masks = concept.mask_tensor(*[base.unet.config.sample_size] * 2)
        self.schedule = DDPMScheduler.from_config(base.scheduler.config)
        self.generator = torch.Generator().manual_seed(0)

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor, list[str]]:
        """Noisy latents, timesteps, noise, masks and captions."""
        chosen = partial(torch.randint, size=(self.size,), generator=self.generator)
        pictures, timesteps = chosen(len(self.pixels)), chosen(1000)
        captions = [TEMPLATES[i].format(self.word) for i in chosen(len(TEMPLATES))]
        with torch.no_grad():
            latents = self.base.vae.encode(self.pixels[pictures]).latent_dist.sample()
        latents = latents * self.base.vae.config.scaling_factor
        noise = torch.randn(latents.shape, generator=self.generator)
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        return noisy, timesteps, noise, self.masks[pictures], captions


def token_ids(base: StableDiffusionPipeline, captions: list[str]) -> Tensor:
    """(captions, tokens), padded."""
    return base.tokenizer(
        captions, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids


def textual_inversion_loop(
    method: TextualInversion, concept: Concept, size: int
) -> Step:
    """A step of diffusers' example; the method says only the words and the rate."""
    base, token = copy.copy(method.base), method.placeholder_token
    tokenizer = copy.deepcopy(base.tokenizer)
    encoder = copy.deepcopy(base.text_encoder)
    base.register_modules(tokenizer=tokenizer, text_encoder=encoder)
    tokenizer.add_tokens([token])
    rows = len(encoder.get_input_embeddings().weight)
    encoder.resize_token_embeddings(max(rows, len(tokenizer)))
    table = encoder.get_input_embeddings().weight.requires_grad_()
    new = tokenizer.convert_tokens_to_ids(token)
    old = torch.arange(len(table)) != new
    with torch.no_grad():
        table[new] = method.vectors[0]
    before = table.detach().clone()
    optimizer = torch.optim.AdamW([table], lr=5e-4, weight_decay=1e-2)
    batches = Batches(base, concept, token, size)

    def step() -> None:
        noisy, timesteps, noise, _, captions = batches.draw()
        states = encoder(token_ids(base, captions)).last_hidden_state
        predicted = base.unet(noisy, timesteps, encoder_hidden_states=states).sample
        (predicted - noise).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            table[old] = before[old]

    return step


@contextmanager
def read_layer_by_layer(
    method: NeTI, captions: list[str], timesteps: Tensor
) -> Iterator[Tensor]:
    """Inside, every layer reads a text of its own; yields one for the pipeline."""
    base = method.base
    with method.tokens.attached(base, method.stand_in):
        keys, values = looped(method, token_ids(base, captions), timesteps)
    given = (
        lambda layer, _, texts=texts: texts[:, layer.position]
        for texts in (keys, values)
    )
    with rewritten_text(base.unet, *given):
        yield keys[:, 0]


def neti_loop(method: NeTI, concept: Concept, size: int) -> Step:
    """A step with a mapper call and a text encoder call for each layer."""
    base = method.base
    batches = Batches(base, concept, method.placeholder_token, size)
    optimizer = torch.optim.AdamW(method.mapper.parameters(), lr=1e-3)

    def step() -> None:
        noisy, timesteps, noise, _, captions = batches.draw()
        with read_layer_by_layer(method, captions, timesteps) as states:
            predicted = base.unet(noisy, timesteps, encoder_hidden_states=states).sample
            (predicted - noise).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


class EditedAlone:
    """The hooks of one projection that computes its whole edit by itself."""

    def __init__(self, method: Perfusion, kind: str, part: slice):
        self.method, self.kind, self.part = method, kind, part

    def before(self, _: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        """What has nothing of i* in it."""
        (states,), i = args, self.method.target_input
        metric = self.method.inverse_covariance @ i
        self.share = (states @ metric / (i @ metric))[..., None]  # (batch, tokens, 1)
        return (states - self.share * i,)

    def after(self, _: nn.Module, __: tuple, output: Tensor) -> Tensor:
        """And o* of each position, gated."""
        beta, tau = self.method.training_beta, self.method.training_tau
        gate = torch.sigmoid((self.share - beta) / tau)
        return output + gate * self.method.targets(self.kind)[:, self.part]


@contextmanager
def edited_alone(method: Perfusion) -> Iterator[None]:
    """Inside, the word is known, and every projection is edited by itself."""
    unet = method.base.unet
    with (
        method.tokens.attached(method.base, lambda: method.embedding),
        ExitStack() as at,
    ):
        for kind in ("to_k", "to_v"):
            start = 0
            for layer in cross_attention_layers(unet):
                module = getattr(unet.get_submodule(layer.name), kind)
                part = slice(start, start + module.out_features)
                edit, start = EditedAlone(method, kind, part), part.stop
                at.callback(module.register_forward_pre_hook(edit.before).remove)
                at.callback(module.register_forward_hook(edit.after).remove)
        yield


def perfusion_loop(method: Perfusion, concept: Concept, size: int) -> Step:
    """A step with 32 edits; the method has an o* for each position of a text."""
    base = method.base
    batches = Batches(base, concept, method.placeholder_token, size)
    optimizer = torch.optim.AdamW(method.parameter_groups())

    def step() -> None:
        noisy, timesteps, noise, masks, captions = batches.draw()
        with edited_alone(method):
            states = base.text_encoder(token_ids(base, captions)).last_hidden_state
            predicted = base.unet(noisy, timesteps, encoder_hidden_states=states).sample
            ((predicted - noise) * masks).square().mean().backward()
            method.after_step(0, captions, states.detach())
        optimizer.step()
        optimizer.zero_grad()

    return step
