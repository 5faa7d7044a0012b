"""Language drift: how much learning changed the pictures of other words."""

from collections.abc import Sequence

import torch
from torch import Tensor

from perso_lite.evaluation.judges import ATTRIBUTES, Judges
from perso_lite.evaluation.metrics import read_attributes

DRIFTING = ("class", "color", "pattern", "place", "accessory", "style")


def _distances(labels: Tensor, first: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Total variation between the labels of `first` (a mask) and the other labels."""
    distances = {}
    for name in names:
        column = list(ATTRIBUTES).index(name)
        one, other = (
            part[:, column].bincount(minlength=len(ATTRIBUTES[name])) / len(part)
            for part in (labels[first], labels[~first])
        )
        distances[name] = (one - other).abs().sum().item() / 2
    return distances


def drift(
    judges: Judges, before: Tensor, after: Tensor, attributes: Sequence[str] = DRIFTING
) -> dict[str, float]:
    """How much learning changed the pictures of a plain prompt, per attribute.

    This is the total variation, in [0, 1], between the reader's labels before and after
    learning, for example in pictures of "a photo of a teddy": 0 if every label is as
    frequent as before, 1 if none occurs in both. Compare it with `drift_by_chance`.

    Args:
        judges: as loaded.
        before: (pictures, 3, height, width) in [0, 1], of the plain base.
        after: the same after learning, of the same prompts.
        attributes: names of the attributes to compare.
    """
    labels = read_attributes(judges, torch.cat([before, after]))
    return _distances(labels, torch.arange(len(labels)) < len(before), attributes)


def drift_by_chance(
    judges: Judges,
    before: Tensor,
    after: Tensor,
    attributes: Sequence[str] = DRIFTING,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, tuple[float, float]]:
    """The drift of pictures that learning did not change: mean and 95 % quantile.

    A permutation test: the pictures of both are split at random into two sets of the
    same sizes. A drift above the quantile is significant at the 5 % level.

    Args:
        judges: as loaded.
        before: as for `drift`.
        after: as for `drift`.
        attributes: as for `drift`.
        seed: of the splits.
        resamples: number of splits (ours: 1000).
    """
    labels = read_attributes(judges, torch.cat([before, after]))
    first = torch.arange(len(labels)) < len(before)
    generator = torch.Generator().manual_seed(seed)
    splits = [
        _distances(
            labels, first[torch.randperm(len(first), generator=generator)], attributes
        )
        for _ in range(resamples)
    ]
    found = {
        name: torch.tensor([split[name] for split in splits]) for name in attributes
    }
    return {k: (v.mean().item(), v.quantile(0.95).item()) for k, v in found.items()}
