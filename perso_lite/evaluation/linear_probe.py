"""Linear probes: which facts of a sentence are in the state of one position.

If a linear map can read a fact from a state, the U-Net's key and value matrices, which
are linear too, can use it. So ridge regression on one-hot labels is fitted to each
layer's state at one position of the text encoder, and tested on other sentences.
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
TRAINED_ON = 2 / 3  # of the sentences; the probe is tested on the others


def plain_sentences(count: int, seed: int = 0) -> tuple[list[str], dict[str, Tensor]]:
    """Sentences such as "a photo of a red cat on a beach", and their facts.

    Returns:
        The sentences, and labels (count,) of "class", "color" and "place".
    """
    rng = random.Random(seed)
    words = {"class": list(TOYS), "color": list(COLORS), "place": list(PLACES)}
    described = [{f: rng.choice(w) for f, w in words.items()} for _ in range(count)]
    sentences = [
        f"a photo of a {s['color']} {s['class']} {PLACE_PHRASES[s['place']][0]}"
        for s in described
    ]
    labels = {
        fact: torch.tensor([options.index(s[fact]) for s in described])
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
    """Accuracy of a linear probe for each fact, layer by layer, at one position.

    Args:
        base: the pipeline with the text encoder to probe.
        sentences: from `plain_sentences`.
        facts: labels (sentences,) by name.
        position: "class word" or "end token".

    Returns:
        Accuracies (layers + 1, facts) in [0, 1] on sentences the probe was not fitted
        to; row 0 is before the first layer.

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
    columns = end
    if position == "class word":
        class_ids = tokenizer.convert_tokens_to_ids([f"{word}</w>" for word in TOYS])
        columns = torch.isin(ids, torch.tensor(class_ids)).int().argmax(1)
    output = base.text_encoder(ids.to(base.device), output_hidden_states=True)
    rows = torch.arange(len(ids))
    states = [layer[rows, columns].float().cpu() for layer in output.hidden_states]
    return torch.tensor(
        [[_probe_accuracy(state, f) for f in facts.values()] for state in states]
    )


def _probe_accuracy(states: Tensor, labels: Tensor, ridge: float = 0.01) -> float:
    """Accuracy on the last third of states (sentences, dim), labels (sentences,)."""
    seen = round(len(states) * TRAINED_ON)
    states = (states - states[:seen].mean(0)) / (states[:seen].std(0) + 1e-6)
    states = F.pad(states, (0, 1), value=1.0)  # a constant
    x, y = states[:seen], F.one_hot(labels).float()[:seen]
    probe = torch.linalg.solve(x.T @ x + ridge * seen * torch.eye(x.shape[1]), x.T @ y)
    guesses = (states[seen:] @ probe).argmax(1)
    return (guesses == labels[seen:]).float().mean().item()


def held_out_r2(
    inputs: Tensor, targets: Tensor, ridge: float = 1.0, folds: int = 5, seed: int = 0
) -> Tensor:
    """How much of numbers a linear map tells, on rows that it was not fitted to.

    For example of face numbers, from the coefficients of names: in each fold, ridge
    regression on the others predicts it. 1: all of it, 0: no better than the mean.

    Args:
        inputs: (rows, dim), for example coefficients of both slots, one after another.
        targets: (rows, numbers).
        ridge: in units of the inputs' mean variance (ours: 1).
        folds: parts that are held out in turn.
        seed: of the parts.

    Returns:
        R^2 of each number, (numbers,) float64.

    Raises:
        PersoError: other rows in inputs than in targets, or fewer than folds.
    """
    if len(inputs) != len(targets) or len(inputs) < folds:
        raise PersoError(
            f"There are {len(inputs)} rows of inputs and {len(targets)} of targets: "
            f"give equally many, at least {folds}."
        )
    x, y = inputs.double(), targets.double()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    guesses = torch.empty_like(y)
    for held_out in order.chunk(folds):
        fitted = torch.ones(len(x), dtype=torch.bool)
        fitted[held_out] = False
        mean, level = x[fitted].mean(0), y[fitted].mean(0)
        a = x[fitted] - mean
        penalty = ridge * a.square().mean() * torch.eye(a.shape[1], dtype=a.dtype)
        both = a.T @ (y[fitted] - level) / len(a)
        weights = torch.linalg.solve(a.T @ a / len(a) + penalty, both)
        guesses[held_out] = (x[held_out] - mean) @ weights + level
    left = (guesses - y).square().sum(0)
    return 1 - left / (y - y.mean(0)).square().sum(0)
