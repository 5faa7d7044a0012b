"""Encodings for all layers, kept from picture to picture and from step to step.

Every text is encoded once for each timestep. While nothing is learned, what was encoded
is kept until a word, its configuration or the text encoder changes.
"""

from itertools import chain
from typing import TYPE_CHECKING

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.methods.space_time.encoder import States, WordVectors, encode_for_layers

if TYPE_CHECKING:
    from perso_lite.methods.space_time.word import SpaceTimeWord

AT_ONCE = 4  # texts encoded together for all layers, while drawing (ours, for CPUs)
KEPT_BYTES = 2**30  # of encodings, before the oldest are dropped (ours)

Key = tuple[tuple[int, ...], float]  # token ids of a text, timestep


class EncodingCache:
    """Encodes texts with the words that are attached to a base.

    Attributes:
        words: `SpaceTimeWord`s, in the order in which they were attached.
    """

    def __init__(self, base: StableDiffusionPipeline):
        self.words: list[SpaceTimeWord] = []
        self._base = base
        self._kept: dict[Key, States] = {}  # those used last are last
        self._made_of: object = None  # `_state` when they were encoded

    def encoded(self, ids: Tensor, timesteps: Tensor) -> States:
        """What the layers read of texts (batch, tokens) at timesteps (batch,).

        Returns:
            For keys and for values, (batch, layers, tokens, dim); one layer if all
            share it.
        """
        if not any(word.over_time for word in self.words):
            timesteps = torch.zeros_like(timesteps)
        keys = list(zip(map(tuple, ids.tolist()), timesteps.tolist(), strict=True))
        row_of = {key: keys.index(key) for key in keys}
        if torch.is_grad_enabled():
            rows = [*row_of.values()]
            of_keys, of_values = self._encode(ids[rows], timesteps[rows])
            index = [rows.index(row_of[key]) for key in keys]
            return of_keys[index], of_values[index]
        self._keep(row_of, ids, timesteps)
        of_keys, of_values = zip(*(self._kept[key] for key in keys), strict=True)
        return torch.stack(of_keys), torch.stack(of_values)

    def _encode(self, ids: Tensor, timesteps: Tensor) -> States:
        vectors = [word.vectors(timesteps) for word in self.words]
        words = map(WordVectors, self.token_ids(), *zip(*vectors, strict=True))
        return encode_for_layers(self._base.text_encoder, ids, list(words))

    def token_ids(self) -> list[int]:
        """The words' ids while they are attached."""
        return [word.tokens.first_id(self._base.tokenizer) for word in self.words]

    def _keep(self, row_of: dict[Key, int], ids: Tensor, timesteps: Tensor) -> None:
        """Encode what is missing, and drop the oldest of what is too much."""
        if (made_of := self._state()) != self._made_of:
            self._kept, self._made_of = {}, made_of
        used = [key for key in row_of if key in self._kept]
        self._kept |= {key: self._kept.pop(key) for key in used}
        missing = [key for key in row_of if key not in self._kept]
        for start in range(0, len(missing), AT_ONCE):
            texts = missing[start : start + AT_ONCE]
            rows = [row_of[key] for key in texts]
            states = zip(*self._encode(ids[rows], timesteps[rows]), strict=True)
            self._kept |= zip(texts, states, strict=True)
        size = sum(states.nbytes for states in next(iter(self._kept.values())))
        too_many = len(self._kept) - max(len(row_of), KEPT_BYTES // size)
        for key in list(self._kept)[: max(0, too_many)]:
            del self._kept[key]

    def _state(self) -> object:
        """Differs whenever texts would be encoded otherwise."""
        encoder, tokenizer = self._base.text_encoder, self._base.tokenizer
        parts = (encoder, *self.words)
        tensors = chain(*(chain(part.parameters(), part.buffers()) for part in parts))
        # a tensor counts how often it was changed in place (but not through .data)
        written = [(id(t), t.data_ptr(), t._version) for t in tensors]
        # words of other methods, as the text encoder reads each by itself: they may
        # have hooks on its embedding, as on its layers
        ours = self.token_ids()
        new = range(tokenizer.vocab_size, len(tokenizer))
        others = [number for number in new if number not in ours]
        ids = torch.tensor(others, dtype=torch.long, device=encoder.device)[:, None]
        states = encoder(ids)[0].tolist() if others else []
        return written, others, states, [word.configuration() for word in self.words]
