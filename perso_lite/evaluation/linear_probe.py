"""How much of its sentence one position of the text encoder holds.

If a fact can be read from a state by a linear map, the U-Net's key and value matrices,
which are linear too, can use it. So the simplest reader there is, ridge regression on
one-hot labels, is asked what each layer's state at one position knows.
"""

import random

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.world.places import PLACES
from perso_lite.world.scenes import COLORS
from perso_lite.world.toys import TOYS
from perso_lite.world.words import PLACE_PHRASES

POSITIONS = ("class word", "end token")
TRAINED_ON = 2 / 3  # of the sentences; the reader is tested on the others


def plain_sentences(count: int, seed: int = 0) -> tuple[list[str], dict[str, Tensor]]:
    """Sentences such as "a photo of a red cat on a beach", and what they say.

    Returns:
        The sentences, and labels (count,) of "class", "color" and "place".
    """
    rng = random.Random(seed)
    words = {"class": list(TOYS), "color": list(COLORS), "place": list(PLACES)}
    said = [{f: rng.choice(w) for f, w in words.items()} for _ in range(count)]
    sentences = [
        f"a photo of a {s['color']} {s['class']} {PLACE_PHRASES[s['place']][0]}"
        for s in said
    ]
    labels = {
        fact: torch.tensor([options.index(s[fact]) for s in said])
        for fact, options in words.items()
    }
    return sentences, labels


@torch.no_grad()
def linear_probe_accuracy(
    base: StableDiffusionPipeline,
    sentences: list[str],
    facts: dict[str, Tensor],
    position: str,
) -> Tensor:
    """How often a linear reader tells each fact from one position's state.

    Args:
        base: whose text encoder is looked into.
        sentences: as `plain_sentences` makes them.
        facts: labels (sentences,) by name.
        position: "class word" or "end token".

    Returns:
        Shares read rightly (layers + 1, facts); row 0 is before the first layer.

    Raises:
        PersoError: there is no such position.
    """
    if position not in POSITIONS:
        raise PersoError(
            f"There is no position {position!r}: give one of {', '.join(POSITIONS)}."
        )
    tokenizer = base.tokenizer
    ids = tokenizer(sentences, padding="max_length", return_tensors="pt").input_ids
    end = (ids == tokenizer.eos_token_id).int().argmax(1)  # padding may be end tokens
    at = end
    if position == "class word":
        class_ids = tokenizer.convert_tokens_to_ids([f"{word}</w>" for word in TOYS])
        at = torch.isin(ids, torch.tensor(class_ids)).int().argmax(1)
    read = base.text_encoder(ids.to(base.device), output_hidden_states=True)
    rows = torch.arange(len(ids))
    states = [layer[rows, at].float().cpu() for layer in read.hidden_states]
    return torch.tensor(
        [[_linearly_read(state, f) for f in facts.values()] for state in states]
    )


def _linearly_read(states: Tensor, labels: Tensor, ridge: float = 0.01) -> float:
    """Share of unseen labels (sentences,) that states (sentences, dim) give away."""
    seen = round(len(states) * TRAINED_ON)
    states = (states - states[:seen].mean(0)) / (states[:seen].std(0) + 1e-6)
    states = F.pad(states, (0, 1), value=1.0)  # a constant
    x, y = states[:seen], F.one_hot(labels).float()[:seen]
    reader = torch.linalg.solve(x.T @ x + ridge * seen * torch.eye(x.shape[1]), x.T @ y)
    guesses = (states[seen:] @ reader).argmax(1)
    return (guesses == labels[seen:]).float().mean().item()
