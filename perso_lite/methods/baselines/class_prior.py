"""Prior preservation: the class is to be drawn as before, while one thing is learned.

Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven
Generation", 2022 (arXiv:2208.12242).

The idea: a model that is trained on a few pictures of one teddy soon draws that teddy
for the word "teddy", and for little else. So let the base, while it is still as it was,
draw some pictures of the class. From then on each step also trains on a few of these,
under the class's own caption, so that the old meaning of the word stays worth keeping:

    loss = E || eps - eps_theta(z_t, t, c("a photo of a <toy>")) ||^2
           + lambda E || eps - eps_theta(z'_t, t, c("a photo of a teddy")) ||^2

where z are latents of our pictures and z' those of the base's. DreamBooth and Custom
Diffusion share this, and another thing: their placeholder stands for two tokens, a
rare word and the class word.
"""

from typing import Any

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor

from perso_lite.concepts import Concept
from perso_lite.conditioning.words import encode_prompts, single_token_id
from perso_lite.errors import PersoError, check_finite
from perso_lite.examples import Examples, draw_batch
from perso_lite.method import Method
from perso_lite.sampling import denoise, noise_from
from perso_lite.training import denoising_losses

FIRST_SEED = 1000  # of the class pictures (ours: away from those people draw with)
NUM_INFERENCE_STEPS = 12  # ours: rough pictures will do, and training waits for them
GUIDANCE_SCALE = 4.0  # ours


class ClassPrior:
    """Pictures of a class as the base draws them, and the loss they add.

    They are kept as latents and only in memory. They depend on the base and the class
    word alone, so a training that is resumed draws the same ones again.

    Args:
        class_word: the everyday word for the concept.
        pictures: how many class pictures; 0: no prior preservation (ours: 32, for
            cost; diffusers' script: 100).
        batch_size: how many of them a step trains on (ours: 2, for cost; diffusers'
            script: as many as of the concept's own).
        weight: lambda (paper: 1).

    Raises:
        PersoError: fewer than no pictures, or an empty batch.
    """

    def __init__(
        self,
        class_word: str,
        pictures: int = 32,
        batch_size: int = 2,
        weight: float = 1.0,
    ):
        if pictures < 0 or batch_size < 1:
            raise PersoError(
                f"prior_pictures is {pictures} and prior_batch_size {batch_size}: "
                "class pictures come in batches of at least 1. For a training without "
                "prior preservation set prior_pictures=0."
            )
        check_finite("prior_weight", weight, least=0)
        self.caption = f"a photo of a {class_word}"
        self.pictures = pictures
        self.batch_size = batch_size
        self.weight = weight
        self.examples: Examples | None = None  # drawn before the first step

    @torch.no_grad()
    def draw(self, base: StableDiffusionPipeline) -> None:
        """Draw the class pictures, once; the method must not be attached."""
        if self.pictures == 0 or self.examples is not None:
            return
        states = encode_prompts(base, [self.caption, ""])  # (2, tokens, dim)
        seeds = range(FIRST_SEED, FIRST_SEED + self.pictures)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        settings = (states[1:], NUM_INFERENCE_STEPS, GUIDANCE_SCALE)
        latents = []
        for start in range(0, self.pictures, 8):
            own = generators[start : start + 8]
            noise = torch.cat([noise_from(base, generator) for generator in own])
            class_states = states[:1].expand(len(own), -1, -1)
            *_, drawn = denoise(base, class_states, noise, *settings, own)
            latents.append(drawn.float())
        mean = torch.cat(latents)  # (pictures, channels, height, width)
        masks = torch.ones_like(mean[:, :1])
        captions = [[self.caption]] * self.pictures
        self.examples = Examples(mean, torch.zeros_like(mean), masks, captions)

    def loss(self, method: Method, generator: torch.Generator) -> Tensor | None:
        """The term to add to the loss, with the method attached: (), or None.

        Raises:
            PersoError: the class pictures were not drawn.
        """
        if self.pictures == 0:
            return None
        if self.examples is None:
            raise PersoError(
                "The class pictures are not drawn yet; call method.prior.draw(base) "
                "while nothing is attached, or set prior_pictures=0. (fit does it.)"
            )
        scheduler = DDPMScheduler.from_config(method.base.scheduler.config)
        batch = draw_batch(method, self.examples, scheduler, self.batch_size, generator)
        states = method.encoder_hidden_states(batch.captions, batch.timesteps)
        return self.weight * denoising_losses(method, batch, states).mean()


class ClassPreserving(Method):
    """A method that learns with a `ClassPrior`, which its subclass makes."""

    prior: ClassPrior

    def before_training(self, concept: Concept) -> None:
        """Let the untouched base draw the class pictures."""
        self.prior.draw(self.base)

    def extra_loss(self, generator: torch.Generator) -> Tensor | None:
        """The class pictures' denoising loss, or None without them."""
        return self.prior.loss(self, generator)

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build this method again, those of the prior too."""
        return super().settings() | {
            "prior_pictures": self.prior.pictures,
            "prior_batch_size": self.prior.batch_size,
            "prior_weight": self.prior.weight,
        }


def rare_and_class_vectors(
    base: StableDiffusionPipeline, rare_token: str, class_word: str
) -> Tensor:
    """Rows of the base's embedding table for "<rare token> <class word>": (2, dim).

    Raises:
        PersoError: one of them is not one token of this base.
    """
    rows = []
    for word, advice in (
        (rare_token, "Give another rare word that the base knows as one token."),
        (class_word, "Give a class word that is, for example the wider kind."),
    ):
        try:
            rows.append(single_token_id(base.tokenizer, word))
        except PersoError as reason:
            raise PersoError(
                f'The placeholder is to stand for "{rare_token} {class_word}", but '
                f'"{word}" is not one token of this base. {advice}'
            ) from reason
    table = base.text_encoder.get_input_embeddings().weight  # (words, dim)
    return table.detach()[rows].clone()
