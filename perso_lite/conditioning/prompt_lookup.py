"""Which text is behind the states that a U-Net is given.

A U-Net reads text states and does not know the words they came from. So the texts that
say a new word are remembered with their states while they are encoded; when the states
arrive, to the last bit, the text is found again.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import call_argument

REMEMBERED = 64  # encodings; drawing needs two: prompts and negative prompts

Names = list[tuple[str, ...]]  # for each text, the new words it says
Entry = tuple[Tensor, Tensor, Names]  # ids (texts, tokens), states, names


class PromptLookup:
    """The texts that a base has encoded and that say a new word.

    Attributes:
        paused: while true, nothing is remembered.
    """

    def __init__(self, base: StableDiffusionPipeline):
        self._base = base
        self._texts: deque[Entry] = deque(maxlen=REMEMBERED)
        self.paused = False

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
        if not self.paused and (ids >= self._base.tokenizer.vocab_size).any():
            self._texts.append((ids, output[0].detach(), self._new_words(ids)))

    def _new_words(self, ids: Tensor) -> Names:
        """The new words that texts (texts, tokens) say, by their present names."""
        tokenizer = self._base.tokenizer
        known = len(tokenizer)
        return [
            tuple(
                tokenizer.convert_ids_to_tokens(i) if i < known else ""
                for i in text
                if i >= tokenizer.vocab_size
            )
            for text in ids.tolist()
        ]

    @torch.no_grad()
    def recognised(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of text states (batch, tokens, dim) that were encoded here.

        Not recognised is what was encoded while we were not remembering, or has not
        been used for the last 64 encodings, or says a word that is attached no more.

        Returns:
            Which rows, (rows,), and the ids of their tokens, (rows, tokens).
        """
        found: dict[int, Tensor] = {}
        older, used = [], []
        for entry in self._texts:
            places = self._places(entry, states)
            found |= {row: entry[0][text] for row, text in places}
            (used if places else older).append(entry)
        # what is in use goes to the young end
        self._texts = deque([*older, *used], maxlen=REMEMBERED)
        if not found:
            nothing = torch.zeros(0, dtype=torch.long, device=states.device)
            return nothing, nothing.reshape(0, states.shape[1])
        rows = torch.tensor(list(found), device=states.device)
        return rows, torch.stack(list(found.values()))

    def _places(self, entry: Entry, states: Tensor) -> list[tuple[int, int]]:
        """Which rows of states are which texts of an entry."""
        ids, encoded, names = entry
        if encoded.shape[1:] != states.shape[1:]:
            return []
        # (batch, texts, tokens, dim)
        equal = states[:, None] == encoded.to(states)[None]
        places = equal.flatten(2).all(2).nonzero().tolist()
        present = self._new_words(ids) if places else []
        return [(r, t) for r, t in places if names[t] and present[t] == names[t]]
