"""New words for a frozen text encoder.

A placeholder token such as `<toy>` is a word the tokenizer did not know, with a
vector the embedding table does not hold. Stable Diffusion's own tools enlarge the
table; we leave it alone. While a concept is attached, the pipeline has a copy of its
tokenizer that knows the new words, and two hooks on the token embedding write the
learned vectors where the table would have been read beyond its end.
"""

import copy
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

from perso_lite.errors import PersoError


def token_names(placeholder_token: str, num_vectors: int) -> list[str]:
    """`<toy>`, `<toy>_1`, ...: the names stock pipelines expand `<toy>` into."""
    others = [f"{placeholder_token}_{i}" for i in range(1, num_vectors)]
    return [placeholder_token, *others]


def as_read(text: str) -> str:
    """A text as CLIP's tokenizers read it: composed (NFC) and in lower case.

    Prompts and placeholders are compared in this form only: "<TOY>" is "<toy>".
    """
    return unicodedata.normalize("NFC", text).lower()


class ExpandsWords:
    """A tokenizer that reads `<toy>`, in any case, as all of its tokens.

    Stock pipelines write "<toy> <toy>_1" for "<toy>" themselves, but not for "<TOY>".
    """

    new_words: tuple[tuple[str, ...], ...]  # the tokens of each

    def expanded(self, text: Any) -> Any:
        """A text, or several, in which each new word is written with all its tokens."""
        if isinstance(text, list | tuple):
            return type(text)(self.expanded(part) for part in text)
        if not isinstance(text, str):
            return text
        lowered = as_read(text)
        if not any(tokens[0] in lowered for tokens in self.new_words):
            return text
        for first, *others in self.new_words:
            if others:  # unless all of them are written already
                whole = " ".join([first, *others])
                rest = re.escape(whole.removeprefix(first))
                alone = rf"{re.escape(first)}(?!_\d)(?!{rest}\b)"
                lowered = re.sub(alone, lambda _, whole=whole: whole, lowered)
        return lowered

    def __call__(self, text: Any = None, *args: Any, **options: Any) -> Any:
        """As the tokenizer's own, of the expanded text."""
        return super().__call__(self.expanded(text), *args, **options)

    def tokenize(self, text: str, *args: Any, **options: Any) -> list[str]:
        """As the tokenizer's own, of the expanded text."""
        return super().tokenize(self.expanded(text), *args, **options)

    def save_pretrained(self, *args: Any, **options: Any) -> NoReturn:
        """Refused: the weights of the word are not in the pipeline that is saved.

        Raises:
            PersoError: always.
        """
        words = " and ".join(tokens[0] for tokens in self.new_words) or "a concept"
        raise PersoError(
            f"A pipeline cannot be saved while {words} is attached: the folder would "
            "fail when it is loaded. Leave the `with` block first; what was learned is "
            "kept by the method's save. Remove what was written of the folder."
        )


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
        tokens: names unknown to the tokenizer, checked by `check_placeholder`.
    """

    def __init__(self, tokens: list[str]):
        self.tokens = tokens
        self._known: tuple[CLIPTokenizer, int, CLIPTokenizer] | None = None

    def first_id(self, tokenizer: CLIPTokenizer) -> int:
        """The id of the first token, for a tokenizer that knows it."""
        return tokenizer.convert_tokens_to_ids(self.tokens[0])

    def places(self, tokenizer: CLIPTokenizer, ids: Tensor) -> Tensor:
        """Where texts (texts, tokens) say the word, (texts, tokens) and boolean.

        The word is its first token; the rows that say it are `places(...).any(1)`.
        """
        return ids == self.first_id(tokenizer)

    def extended(self, tokenizer: CLIPTokenizer) -> CLIPTokenizer:
        """A copy of the tokenizer that knows the tokens.

        The last copy is kept: Stable Diffusion's vocabulary takes a tenth of a second
        to copy, and training attaches at every step.
        """
        if self._known is not None:
            source, length, copied = self._known
            if source is tokenizer and length == len(tokenizer):
                return copied
        check_placeholder(tokenizer, self.tokens[0], len(self.tokens))
        copied = copy.deepcopy(tokenizer)
        copied.add_tokens(self.tokens)
        word = self.tokens == token_names(self.tokens[0], len(self.tokens))
        known = getattr(tokenizer, "new_words", ())
        copied.new_words = (*known, tuple(self.tokens)) if word else known
        if not isinstance(copied, ExpandsWords):
            kind = type(copied)
            copied.__class__ = type(kind.__name__, (ExpandsWords, kind), {})
        self._known = tokenizer, len(tokenizer), copied
        return copied

    @contextmanager
    def attached(
        self, base: StableDiffusionPipeline, vectors: Callable[[], Tensor]
    ) -> Iterator[None]:
        """Inside, the base reads the tokens as `vectors()`, (tokens, dim).

        On exit, also by an exception, tokenizer and embedding are as they were.

        Raises:
            PersoError: a token is taken, or the vectors have another width.
        """
        plain, width = base.tokenizer, vectors().shape[-1]
        present = base.text_encoder.get_input_embeddings().embedding_dim
        if width != present:
            raise PersoError(
                f"{self.tokens[0]} was learned in {width} dimensions, but this base "
                f"has {present}; attach it to the base it was trained on."
            )
        tokenizer = self.extended(plain)
        first = self.first_id(tokenizer)
        with injected_vectors(base.text_encoder, first, len(self.tokens), vectors):
            base.tokenizer = tokenizer
            try:
                yield
            finally:
                base.tokenizer = plain


@contextmanager
def injected_vectors(
    text_encoder: nn.Module, first: int, count: int, vectors: Callable[[], Tensor]
) -> Iterator[None]:
    """Inside, ids first, ..., first + count - 1 read `vectors()` and not the table.

    If two are nested, the inner one is read. `vectors()` is (count, dim), or (texts,
    count, dim) where every text has vectors of its own; it is asked for only by texts
    that say the ids.
    """
    table = text_encoder.get_input_embeddings()
    hide, write = embedding_hooks(first, count, vectors)
    with ExitStack() as stack:
        stack.callback(table.register_forward_pre_hook(hide, prepend=True).remove)
        stack.callback(table.register_forward_hook(write).remove)
        yield


def embedding_hooks(
    first: int, count: int, vectors: Callable[[], Tensor]
) -> tuple[Callable, Callable]:
    """A hook that hides new ids from the table, and one that writes their vectors."""
    seen: list[Tensor] = []  # the ids on their way through the table

    def hide(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        (ids,) = args  # (batch, tokens)
        seen.append(ids)
        ours = (ids >= first) & (ids < first + count)
        return (ids.masked_fill(ours, 0),)

    def write(module: nn.Module, args: tuple[Tensor], embedded: Tensor) -> Tensor:
        index = seen.pop() - first  # (batch, tokens)
        ours = (index >= 0) & (index < count)
        if not ours.any():
            return embedded
        learned = vectors().to(embedded).expand(len(index), -1, -1)
        places = index.clamp(0, count - 1)[..., None]
        learned = learned.take_along_dim(places, dim=1)  # (batch, tokens, dim)
        return torch.where(ours[..., None], learned, embedded)

    return hide, write
