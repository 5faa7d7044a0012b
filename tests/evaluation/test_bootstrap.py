import pytest
import torch

from perso_lite.errors import PersoError
from perso_lite.evaluation.bootstrap import bootstrap_interval, fraction_of_oracle


def test_bootstrap_interval_covers_the_mean_and_narrows():
    few = torch.tensor([0.0, 1.0]).repeat(10)
    mean, low, high = bootstrap_interval(few)
    assert low < mean == 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 20**0.5, rel=0.2)
    _, low_many, high_many = bootstrap_interval(few.repeat(25))
    assert high_many - low_many < (high - low) / 3
    assert bootstrap_interval(few) == bootstrap_interval(few)


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for seed in range(200):
        _, low, high = bootstrap_interval(torch.randn(40, generator=generator), seed)
        covered += low < 0 < high
    assert 0.87 * 200 < covered < 0.995 * 200


def test_bootstrap_by_group_is_wider_where_groups_differ():
    groups = torch.arange(6).repeat_interleave(20)
    noise = torch.randn(120, generator=torch.Generator().manual_seed(0))
    values = groups + 0.1 * noise
    mean, low, high = bootstrap_interval(values, groups=groups)
    flat_mean, flat_low, flat_high = bootstrap_interval(values)
    assert mean == flat_mean
    assert high - low > 2 * (flat_high - flat_low)
    # six groups with means 0 to 5: the error of their mean is 1.71 / sqrt(6)
    assert high - low == pytest.approx(2 * 1.96 * 1.708 / 6**0.5, rel=0.2)


def test_bootstrap_counts_every_value_of_uneven_groups_once():
    values = torch.tensor([1.0] + [0.0] * 9)
    groups = torch.tensor([7] + [3] * 9)
    mean, low, high = bootstrap_interval(values, groups=groups)
    assert mean == pytest.approx(0.1)
    assert (low, high) == (0, 1)  # each group may be drawn alone


def test_bootstrap_leaves_out_what_was_not_scored():
    values = torch.tensor([0.2, float("nan"), 0.4])
    mean, low, high = bootstrap_interval(values, groups=torch.tensor([0, 1, 2]))
    assert mean == pytest.approx(0.3)
    assert 0.2 <= low < high <= 0.4 + 1e-6
    with pytest.raises(PersoError, match="no value"):
        bootstrap_interval(torch.tensor([float("nan")]))


def test_between_prior_and_oracle():
    assert fraction_of_oracle(0.2, 0.2, 0.8) == 0
    assert fraction_of_oracle(0.8, 0.2, 0.8) == 1
    assert fraction_of_oracle(0.5, 0.2, 0.8) == pytest.approx(0.5)
    assert fraction_of_oracle(0.1, 0.2, 0.8) < 0
    with pytest.raises(PersoError, match="cannot tell the concept from its class"):
        fraction_of_oracle(0.5, 0.3, 0.3)
