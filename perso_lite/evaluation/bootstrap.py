"""Intervals of mean scores, what they decide, and a score between its ends."""

from typing import Literal

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


def interval_verdict(
    interval: tuple[float, float, float],
    above: float | None = None,
    below: float | None = None,
) -> Literal["supported", "contradicted", "undecided"]:
    """Whether a 95 % interval is on the side that a claim names.

    Args:
        interval: mean, low and high, as `bootstrap_interval` returns them.
        above: the claim says that the mean is above this.
        below: the claim says that the mean is below this.

    Returns:
        "supported" if the whole interval is on that side, "contradicted" if it is on
        the other side, "undecided" if it contains the bound.

    Raises:
        PersoError: not exactly one of `above` and `below` was given.
    """
    if (above is None) == (below is None):
        raise PersoError("Say what is claimed of an interval: either above or below.")
    _, low, high = interval
    if below is not None:
        supported, contradicted = high < below, low > below
    else:
        supported, contradicted = low > above, high < above
    if supported or contradicted:
        return "supported" if supported else "contradicted"
    return "undecided"


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
