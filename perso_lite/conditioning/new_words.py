"""Words that a tokenizer knows for a while.

A tokenizer is changed in place, so that every pipeline that shares it reads the words:
its class and its content are exchanged for those of a copy that was taught them, and
put back when they are gone.
"""

import copy
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from transformers import CLIPTokenizer

from perso_lite.errors import PersoError

RECORD = "attached_words"  # under which a tokenizer keeps what it was


def as_read(text: str) -> str:
    """A text as CLIP's tokenizers read it: composed (NFC) and in lower case.

    Prompts and placeholders are compared in this form only: "<TOY>" is "<toy>".
    """
    return unicodedata.normalize("NFC", text).lower()


def token_names(placeholder_token: str, num_vectors: int) -> list[str]:
    """`<toy>`, `<toy>_1`, ...: the names stock pipelines expand `<toy>` into."""
    others = [f"{placeholder_token}_{i}" for i in range(1, num_vectors)]
    return [placeholder_token, *others]


def words_of(tokens: list[str]) -> list[tuple[str, ...]]:
    """Tokens grouped by the words that they are of, in the order of `token_names`."""
    words: list[list[str]] = []
    for token in tokens:
        if words and token == f"{words[-1][0]}_{len(words[-1])}":
            words[-1].append(token)
        else:
            words.append([token])
    return [tuple(word) for word in words]


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

    def decode(self, *args: Any, **options: Any) -> Any:
        """As the tokenizer's own, with blanks where a copy of one leaves "</w>"."""
        decoded = super().decode(*args, **options)
        texts = [decoded] if isinstance(decoded, str) else decoded
        texts = [text.replace("</w>", " ").strip() for text in texts]
        return texts[0] if isinstance(decoded, str) else texts

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


@dataclass(frozen=True)
class Reading:
    """How a tokenizer reads: its class, and everything that it holds."""

    kind: type[CLIPTokenizer]
    content: dict[str, Any]

    def tokenizer(self) -> CLIPTokenizer:
        """A tokenizer that reads so, and shares the content."""
        made = object.__new__(self.kind)
        object.__setattr__(made, "__dict__", self.content)
        return made


def as_it_reads(tokenizer: CLIPTokenizer) -> CLIPTokenizer:
    """A tokenizer that goes on reading as this one does now, with its present words."""
    return Reading(type(tokenizer), vars(tokenizer)).tokenizer()


class Word(Protocol):
    """What can be taught."""

    def taught(self, before: Reading) -> Reading:
        """How a tokenizer reads that knows the word, too.

        Raises:
            PersoError: it knows it already.
        """


@dataclass(frozen=True)
class AttachedWords:
    """What a tokenizer was, and the words that it was taught, by who attached them."""

    plain: Reading
    words: dict[object, Word]


def teach(tokenizer: CLIPTokenizer, key: object, word: Word) -> None:
    """Let a tokenizer read one word more.

    Args:
        tokenizer: with or without other words.
        key: to `forget` it by.
        word: what to teach.

    Raises:
        PersoError: it knows that word already; then nothing has changed.
    """
    known = _attached(tokenizer)
    _read_as(tokenizer, AttachedWords(known.plain, known.words | {key: word}))


def forget(tokenizer: CLIPTokenizer, key: object) -> None:
    """Take a word away again, in any order; the last one leaves it as it was."""
    known = _attached(tokenizer)
    if key in known.words:
        words = {other: word for other, word in known.words.items() if other != key}
        _read_as(tokenizer, AttachedWords(known.plain, words))


def _attached(tokenizer: CLIPTokenizer) -> AttachedWords:
    reading = Reading(type(tokenizer), vars(tokenizer))
    return vars(tokenizer).get(RECORD) or AttachedWords(reading, {})


def _read_as(tokenizer: CLIPTokenizer, attached: AttachedWords) -> None:
    reading = attached.plain
    for word in attached.words.values():
        reading = word.taught(reading)
    # the record comes first and goes last: an interruption between can be undone
    if attached.words:
        reading.content[RECORD] = attached
        object.__setattr__(tokenizer, "__dict__", reading.content)
        object.__setattr__(tokenizer, "__class__", reading.kind)
    else:
        object.__setattr__(tokenizer, "__class__", reading.kind)
        object.__setattr__(tokenizer, "__dict__", reading.content)


def with_tokens(before: Reading, tokens: list[str]) -> Reading:
    """How a tokenizer reads that knows some tokens more, from a copy of the content."""
    record = before.content.get(RECORD)
    copied = copy.deepcopy(before.tokenizer(), {id(record): record})
    vars(copied).pop(RECORD, None)
    copied.add_tokens(tokens)
    known = getattr(before.tokenizer(), "new_words", ())
    copied.new_words = (*known, *words_of(tokens))
    kind = before.kind
    if not issubclass(kind, ExpandsWords):
        kind = type(kind.__name__, (ExpandsWords, kind), {})
    return Reading(kind, vars(copied))
