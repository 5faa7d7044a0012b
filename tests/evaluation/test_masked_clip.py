"""Masked CLIP-I sees subjects alone, and is a mean over all pairs."""

import pytest
import torch
from judge_helpers import left_half, untrained_judges

from perso_lite import PersoError
from perso_lite.evaluation.masked_clip import (
    background_filled,
    masked_clip_image,
    overall_score,
)
from perso_lite.evaluation.metrics import clip_image_similarity, clip_images


@pytest.fixture(scope="module")
def judges(tiny):
    return untrained_judges(tiny.tokenizer)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(5, 3, 128, 128, generator=torch.Generator().manual_seed(1))


def elsewhere(pictures):
    """With another background behind the left half."""
    noise = torch.rand(pictures.shape, generator=torch.Generator().manual_seed(2))
    return torch.where(left_half(1) > 0, pictures, noise)


@pytest.mark.parametrize("fill", [0.5, 1.0, (0.48, 0.46, 0.41)])
@pytest.mark.parametrize("true_masks", [True, False])
def test_it_does_not_see_backgrounds_on_either_side(judges, pictures, fill, true_masks):
    drawn, known = pictures[:2], pictures[2:]
    masks = (left_half(2), left_half(3)) if true_masks else (None, None)

    def score(drawn, known):
        return masked_clip_image(judges, drawn, known, *masks, fill)

    wanted = score(drawn, known)
    assert wanted.shape == (2,)
    assert torch.equal(score(elsewhere(drawn), known), wanted)
    assert torch.equal(score(drawn, elsewhere(known)), wanted)
    assert not torch.equal(score(drawn, known.flip(3)), wanted)
    plain = clip_image_similarity(judges, drawn, known)
    assert not torch.equal(
        clip_image_similarity(judges, elsewhere(drawn), known), plain
    )


def test_the_same_subject_scores_one(judges, pictures):
    same = (judges, pictures[:1], elsewhere(pictures[:1]), left_half(1), left_half(1))
    assert masked_clip_image(*same).item() == pytest.approx(1, abs=1e-6)
    whole = (judges, pictures[:1], elsewhere(pictures[:1]))
    assert clip_image_similarity(*whole).item() < 1 - 1e-4


def test_masks_of_ones_give_plain_clip_i(judges, pictures):
    ones = torch.ones(5, 1, 16, 16)
    got = masked_clip_image(judges, pictures[:2], pictures[2:], ones[:2], ones[2:])
    wanted = clip_image_similarity(judges, pictures[:2], pictures[2:])
    assert torch.equal(got, wanted)


def test_it_is_the_mean_over_all_pairs(judges, pictures):
    ones = torch.ones(5, 1, 128, 128)
    got = masked_clip_image(judges, pictures[:2], pictures[2:], ones[:2], ones[2:])
    vectors = clip_images(judges, pictures)
    pairs = [vectors[d] @ vectors[r] for d in (0, 1) for r in (2, 3, 4)]
    assert got.mean().item() == pytest.approx(sum(pairs).item() / 6, abs=1e-6)


def test_what_is_not_the_subject_gets_one_color(pictures):
    filled = background_filled(pictures, left_half(5), (0.1, 0.2, 0.3))
    assert torch.equal(filled[..., :64], pictures[..., :64])
    assert filled[..., 64:].unique().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_overall_is_the_geometric_mean():
    image, text = torch.tensor([0.9, 0.7]), torch.tensor([0.1, 0.3, 0.2])
    assert overall_score(image, text) == pytest.approx(0.4)
    assert overall_score(image, -text) == 0


@pytest.mark.parametrize(
    ("masks", "fill", "message"),
    [
        (4, 0.5, "4 masks for 5 pictures"),
        (5, 1.5, "fill is 1.5"),
        (5, (0.5, 0.5), r"fill is \(0.5, 0.5\)"),
        (5, (0.5, 0.5, float("nan")), "fill is"),
    ],
)
def test_bad_input_is_refused(pictures, masks, fill, message):
    with pytest.raises(PersoError, match=message):
        background_filled(pictures, left_half(masks), fill)
