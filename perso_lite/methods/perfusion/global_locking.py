"""The same text, with class words in the places of concepts: for global key locking.

A text that says a new word is recognised by its states (`remembered.py`) and encoded
once more with "teddy" where it said "<toy>".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.conditioning.prompt_lookup import PromptLookup
from perso_lite.conditioning.tokens import single_token_id
from perso_lite.errors import PersoError
from perso_lite.methods.space_time.hooks import present_text


class Named(Protocol):
    """What has to be known of a concept."""

    placeholder_token: str
    initializer_token: str


class ClassWords:
    """Remembers what was encoded, and encodes it again in other words."""

    def __init__(self, base: StableDiffusionPipeline):
        self._base = base
        self._texts = PromptLookup(base)
        self._latest: tuple = (None, [], None)  # states, concepts, what came of them

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Inside, texts that say a new word are remembered with their states."""
        with self._texts.remembering():
            yield

    def instead_of(self, concepts: Sequence[Named], states: Tensor) -> Tensor:
        """Text states (batch, tokens, dim) with class words in the concepts' places.

        What is not recognised stays as it is. Drawing goes on with the same states for
        many steps, so the last answer is kept.

        Raises:
            PersoError: a word is attached that has another text for every layer.
        """
        if present_text(self._base) is not None:
            raise PersoError(
                "Global key locking and a word with a vector for each layer (NeTI or "
                "XTI) both decide what text the keys are made of. Set key_locking to "
                '"local", or attach one of the two.'
            )
        known, of, replaced = self._latest
        if known is not states or of != concepts:
            replaced = self._encoded_again(concepts, states)
            self._latest = states, concepts, replaced
        return replaced

    @torch.no_grad()
    def _encoded_again(self, concepts: Sequence[Named], states: Tensor) -> Tensor:
        rows, ids = self._texts.recognised(states)
        of_class = self._said_otherwise(ids, concepts)
        others = (of_class != ids).any(1)
        if not others.any():
            return states
        class_states = self._base.text_encoder(of_class[others])[0]
        return states.index_copy(0, rows[others], class_states.to(states))

    def _said_otherwise(self, ids: Tensor, concepts: Sequence[Named]) -> Tensor:
        """Token ids (texts, tokens) with class words for concepts."""
        tokenizer, of_class = self._base.tokenizer, ids.clone()
        for concept in concepts:
            word = tokenizer.convert_tokens_to_ids(concept.placeholder_token)
            said = single_token_id(tokenizer, concept.initializer_token)
            of_class[ids == word] = said
        return of_class
