import copy
import math

import pytest
import torch

from perso_lite.methods.space_time.mapper import (
    HIDDEN,
    FourierFeatures,
    SpaceTimeMapper,
)

# Stable Diffusion: 16 layers, width 768; the mapper returns word and bypass
SHAPE = (16, 1536)


@pytest.fixture
def mapper():
    torch.manual_seed(0)
    return SpaceTimeMapper(*SHAPE).eval()


def grid(count=40):
    """Points (count, 2) over all of time and layers."""
    times, layers = torch.linspace(0, 999, count), torch.arange(count) % 16
    return torch.stack([times, layers.float()], dim=-1)


# -- Fourier features ------------------------------------------------------------------


def test_features_are_sines_then_cosines():
    features = FourierFeatures(frequencies=2)
    features.frequencies = torch.tensor([[0.5, 1.0], [0.0, 2.0]])
    wanted = torch.tensor([[0.64297, 0.64297, -0.29426, -0.29426]])
    got = features(torch.tensor([[2.0, 1.0]]))
    assert torch.allclose(got, wanted, atol=1e-5)


def test_features_have_length_one():
    features = FourierFeatures(frequencies=50)(grid())
    assert features.shape == (40, 100)
    assert torch.allclose(features.norm(dim=-1), torch.ones(40), atol=1e-6)
    assert features.square().sum(0).min() > 0


def test_one_point_and_many_points_agree():
    features = FourierFeatures()
    alone = torch.cat([features(point[None]) for point in grid()])
    assert torch.allclose(features(grid()), alone, atol=1e-6)


def test_frequencies_are_drawn_with_the_two_bandwidths():
    torch.manual_seed(0)
    drawn = FourierFeatures(0.03, 2.0, 20_000).frequencies
    assert drawn.mean(0).tolist() == pytest.approx([0, 0], abs=0.05)
    assert drawn.std(0).tolist() == pytest.approx([0.03, 2.0], rel=0.02)
    torch.manual_seed(0)
    assert torch.equal(FourierFeatures(0.03, 2.0, 20_000).frequencies, drawn)


def test_frequencies_are_kept_with_the_weights_but_not_trained(mapper):
    assert "encoding.0.frequencies" in mapper.state_dict()
    assert "encoding.0.frequencies" not in dict(mapper.named_parameters())
    other = SpaceTimeMapper(*SHAPE).eval()
    assert not torch.allclose(other(grid()), mapper(grid()))
    other.load_state_dict(mapper.state_dict())
    assert torch.equal(other(grid()), mapper(grid()))
    assert torch.equal(copy.deepcopy(mapper)(grid()), mapper(grid()))


@pytest.mark.parametrize("sigmas", [(0.03, 2.0), (0.01, 0.5)])
def test_points_are_as_alike_as_they_are_near(sigmas):
    torch.manual_seed(0)
    at = torch.tensor([500.0, 7.0])
    steps = torch.cartesian_prod(
        torch.tensor([0.0, 10, 33, 50, 100, 300]), torch.tensor([0.0, 1, 2, 5])
    )
    gaussian = (-(steps * torch.tensor(sigmas)).square().sum(1) / 2).exp()
    found = []
    for _ in range(20):
        features = FourierFeatures(*sigmas)
        found.append(features(at + steps) @ features(at[None])[0])
    found = torch.stack(found)
    assert (found - gaussian).abs().max() < 0.12  # five standard errors of 1024 waves
    assert (found.mean(0) - gaussian).abs().max() < 0.02
    assert found[:, 0].sub(1).abs().max() < 1e-5


# -- anchors ---------------------------------------------------------------------------


def test_anchors_are_a_grid_with_time_outside(mapper):
    features, anchors = mapper.encoding
    assert anchors.weight.shape == (160, 2048)
    assert anchors.weight.requires_grad and anchors.bias.requires_grad
    assert torch.allclose(anchors.weight.norm(dim=1), torch.ones(160), atol=1e-6)
    point = torch.tensor([[200.0, 5.0]])
    assert torch.allclose(anchors.weight[37], features(point)[0], atol=1e-6)
    assert mapper.encoding(point).argmax() == 37
    last = torch.tensor([[900.0, 15.0]])
    assert torch.allclose(anchors.weight[159], features(last)[0], atol=1e-6)
    assert anchors.bias.abs().max() <= 1 / math.sqrt(2048)


def test_anchors_follow_the_base_and_the_choice():
    anchors = SpaceTimeMapper(10, 32, num_train_timesteps=400, time_anchors=4).encoding
    assert anchors[1].weight.shape == (40, 2048)
    wanted = anchors[0](torch.tensor([[300.0, 9.0]]))[0]
    assert torch.allclose(anchors[1].weight[39], wanted, atol=1e-6)


