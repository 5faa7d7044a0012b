"""A person beside a concept of another method: drawn, but not without a word.

`evaluate mix` drew ten such pairs on the shipped base, which never saw a person beside
a thing: in none was the other concept recognized reliably.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from diffusers import StableDiffusionPipeline
from torch import nn

from perso_lite.conditioning.cross_attention import call_argument, shared_on
from perso_lite.conditioning.restored import restored, take_out
from perso_lite.conditioning.tokens import LearnedTokens, words_of_others

KEY = "people"  # under which the text encoder keeps them


class People:
    """The words of all people that are attached to one text encoder."""

    def __init__(self, base: StableDiffusionPipeline):
        self.words: list[LearnedTokens] = []
        self._base, self._warned = base, False

    @contextmanager
    def watched(self) -> Iterator["People"]:
        """Inside, warns once of a text with a person and another new word."""
        encoder, note = self._base.text_encoder, self._text_comes
        with restored() as at_exit:
            at_exit(encoder.register_forward_pre_hook(note, with_kwargs=True).remove)
            yield self

    def _text_comes(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        ids = call_argument(args, kwargs, 0, "input_ids")
        others = words_of_others(self._base.tokenizer, ids, self.words)
        people = (ids >= self._base.tokenizer.vocab_size) & ~others
        if not self._warned and bool((people.any(1) & others.any(1)).any()):
            self._warned = True
            warnings.warn(
                "A prompt says a person and a concept of another method. The shipped "
                "base never saw a person beside a thing, and in all ten pairs that "
                "were measured the other concept was hardly recognized. Draw them in "
                "pictures of their own.",
                stacklevel=2,
            )


@contextmanager
def among_people(base: StableDiffusionPipeline, word: LearnedTokens) -> Iterator[Any]:
    """Inside, a word counts as a person's."""
    watched = People(base).watched
    with shared_on(base.text_encoder, KEY, watched) as people, restored() as at_exit:
        at_exit(partial(take_out, people.words, word))
        people.words.append(word)
        yield people
