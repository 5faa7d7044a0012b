"""Metrics are judged by their order alone."""

import pytest
import torch
import torch.nn.functional as F
from judge_helpers import untrained_judges
from transformers import Dinov2Config, Dinov2Model

from perso_lite import PersoError
from perso_lite.evaluation import judging
from perso_lite.evaluation.judging import (
    Painted,
    choices,
    color_histogram,
    dino_features,
    kendall_tau,
    local_dino,
    metrics,
    nearness,
    painted,
)
from perso_lite.evaluation.metrics import clip_image_similarity, instance_similarity
from perso_lite.evaluation.trials import choice_trials


@pytest.fixture(scope="module")
def judges(tiny):
    return untrained_judges(tiny.tokenizer)


@pytest.fixture(scope="module")
def trials():
    return list(choice_trials(12))


def test_the_order_is_that_of_the_similarities_that_methods_are_measured_with(
    judges, trials
):
    (found, _) = nearness(trials, judges, metrics(judges))
    trial = trials[0]
    known = painted([trial.reference])
    shown = painted(list(trial.candidates.values())).pictures
    for masked in ("", " masked"):
        wanted = {
            f"instance{masked}": instance_similarity(
                judges, shown, known.pictures, bool(masked), known.masks
            ),
            f"CLIP-I{masked}": clip_image_similarity(
                judges, shown, known.pictures, bool(masked), known.masks
            ),
        }
        for name, cosines in wanted.items():
            dim = 128 if "instance" in name else 16
            near = (2 * cosines - 2) / dim  # minus the mean square, of unit vectors
            assert torch.allclose(found[name], near, atol=1e-4), name


def test_pixels_are_their_mean_squared_error(judges, trials):
    (found, _) = nearness(trials, judges, metrics(judges))
    known = painted([trials[0].reference]).pictures
    shown = painted(list(trials[0].candidates.values())).pictures
    wanted = [-F.mse_loss(picture, known[0]) for picture in shown]
    assert torch.allclose(found["pixels"], torch.stack(wanted), atol=1e-5)


def test_masked_metrics_do_not_see_backgrounds(judges, trials):
    one = painted([trials[0].reference])
    masks = (one.masks > 0.5).float()
    noise = torch.rand(one.pictures.shape, generator=torch.Generator().manual_seed(0))
    other = Painted(one.scenes, one.pictures.where(masks > 0, noise), masks)
    for name, describe in metrics(judges).items():
        same = torch.allclose(describe(one), describe(other), atol=1e-6)
        assert same == ("masked" in name), name


def test_a_histogram_has_the_shares_of_colors():
    picture = torch.zeros(1, 3, 2, 2)
    picture[0, 0, 0] = 1.0  # half red, half black
    shares = color_histogram(picture).square()
    assert shares.sum() == pytest.approx(1)
    assert shares[0, 0] == pytest.approx(0.5) == shares[0, 5 * 36]
    mask = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert color_histogram(picture, mask)[0, 5 * 36] == 1
    nothing = color_histogram(picture, torch.zeros_like(mask))
    assert torch.equal(nothing, color_histogram(picture))


def test_choices_are_right_wrong_or_a_coin():
    assert choices(torch.tensor([2.0, 1.0, 3.0, 2.0])).tolist() == [1, 0, 0.5]


@pytest.mark.parametrize(
    ("values", "others", "tau"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        ([1, 2, 3, 4], [1, 2, 4, 3], 2 / 3),  # one of six pairs is wrong
        ([1, 2, 3], [1, 1, 2], 2 / 6**0.5),  # tau-b: a tie among the others
        ([1, 2, 3], [5, 5, 5], 0),
    ],
)
def test_kendalls_tau(values, others, tau):
    assert kendall_tau(values, others) == pytest.approx(tau)
    assert kendall_tau(others, values) == pytest.approx(tau)


def test_scores_of_different_things_are_refused():
    with pytest.raises(PersoError, match="3 values and 2"):
        kendall_tau([1, 2, 3], [1, 2])


def test_dino_takes_part_only_if_it_is_here(judges, tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "local_dino", lambda: None)
    assert not any("DINO" in name for name in metrics(judges))
    assert local_dino(str(tmp_path / "nothing")) is None
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**small, image_size=28)).save_pretrained(tmp_path)
    dino = local_dino(str(tmp_path))
    vectors = dino_features(dino, torch.rand(2, 3, 128, 128))
    assert vectors.shape == (2, 32)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)
    monkeypatch.setattr(judging, "local_dino", lambda: dino)
    assert {"DINO", "DINO masked"} <= {*metrics(judges)}
