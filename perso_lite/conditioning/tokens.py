"""New words for a frozen text encoder.

A placeholder token such as `<toy>` is a word the tokenizer did not know, with a
vector the embedding table does not hold. Stable Diffusion's own tools enlarge the
table; we leave it alone. While a concept is attached, the tokenizer knows its words
(`new_words.py`), and two hooks on the token embedding write the learned vectors where
the table would have been read beyond its end.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

from perso_lite.conditioning.architecture import check_parts
from perso_lite.conditioning.new_words import (
    Reading,
    forget,
    teach,
    token_names,
    with_tokens,
    words_of,
)
from perso_lite.conditioning.restored import restored
from perso_lite.errors import PersoError


def check_placeholder(
    tokenizer: CLIPTokenizer, placeholder_token: str, num_vectors: int = 1
) -> None:
    """Refuse names that a CLIP tokenizer would silently misread.

    Raises:
        PersoError: with the reason, and a name that would do.
    """
    bare = re.sub(r"[\s<>]", "", placeholder_token).lower() or "toy"
    if not re.fullmatch(r"<[^\s<>]+>", placeholder_token):
        raise PersoError(
            f'The placeholder "{placeholder_token}" must stand in angle brackets and '
            "hold no blank: a bare word is also found inside other words, and a blank "
            f'would split it. Try "<{bare}>".'
        )
    if placeholder_token != placeholder_token.lower():
        raise PersoError(
            f'The placeholder "{placeholder_token}" must be in lower case: the '
            "tokenizer lower-cases every prompt, and an upper-case name of several "
            f'vectors would silently lose all but its first. Try "<{bare}>".'
        )
    for token in token_names(placeholder_token, num_vectors):
        if token in tokenizer.get_vocab():
            raise PersoError(
                f'The placeholder "{placeholder_token}" cannot be used: "{token}" is '
                "already in the vocabulary of this base or of a concept attached to "
                f'it. Choose another name, for example "<{bare}-2>".'
            )


class LearnedTokens:
    """A few new tokens and the hooks that give them vectors.

    Args:
        tokens: names unknown to the tokenizer, checked by `check_placeholder`; of one
            word or of several.
    """

    def __init__(self, tokens: list[str]):
        self.tokens = tokens
        self._taught: tuple[Reading, int, Reading] | None = None

    def first_id(self, tokenizer: CLIPTokenizer) -> int:
        """The id of the first token, for a tokenizer that knows it."""
        return tokenizer.convert_tokens_to_ids(self.tokens[0])

    def places(self, tokenizer: CLIPTokenizer, ids: Tensor) -> Tensor:
        """Where texts (texts, tokens) say the word, (texts, tokens) and boolean.

        The word, the first if there are several, is its first token; the rows that say
        it are `places(...).any(1)`.
        """
        return ids == self.first_id(tokenizer)

    def contain(self, tokenizer: CLIPTokenizer, ids: Tensor) -> Tensor:
        """Which tokens of texts are any of these, the shape of `ids` and boolean."""
        index = ids - self.first_id(tokenizer)
        return (index >= 0) & (index < len(self.tokens))

    def taught(self, before: Reading) -> Reading:
        """How a tokenizer reads that knows the tokens, too.

        The last answer is kept: Stable Diffusion's vocabulary takes a tenth of a second
        to copy, and training attaches at every step.

        Raises:
            PersoError: it knows one of them already.
        """
        length = len(before.tokenizer())
        if self._taught is not None:
            source, length_then, taught = self._taught
            if source.content is before.content and length_then == length:
                return taught
        for first, *others in words_of(self.tokens):
            check_placeholder(before.tokenizer(), first, 1 + len(others))
        taught = with_tokens(before, self.tokens)
        self._taught = before, length, taught
        return taught

    @contextmanager
    def attached(
        self, base: StableDiffusionPipeline, vectors: Callable[[], Tensor]
    ) -> Iterator[None]:
        """Inside, the base reads the tokens as `vectors()`, (tokens, dim).

        So does every pipeline that shares its tokenizer and text encoder. On exit, also
        by an exception and in any order of leaving, both are as they were.

        Raises:
            PersoError: a token is taken, the vectors have another width, or the base is
                of another architecture.
        """
        check_parts(base)
        tokenizer, width = base.tokenizer, vectors().shape[-1]
        present = base.text_encoder.get_input_embeddings().embedding_dim
        if width != present:
            raise PersoError(
                f"{self.tokens[0]} was learned in {width} dimensions, but this base "
                f"has {present}; attach it to the base it was trained on."
            )
        first, key = partial(self.first_id, tokenizer), object()
        with restored() as at_exit:
            at_exit(partial(forget, tokenizer, key))
            teach(tokenizer, key, self)
            with injected_vectors(base.text_encoder, first, len(self.tokens), vectors):
                yield


@contextmanager
def injected_vectors(
    text_encoder: nn.Module,
    first: int | Callable[[], int],
    count: int,
    vectors: Callable[[], Tensor],
) -> Iterator[None]:
    """Inside, `count` ids from `first` on read `vectors()` and not the table.

    If two are nested, the inner one is read. `vectors()` is (count, dim), or (texts,
    count, dim) where every text has vectors of its own; it is asked for only by texts
    that say the ids. `first` may be a function, asked at every call: the id of a word
    changes if one that came before it goes first.
    """
    table = text_encoder.get_input_embeddings()
    first_id = first if callable(first) else lambda: first
    hide, write = embedding_hooks(first_id, count, vectors)
    with restored() as at_exit:
        at_exit(table.register_forward_pre_hook(hide, prepend=True).remove)
        at_exit(table.register_forward_hook(write).remove)
        yield


def embedding_hooks(
    first_id: Callable[[], int], count: int, vectors: Callable[[], Tensor]
) -> tuple[Callable, Callable]:
    """A hook that hides new ids from the table, and one that writes their vectors."""
    seen: list[Tensor] = []  # places among the new ids, on their way through the table

    def hide(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        (ids,) = args  # (batch, tokens)
        index = ids - first_id()
        seen.append(index)
        return (ids.masked_fill((index >= 0) & (index < count), 0),)

    def write(module: nn.Module, args: tuple[Tensor], embedded: Tensor) -> Tensor:
        index = seen.pop()  # (batch, tokens)
        ours = (index >= 0) & (index < count)
        if not ours.any():
            return embedded
        learned = vectors().to(embedded).expand(len(index), -1, -1)
        places = index.clamp(0, count - 1)[..., None]
        learned = learned.take_along_dim(places, dim=1)  # (batch, tokens, dim)
        return torch.where(ours[..., None], learned, embedded)

    return hide, write


def words_of_others(
    tokenizer: CLIPTokenizer, ids: Tensor, own: Iterable[LearnedTokens]
) -> Tensor:
    """Which tokens of texts are new words of none of these, boolean, as `ids`."""
    others = ids >= tokenizer.vocab_size  # the base's own words come before
    for tokens in own:
        others &= ~tokens.contain(tokenizer, ids)
    return others
