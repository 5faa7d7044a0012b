"""A base's words, their vectors, and prompts as its U-Net reads them."""

import difflib
import re

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTokenizer

from perso_lite.conditioning.architecture import check_parts
from perso_lite.conditioning.new_words import as_read
from perso_lite.errors import PersoError, shortened

NEW_WORD = re.compile(r"<[^<>|\s]+>")  # "<|endoftext|>" and "<3" are none
LONGEST_PROMPT = 10_000  # characters (ours): the tokenizer reads all, the base few


def single_token_id(tokenizer: CLIPTokenizer, word: str) -> int:
    """The id of a word that is one token for this base.

    Raises:
        PersoError: the word is empty, unknown or several tokens.
    """
    if not isinstance(word, str):
        raise PersoError(f"{word!r} is no word: give one in quotation marks.")
    pieces = tokenizer.tokenize(word)
    if len(pieces) == 1 and pieces[0] != tokenizer.unk_token:
        return tokenizer.convert_tokens_to_ids(pieces[0])

    words = [
        t.removesuffix("</w>") for t in tokenizer.get_vocab() if t.endswith("</w>")
    ]
    near = difflib.get_close_matches(word.lower(), words, n=3)
    shown = ", ".join(piece.removesuffix("</w>") for piece in pieces)
    raise PersoError(
        f'"{word}" is not one token of this base'
        + (f" (it falls into {len(pieces)}: {shown})" if pieces else "")
        + ", but learning starts from a single token. Give another class word, or "
        "keep it and name a single-token initializer_token (--initializer-token) of "
        "similar meaning" + (f"; near in spelling: {', '.join(near)}." if near else ".")
    )


def noun_of(class_word: str) -> str:
    """The word to start from: the last one of a class word such as "coffee mug"."""
    return class_word.split()[-1] if class_word.split() else ""


def vector_of(base: StableDiffusionPipeline, word: str) -> Tensor:
    """A copy of a word's row in the embedding table, (dim,) float32.

    Raises:
        PersoError: the word is not one token of this base, or that is of another
            architecture.
    """
    check_parts(base)
    table = base.text_encoder.get_input_embeddings().weight  # (words, dim)
    return table[single_token_id(base.tokenizer, word)].detach().float().clone()


def vectors_of(base: StableDiffusionPipeline, text: str) -> Tensor:
    """Copies of the embedding table's rows for a text, (tokens, dim) float32.

    Raises:
        PersoError: it has a piece that the tokenizer does not know, or the base is of
            another architecture.
    """
    check_parts(base)
    ids = base.tokenizer(text, add_special_tokens=False).input_ids
    unknown = base.tokenizer.unk_token_id
    if unknown in ids and unknown != base.tokenizer.eos_token_id:
        raise PersoError(
            f'This base cannot read all of "{text}": use words in letters that it '
            "knows."
        )
    table = base.text_encoder.get_input_embeddings().weight  # (words, dim)
    return table[torch.tensor(ids, dtype=torch.long)].detach().float().clone()


def encode_prompts(base: StableDiffusionPipeline, prompts: list[str]) -> Tensor:
    """Text states of prompts, as the stock pipeline computes them.

    Returns:
        (prompts, tokens, dim), padded to the base's context length. Gradients flow
        to whatever is attached.

    Raises:
        PersoError: a base of another architecture, or a prompt that says a new word
            that is not attached or is so long that a learned word would be cut off.
    """
    check_parts(base)
    check_known(base, prompts)
    check_length(base, prompts)
    device = base.text_encoder.get_input_embeddings().weight.device
    states, _ = base.encode_prompt(
        prompts, device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return states


def check_known(base: StableDiffusionPipeline, prompts: list[str]) -> None:
    """Refuse a new word that the base would read as its letters.

    Raises:
        PersoError: a word in angle brackets is not attached.
    """
    known = {as_read(token) for token in base.tokenizer.get_added_vocab()}
    for prompt in prompts:
        unknown = [w for w in NEW_WORD.findall(as_read(prompt)) if w not in known]
        if unknown:
            words = ", ".join(sorted(w for w in known if NEW_WORD.fullmatch(w)))
            raise PersoError(
                f'"{shortened(prompt, 60)}" says {unknown[0]}, but this base knows '
                + (f"of new words only {words}" if words else "no new word")
                + " now. Draw inside `with method.attach(base):` of the concept, or "
                f"leave {unknown[0]} out."
            )


def check_length(base: StableDiffusionPipeline, prompts: list[str]) -> None:
    """Refuse to lose a learned word at the end of a prompt (others get a warning).

    Raises:
        PersoError: a prompt is so long that one would be cut off, or that it takes long
            to find out.
    """
    tokenizer = base.tokenizer
    for prompt in prompts:
        if len(prompt) > LONGEST_PROMPT:
            raise PersoError(
                f'A prompt has {len(prompt):,} characters ("{shortened(prompt, 60)}"), '
                f"but this base reads {tokenizer.model_max_length - 2} tokens of it. "
                "Shorten it to a sentence."
            )
    read = tokenizer.model_max_length - 1  # and the end token
    texts = base.maybe_convert_prompt(prompts, tokenizer)
    for ids in tokenizer(texts, verbose=False).input_ids:
        new = [i for i in ids[read:-1] if i >= tokenizer.vocab_size]
        lost = [i for i in new if i not in ids[:read]]  # what is said before, is read
        if lost:
            (token,) = tokenizer.convert_ids_to_tokens(lost[:1])
            raise PersoError(
                f"A prompt is so long that its {token} is cut off; this base reads "
                f"{read - 1} tokens of a prompt. Shorten it, or say {token} earlier."
            )