# -- the network -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_outputs", "positional_encoding", "count"),
    [
        (1536, True, 563_616),
        (768, True, 464_544),
        (1536, False, 215_552),
        (2048, True, 629_664),
    ],
)
def test_counts_for_stable_diffusion(num_outputs, positional_encoding, count):
    mapper = SpaceTimeMapper(16, num_outputs, positional_encoding=positional_encoding)
    assert sum(p.numel() for p in mapper.parameters() if p.requires_grad) == count
    assert mapper(grid(3)).shape == (3, num_outputs)


def test_the_ablation_reads_numbers_from_minus_one_to_one():
    mapper = SpaceTimeMapper(16, 32, positional_encoding=False)
    points = torch.tensor([[0.0, 0.0], [999.0, 15.0], [499.5, 7.5]])
    scaled = mapper.encoding(points)
    assert torch.allclose(scaled, torch.tensor([[-1.0] * 2, [1.0] * 2, [0.0] * 2]))


def test_outputs_differ_over_time_and_over_layers(mapper):
    here = torch.tensor([[500.0, 7.0]])
    for step in ([100.0, 0.0], [0.0, 1.0]):
        assert (mapper(here + torch.tensor([step])) - mapper(here)).abs().max() > 0.01


def test_gradients_reach_every_parameter(mapper):
    mapper(grid()).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in mapper.parameters())


# -- truncation and nested dropout -----------------------------------------------------


def test_truncation_keeps_the_first_units_and_no_other(mapper):
    hidden = torch.randn(5, HIDDEN)
    for k in (0, 1, 37, 127, 128):
        cut = mapper.truncated(hidden, k)
        assert torch.equal(cut[:, :k], hidden[:, :k])
        assert torch.equal(cut[:, k:], torch.zeros(5, HIDDEN - k))
    assert torch.equal(mapper(grid(), 128), mapper(grid()))


def test_without_units_the_output_is_the_bias_everywhere(mapper):
    output = mapper(grid(), 0)
    assert torch.equal(output, mapper.output.bias.expand(40, -1))
    assert (mapper(grid(), 1) - output).abs().max() > 0


def kept_units(mapper, count):
    """How many units nested dropout keeps, of each of `count` points."""
    mapper.generator = torch.Generator().manual_seed(0)
    kept = mapper.truncated(torch.ones(count, HIDDEN), None)
    numbers = kept.sum(1).long()
    assert torch.equal(kept, (torch.arange(HIDDEN) < numbers[:, None]).float())
    return numbers


def test_nested_dropout_cuts_every_length_from_0_to_127_alike(mapper):
    mapper.train().nested_dropout = 1.0
    kept = kept_units(mapper, 50_000)
    counts = torch.bincount(kept, minlength=HIDDEN)
    assert len(counts) == HIDDEN  # never all 128
    assert kept.float().mean().item() == pytest.approx(63.5, abs=1)
    # 390 each, with a standard deviation of 20
    assert counts.min() > 270 and counts.max() < 510


def test_a_coin_decides_for_each_point_whether_units_are_cut(mapper):
    mapper.train()
    whole = (kept_units(mapper, 50_000) == HIDDEN).float().mean().item()
    assert whole == pytest.approx(0.5, abs=0.02)
    mapper.nested_dropout = 0.2
    whole = (kept_units(mapper, 50_000) == HIDDEN).float().mean().item()
    assert whole == pytest.approx(0.8, abs=0.02)
    mapper.nested_dropout = 0.0
    assert kept_units(mapper, 1000).unique().tolist() == [HIDDEN]


def test_truncation_takes_the_place_of_nested_dropout(mapper):
    mapper.train().nested_dropout = 1.0
    assert torch.equal(mapper(grid(), 20), mapper.eval()(grid(), 20))


def test_units_that_are_cut_learn_nothing(mapper):
    mapper.train()
    mapper(grid(), 30).square().sum().backward()
    columns = mapper.output.weight.grad.abs().amax(dim=0)
    assert columns[:30].min() > 0
    assert torch.equal(columns[30:], torch.zeros(98))


def test_nested_dropout_is_for_training_only():
    torch.manual_seed(0)
    mapper = SpaceTimeMapper(*SHAPE, nested_dropout=1.0)
    whole = mapper(grid(), 128)
    assert not torch.equal(mapper(grid()), whole)
    assert torch.equal(mapper.eval()(grid()), whole)
