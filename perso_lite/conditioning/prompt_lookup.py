"""Which prompts are behind the text states that a U-Net is given.

A U-Net reads text states and does not know the words they came from. So prompts are
recorded with their states while they are encoded; when the states arrive at the U-Net,
equal to the last bit, the prompts are found again. (Not those that were encoded while
nothing was recorded, or dropped, or that say a word that is no longer attached.)
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import call_argument
from perso_lite.conditioning.restored import restored


@dataclass
class Encoding:
    """One call of the text encoder.

    Attributes:
        ids: token ids, (texts, tokens).
        states: (texts, tokens, dim).
        new_words: for each text, the names of the new words that it says; None if
            they do not matter.
    """

    ids: Tensor
    states: Tensor
    new_words: list[tuple[str, ...]] | None


class PromptLookup:
    """The prompts that a base has encoded, found again by their states.

    Args:
        base: the pipeline.
        keep: how many encodings; those not used for the longest are dropped (ours:
            64; drawing needs two, prompts and negative prompts).
        new_words_only: whether only prompts that say a new word are recorded, and
            found only as long as all their new words are attached.

    Attributes:
        paused: while true, nothing is recorded.
    """

    def __init__(
        self, base: StableDiffusionPipeline, keep: int = 64, new_words_only: bool = True
    ):
        self._base, self._keep, self._new_words_only = base, keep, new_words_only
        self._encodings: dict[int, Encoding] = {}  # by number; last used, last in order
        self._count = 0
        self.paused = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Inside, prompts are recorded with their states."""
        encoder, note = self._base.text_encoder, self._text_encoded
        with restored() as at_exit:
            at_exit(encoder.register_forward_hook(note, with_kwargs=True).remove)
            yield

    def _text_encoded(
        self, _: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> None:
        if self.paused:
            return
        ids = call_argument(args, kwargs, 0, "input_ids")
        new_words = None
        if self._new_words_only:
            new_words = self._new_words(ids)
            if not any(new_words):
                return
        self.record(Encoding(ids, output[0].detach(), new_words))

    def record(self, encoding: Encoding) -> None:
        """Keep an encoding, for example of an earlier lookup, once."""
        if any(kept is encoding for kept in self._encodings.values()):
            return
        self._encodings[self._count] = encoding
        self._count += 1
        if len(self._encodings) > self._keep:
            del self._encodings[next(iter(self._encodings))]

    def recorded(self) -> list[Encoding]:
        """The encodings that are kept; those used last are last."""
        return list(self._encodings.values())

    def _new_words(self, ids: Tensor) -> list[tuple[str, ...]]:
        """The new words that texts (texts, tokens) say, by their present names.

        Only words that came with a concept have ids beyond the vocabulary.
        """
        tokenizer = self._base.tokenizer
        name_of, first = tokenizer.convert_ids_to_tokens, tokenizer.vocab_size
        return [tuple(name_of(i) for i in text if i >= first) for text in ids.tolist()]

    @torch.no_grad()
    def sources(self, states: Tensor) -> list[dict[int, Tensor]]:
        """The encodings that each row of text states (batch, tokens, dim) may be from.

        Returns:
            For each row, token ids (tokens,) by the number of the encoding: numbers
            grow in the order of encoding.
        """
        found: list[dict[int, Tensor]] = [{} for _ in states]
        for number, encoding in list(self._encodings.items()):
            for row, text in self._equal(encoding, states):
                found[row].setdefault(number, self._present_ids(encoding, text))
                self._encodings[number] = self._encodings.pop(number)  # used last
        return found

    def _equal(self, encoding: Encoding, states: Tensor) -> list[tuple[int, int]]:
        """Which rows of states are which texts of an encoding."""
        if encoding.states.shape[1:] != states.shape[1:]:
            return []
        # (batch, texts, tokens, dim)
        equal = states[:, None] == encoding.states.to(states)[None]
        places = equal.flatten(2).all(2).nonzero().tolist()
        if not places or encoding.new_words is None:
            return places
        known = self._base.tokenizer.get_added_vocab()
        gone = {w for _, t in places for w in encoding.new_words[t] if w not in known}
        if gone:
            warnings.warn(
                f"A prompt says {', '.join(sorted(gone))}, which was attached when it "
                "was encoded and is no longer: it is drawn as it was encoded. Attach "
                "that concept again, or encode the prompt again.",
                stacklevel=2,
            )
        words = encoding.new_words
        return [(r, t) for r, t in places if words[t] and not gone & {*words[t]}]

    def _present_ids(self, encoding: Encoding, text: int) -> Tensor:
        """Token ids of a text (tokens,), with the new words' present ones."""
        ids, tokenizer = encoding.ids[text].clone(), self._base.tokenizer
        if encoding.new_words is not None:
            words = list(encoding.new_words[text])
            now = ids.new_tensor(tokenizer.convert_tokens_to_ids(words))
            ids[ids >= tokenizer.vocab_size] = now
        return ids

    def find(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of text states (batch, tokens, dim) whose prompts were recorded.

        Returns:
            Which rows, (rows,), and the ids of their tokens, (rows, tokens).
        """
        sources = self.sources(states)
        rows = [row for row, found in enumerate(sources) if found]
        ids = [sources[row][max(sources[row])] for row in rows]  # the latest
        index = torch.tensor(rows, dtype=torch.long, device=states.device)
        nothing = index.new_zeros(0, states.shape[1])
        return index, torch.stack(ids) if ids else nothing
