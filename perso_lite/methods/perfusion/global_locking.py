"""Global key locking: the same prompt, with class words in the places of concepts.

A prompt that says a new word is found by its states (`prompt_lookup.py`) and encoded
once more with "teddy" where it says "<toy>"; keys are made of that.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.conditioning.cross_attention import KEYS_DECIDED_BY, shared_by
from perso_lite.conditioning.prompt_lookup import PromptLookup
from perso_lite.conditioning.tokens import LearnedTokens
from perso_lite.conditioning.words import single_token_id
from perso_lite.errors import PersoError


class Named(Protocol):
    """What has to be known of a concept."""

    tokens: LearnedTokens
    initializer_token: str


class ClassWordPrompts:
    """Records the prompts that are encoded, and encodes them again with class words."""

    def __init__(self, base: StableDiffusionPipeline):
        self._base = base
        self._prompts = PromptLookup(base)
        self._latest: tuple = (None, [], None)  # states, concepts, what came of them

    def recording(self) -> AbstractContextManager[None]:
        """Inside, prompts that say a new word are recorded with their states."""
        return self._prompts.recording()

    def instead_of(self, concepts: Sequence[Named], states: Tensor) -> Tensor:
        """Text states (batch, tokens, dim) with class words in the concepts' places.

        Rows whose prompt is not found stay as they are. Drawing goes on with the same
        states for many steps, so the last answer is kept.

        Raises:
            PersoError: a word is attached that has another text for every layer.
        """
        if other := shared_by(self._base.unet, KEYS_DECIDED_BY):
            raise PersoError(
                f"Global key locking and {other} both decide what text the keys are "
                'made of. Set key_locking to "local", or attach one of the two.'
            )
        known, of, replaced = self._latest
        if known is not states or of != concepts:
            replaced = self._encoded_again(concepts, states)
            self._latest = states, concepts, replaced
        return replaced

    @torch.no_grad()
    def _encoded_again(self, concepts: Sequence[Named], states: Tensor) -> Tensor:
        rows, ids = self._prompts.find(states)
        tokenizer, of_class = self._base.tokenizer, ids.clone()
        for concept in concepts:
            class_word = single_token_id(tokenizer, concept.initializer_token)
            of_class[concept.tokens.places(tokenizer, ids)] = class_word
        changed = (of_class != ids).any(1)
        if not changed.any():
            return states
        class_states = self._base.text_encoder(of_class[changed])[0]
        return states.index_copy(0, rows[changed], class_states.to(states))
