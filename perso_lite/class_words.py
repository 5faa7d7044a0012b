"""The same text, with class words in the places of concepts: for global key locking.

A U-Net is given text states and does not know the words behind them. So the texts that
are encoded are remembered with their states; when the states arrive, to the last bit,
the text is encoded once more with "teddy" where it said "<toy>".
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.layers import call_argument
from perso_lite.text import single_token_id

REMEMBERED = 16  # encodings; drawing needs two: prompts and negative prompts


class Named(Protocol):
    """What has to be known of a concept."""

    placeholder_token: str
    initializer_token: str


class ClassWords:
    """Remembers what was encoded, and encodes it again in other words."""

    def __init__(self, base: StableDiffusionPipeline):
        self._base = base
        self._texts: deque[tuple[Tensor, Tensor]] = deque(maxlen=REMEMBERED)
        self._latest: tuple = (None, [], None)  # states, concepts, what came of them

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Inside, texts that say a new word are remembered with their states."""
        hook = self._base.text_encoder.register_forward_hook(
            self._text_encoded, with_kwargs=True
        )
        try:
            yield
        finally:
            hook.remove()

    def _text_encoded(
        self, _: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> None:
        ids = call_argument(args, kwargs, 0, "input_ids")  # (texts, tokens)
        # only words that came with a concept lie beyond the vocabulary
        if (ids >= self._base.tokenizer.vocab_size).any():
            self._texts.append((ids, output[0].detach()))

    def instead_of(self, concepts: Sequence[Named], states: Tensor) -> Tensor:
        """Text states (batch, tokens, dim) with class words in the concepts' places.

        What was not encoded while we were remembering, or more than 16 encodings ago,
        is not recognised and stays as it is. Drawing goes on with the same states for
        many steps, so the last answer is kept.
        """
        known, of, replaced = self._latest
        if known is not states or of != concepts:
            replaced = self._encoded_again(concepts, states)
            self._latest = states, concepts, replaced
        return replaced

    @torch.no_grad()
    def _encoded_again(self, concepts: Sequence[Named], states: Tensor) -> Tensor:
        replaced = states
        for ids, encoded in list(self._texts):
            of_class = self._said_otherwise(ids, concepts)
            if encoded.shape[1:] != states.shape[1:] or of_class.equal(ids):
                continue
            equal = states[:, None] == encoded.to(states)[None]  # (batch, texts, ...)
            row, text = equal.flatten(2).all(2).nonzero().T
            if len(row):
                class_states = self._base.text_encoder(of_class[text])[0]
                replaced = replaced.index_copy(0, row, class_states.to(states))
        return replaced

    def _said_otherwise(self, ids: Tensor, concepts: Sequence[Named]) -> Tensor:
        """Token ids (texts, tokens) with class words for concepts."""
        tokenizer, of_class = self._base.tokenizer, ids.clone()
        for concept in concepts:
            word = tokenizer.convert_tokens_to_ids(concept.placeholder_token)
            said = single_token_id(tokenizer, concept.initializer_token)
            of_class[ids == word] = said
        return of_class
