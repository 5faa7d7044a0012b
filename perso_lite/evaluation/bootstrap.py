"""Intervals of mean scores, and their place between class prior and oracle."""

import torch
from torch import Tensor, nn

from perso_lite.errors import PersoError

RESAMPLES = 2000  # ours


def bootstrap_interval(
    values: Tensor, seed: int = 0, groups: Tensor | None = None
) -> tuple[float, float, float]:
    """Mean and 95 % percentile interval, from a two-stage cluster bootstrap.

    Each of 2000 resamples draws as many groups as there are, with replacement, then as
    many values from each drawn group as it has, with replacement. The interval goes
    from the 2.5 % to the 97.5 % quantile of the resamples' means, without correction.
    With one group this is the ordinary bootstrap.

    Args:
        values: scores (values,); NaN (nothing to score) is left out.
        seed: of the resampling.
        groups: (values,), the number of each value's group, for example its concept,
            since pictures of one concept are more alike than pictures of several;
            default: one group.

    Returns:
        The mean of all values, and the ends of the interval.

    Raises:
        PersoError: there is no value.
    """
    known = ~values.isnan()
    values = values[known].float()
    if not len(values):
        raise PersoError("There is no value, so there is no interval: score something.")
    groups = torch.zeros(len(values)) if groups is None else groups[known]
    members = [values[groups == group] for group in groups.unique()]
    sizes = torch.tensor([len(member) for member in members])
    padded = nn.utils.rnn.pad_sequence(members, batch_first=True)  # (groups, largest)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(members), (RESAMPLES, len(members)), generator=generator)
    total = torch.zeros(RESAMPLES)
    for group in chosen.unbind(1):  # one drawn group of every resample, (resamples,)
        part = torch.rand(RESAMPLES, padded.shape[1], generator=generator)
        column = (part * sizes[group, None]).long()
        drawn = padded[group[:, None], column]
        inside = torch.arange(padded.shape[1]) < sizes[group, None]
        total += (drawn * inside).sum(1)
    means = total / sizes[chosen].sum(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975])).tolist()
    return values.mean().item(), low, high


def fraction_of_oracle(score: float, prior: float, oracle: float) -> float:
    """The score on a scale from the class prior (0) to the oracle (1).

    Raises:
        PersoError: prior and oracle are the same.
    """
    if abs(oracle - prior) < 1e-6:
        raise PersoError(
            f"Class prior and oracle both score {prior:.4g}, so nothing lies between "
            "them: this score cannot tell the concept from its class."
        )
    return (score - prior) / (oracle - prior)
