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

from perso_lite.layers import call_argument

REMEMBERED = 64  # encodings; drawing needs two: prompts and negative prompts


class RememberedTexts:
    """The last texts that a base has encoded and that say a new word.

    Attributes:
        paused: while true, nothing is remembered.
    """

    def __init__(self, base: StableDiffusionPipeline):
        self._base = base
        self._texts: deque[tuple[Tensor, Tensor]] = deque(maxlen=REMEMBERED)
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

    def forget(self) -> None:
        """Recognise nothing that was encoded until now."""
        self._texts.clear()

    def _text_encoded(
        self, _: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> None:
        ids = call_argument(args, kwargs, 0, "input_ids")  # (texts, tokens)
        # only words that came with a concept lie beyond the vocabulary
        if not self.paused and (ids >= self._base.tokenizer.vocab_size).any():
            self._texts.append((ids, output[0].detach()))

    @torch.no_grad()
    def recognised(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of text states (batch, tokens, dim) that were encoded here.

        What was not encoded while we were remembering, or more than 64 encodings ago,
        is not recognised.

        Returns:
            Which rows, (rows,), and the ids of their tokens, (rows, tokens).
        """
        found: dict[int, Tensor] = {}
        for ids, encoded in self._texts:
            if encoded.shape[1:] == states.shape[1:]:
                # (batch, texts, tokens, dim)
                equal = states[:, None] == encoded.to(states)[None]
                for row, text in equal.flatten(2).all(2).nonzero().tolist():
                    found[row] = ids[text]
        if not found:
            nothing = torch.zeros(0, dtype=torch.long, device=states.device)
            return nothing, nothing.reshape(0, states.shape[1])
        rows = torch.tensor(list(found), device=states.device)
        return rows, torch.stack(list(found.values()))
