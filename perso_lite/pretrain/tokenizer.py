"""Stage 1: a CLIP tokenizer whose byte-pair merges spell every word of the world.

Byte-pair encoding is learned from the closed vocabulary until nothing is left to merge.
So each word, name and reserved word of the world is one token, and any other word is
several.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from perso_lite.world.captions import vocabulary

CONTEXT_LENGTH = 32
START, END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer() -> CLIPTokenizer:
    """Learn the merges and wrap them in the tokenizer class of Stable Diffusion."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    endings = [letter + "</w>" for letter in alphabet]
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        special_tokens=endings,  # fixed ids first: they decide ties between pairs
        show_progress=False,
    )
    learner.train_from_iterator([[word] for word in vocabulary()], trainer)
    model = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in _pairs(model)]
    tokens = [*alphabet, *endings, *("".join(pair) for pair in merges), START, END]
    ids = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(
        vocab=ids,
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=CONTEXT_LENGTH,
    )


def _pairs(model: dict) -> list[list[str]]:
    """The merges of a tokenizer; older versions join each pair with a space."""
    return [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Save tokenizer.json, and vocab.json with merges.txt for older readers."""
    tokenizer.save_pretrained(folder)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    lines = [" ".join(pair) for pair in _pairs(model)]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n")
