"""Words whose vector depends on where and when they are read.

Usually a new word has one vector, whichever cross-attention layer l of the U-Net reads
it, at whatever timestep t. That is the first of three spaces to look for a word in:

    P    v          one vector                            Textual Inversion
    P+   v(l)       one for each layer                    XTI
    P*   M(t, l)    one for each layer and timestep       NeTI

A method says only what its word is (`vectors`); `layered_encoder.py` and
`layered_text.py` do the rest.
"""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import chain

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional as F

from perso_lite.concepts import Concept
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.conditioning.tokens import LearnedTokens, check_placeholder, token_names
from perso_lite.errors import PersoError
from perso_lite.method import Method, parameters_of
from perso_lite.methods.space_time.encoder import States, check_once
from perso_lite.methods.space_time.hooks import join_text, present_text


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
        check_placeholder(base.tokenizer, placeholder_token)
        super().__init__(base, class_word, placeholder_token)
        self.tokens = LearnedTokens(token_names(placeholder_token, 1))
        self.num_layers = len(cross_attention_layers(base.unet))
        self.width = base.text_encoder.get_input_embeddings().embedding_dim
        self.num_train_timesteps = base.scheduler.config.num_train_timesteps
        self.written: Tensor | None = None  # see `_vectors_to_write`

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
                raise PersoError(
                    f'The caption "{text}" says {self.placeholder_token} more than '
                    "once, but a word with a vector for each layer and timestep can be "
                    "said only once. Say the class word where it is meant again."
                )
        return captions

    @contextmanager
    def attach(self, base: StableDiffusionPipeline) -> Iterator[None]:
        """Inside the `with` block, every layer of `base` reads a word of its own.

        Gradients flow, also with gradient checkpointing (diffusers' own, which runs
        layers again in the backward pass; then one call of the U-Net for each backward
        pass). Words of this kind can share a prompt. A prompt is known by its text
        states, to the last bit: states that were changed by hand or by `clip_skip`, or
        were not used for 64 encodings, are read as they are, with a stand-in.

        Raises:
            PersoError: the word is taken, or `base` has another width or other layers.
        """
        layers = len(cross_attention_layers(base.unet))
        if layers != self.num_layers:
            raise PersoError(
                f"{self.placeholder_token} was learned for {self.num_layers} "
                f"cross-attention layers, but this base has {layers}; attach it to the "
                "kind of base it was trained on."
            )
        with ExitStack() as stack:
            stack.enter_context(self.tokens.attached(base, self._vectors_to_write))
            stack.enter_context(join_text(base, self))
            yield

    def encode(self, prompts: list[str], timesteps: Tensor) -> States:
        """What every layer reads of prompts at timesteps (batch,), to look at.

        Returns:
            Text states for keys and for values, each (batch, layers, tokens, dim); one
            layer where all share it.

        Raises:
            PersoError: a prompt does not say the word exactly once, or there are not as
                many timesteps as prompts.
        """
        base = self.base
        if len(prompts) != len(timesteps):
            raise PersoError(
                f"There are {len(prompts)} prompts but {len(timesteps)} timesteps; "
                "give each prompt one."
            )
        present = present_text(base)
        here = present is not None and self in present.encoder.words
        with nullcontext() if here else self.attach(base):
            texts = base.maybe_convert_prompt(prompts, base.tokenizer)
            given = base.tokenizer(texts, padding="max_length", truncation=True)
            ids = torch.tensor(given.input_ids, device=base.device)
            word = base.tokenizer.convert_tokens_to_ids(self.placeholder_token)
            check_once(ids, word, self.placeholder_token, optional=False)
            return present_text(base).encoded(ids, timesteps.to(base.device))

    def _vectors_to_write(self) -> Tensor:
        """(texts, 1, dim) while layers' prompts are encoded, otherwise a stand-in.

        The pipeline encodes with the stand-in before any layer asks, and we know the
        text by it. It is the word in the middle of time on average over the layers,
        with a little of a vector that comes from the name alone: no two words share it.
        """
        if self.written is not None:
            return self.written
        generator = torch.Generator().manual_seed(
            zlib.crc32(self.placeholder_token.encode())
        )
        mark = torch.randn(self.width, generator=generator)
        with torch.no_grad():
            middle = torch.tensor([self.num_train_timesteps / 2])
            word = self.vectors(middle.to(self.base.device))[0].mean(1)  # (1, dim)
            mark = 0.1 * word.norm() * F.normalize(mark, dim=0).to(word)
        return word + mark

    def dials(self) -> list[dict]:
        """How the dials stand, those of words it is made of included."""
        return [parameters_of(part) for part in self.modules()]
