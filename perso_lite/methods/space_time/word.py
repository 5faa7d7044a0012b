"""Words whose vector depends on where and when they are read.

Usually a new word has one vector, whichever cross-attention layer l of the U-Net reads
it, at whatever timestep t. That is the first of three spaces to look for a word in:

    P    v          one vector                            Textual Inversion
    P+   v(l)       one for each layer                    XTI
    P*   M(t, l)    one for each layer and timestep       NeTI

A method says only what its word is (`vectors`); `encoder.py` and `hooks.py` do the
rest.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer

from perso_lite.concepts import Concept
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.conditioning.prompt_lookup import Encoding
from perso_lite.errors import PersoError
from perso_lite.method import Method
from perso_lite.methods.space_time.hooks import joined_conditioning

ONLY_ONCE = (
    "but a word with a vector for each layer and timestep can be said only once. Say "
    "the class word where it is meant again."
)


class SpaceTimeWord(Method):
    """One word with a vector for each timestep and layer; a subclass says which.

    Attributes:
        over_time: whether its vectors differ from timestep to timestep.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept.
        placeholder_token: the new word; lower case, in angle brackets, no blanks.

    Raises:
        PersoError: a placeholder the tokenizer would misread or already knows.
    """

    over_time = True

    def __init__(
        self, base: StableDiffusionPipeline, class_word: str, placeholder_token: str
    ):
        super().__init__(base, class_word, placeholder_token)
        self.num_layers = len(cross_attention_layers(base.unet))
        self.width = base.text_encoder.get_input_embeddings().embedding_dim
        self.num_train_timesteps = base.scheduler.config.num_train_timesteps
        self.encodings: list[Encoding] = []  # prompts that were encoded while attached

    def vectors(self, timesteps: Tensor) -> tuple[Tensor, Tensor | None]:
        """The word's vectors at timesteps (batch,).

        Returns:
            word: (batch, layers, dim), or (batch, 1, dim) where all layers share one;
            its place is among the token embeddings.
            bypass: of the same shape, or None: a step from the word's own text state,
            in units of that state's length.
        """
        raise NotImplementedError

    def captions(self, concept: Concept) -> list[list[str]]:
        """As every method's.

        Raises:
            PersoError: one says the word more than once.
        """
        captions = super().captions(concept)
        for text in chain.from_iterable(captions):
            if text.count(self.placeholder_token) > 1:
                word = self.placeholder_token
                raise PersoError(
                    f'The caption "{text}" says {word} more than once, {ONLY_ONCE}'
                )
        return captions

    @contextmanager
    def attach(self, base: StableDiffusionPipeline) -> Iterator[None]:
        """Inside the `with` block, every layer of `base` reads a word of its own.

        Gradients flow, also with gradient checkpointing (diffusers' own, which runs
        layers again in the backward pass; then one call of the U-Net for each backward
        pass). Words of this kind can share a prompt. A prompt is known by its text
        states, to the last bit: states that were changed by hand or by `clip_skip`, or
        were not used for 64 encodings, are read as they are, with a stand-in. Those of
        an earlier `with` block of this word are found, too.

        Raises:
            PersoError: the word is taken, or `base` has another width or other layers.
        """
        with self.tokens.attached(base, self.stand_in):
            self._check_layers(base)
            with joined_conditioning(base, self):
                yield

    def _check_layers(self, base: StableDiffusionPipeline) -> None:
        layers = len(cross_attention_layers(base.unet))
        if layers != self.num_layers:
            raise PersoError(
                f"{self.placeholder_token} was learned for {self.num_layers} "
                f"cross-attention layers, but this base has {layers}; attach it to the "
                "kind of base it was trained on."
            )

    @torch.no_grad()
    def stand_in(self) -> Tensor:
        """The vector that a pipeline encodes prompts with, (1, dim).

        It does so before any layer asks, and the prompt is found again by the result.
        The vector is the word in the middle of time on average over the layers, with a
        little of a vector that comes from the name alone: no two words share it.
        """
        generator = torch.Generator().manual_seed(
            zlib.crc32(self.placeholder_token.encode())
        )
        mark = torch.randn(self.width, generator=generator)
        middle = torch.tensor([self.num_train_timesteps / 2])
        word = self.vectors(middle.to(self.base.device))[0].mean(1)  # (1, dim)
        return word + 0.1 * word.norm() * F.normalize(mark, dim=0).to(word)

    def check_once(self, ids: Tensor, tokenizer: CLIPTokenizer) -> None:
        """Refuse texts (batch, tokens) that say the word more than once.

        Raises:
            PersoError: one does.
        """
        count = int(self.tokens.places(tokenizer, ids).sum(1).max())
        if count > 1:
            token = self.placeholder_token
            raise PersoError(f"A prompt says {token} {count} times, {ONLY_ONCE}")

    def check_timesteps(self, timesteps: Tensor) -> None:
        """Refuse times that training never saw.

        Raises:
            PersoError: there is one.
        """
        last = self.num_train_timesteps - 1
        wrong = timesteps[~((timesteps >= 0) & (timesteps <= last))]
        if len(wrong):
            raise PersoError(
                f"The scheduler asks for timestep {float(wrong[0]):.4g}, but "
                f"{self.placeholder_token} was learned for 0 to {last}. Use a "
                "scheduler with the base's own schedule: DDIM, DPM-Solver, Euler and "
                "the like."
            )
