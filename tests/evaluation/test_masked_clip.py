"""Masked CLIP-I sees subjects alone, and is a mean over all pairs."""

import pytest
import torch
from judge_helpers import left_half, untrained_judges, with_other_background

from perso_lite import PersoError
from perso_lite.evaluation.metrics import (
    GRAY,
    clip_image_similarity,
    clip_images,
    on_gray,
    overall_score,
)


@pytest.fixture(scope="module")
def judges(tiny):
    return untrained_judges(tiny.tokenizer)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(5, 3, 128, 128, generator=torch.Generator().manual_seed(1))


def masked_clip_image(judges, drawn, known, drawn_masks=None, known_masks=None):
    masks = {"reference_masks": known_masks, "picture_masks": drawn_masks}
    return clip_image_similarity(judges, drawn, known, True, **masks)


@pytest.mark.parametrize("true_masks", [True, False])
def test_it_does_not_see_backgrounds_on_either_side(judges, pictures, true_masks):
    drawn, known = pictures[:2], pictures[2:]
    masks = (left_half(2), left_half(3)) if true_masks else (None, None)

    def score(drawn, known):
        return masked_clip_image(judges, drawn, known, *masks)

    wanted = score(drawn, known)
    assert wanted.shape == (2,)
    assert torch.equal(score(with_other_background(drawn), known), wanted)
    assert torch.equal(score(drawn, with_other_background(known)), wanted)
    assert not torch.equal(score(drawn, known.flip(3)), wanted)
    plain = clip_image_similarity(judges, drawn, known)
    assert not torch.equal(
        clip_image_similarity(judges, with_other_background(drawn), known), plain
    )


def test_the_same_subject_scores_one(judges, pictures):
    same = (
        judges,
        pictures[:1],
        with_other_background(pictures[:1]),
        left_half(1),
        left_half(1),
    )
    assert masked_clip_image(*same).item() == pytest.approx(1, abs=1e-6)
    whole = (judges, pictures[:1], with_other_background(pictures[:1]))
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
    filled = on_gray(pictures, None, left_half(5))
    assert torch.equal(filled[..., :64], pictures[..., :64])
    assert filled[..., 64:].unique().tolist() == [GRAY]


def test_overall_is_the_geometric_mean():
    image, text = torch.tensor([0.9, 0.7]), torch.tensor([0.1, 0.3, 0.2])
    assert overall_score(image, text) == pytest.approx(0.4)
    assert overall_score(image, -text) == 0


@pytest.mark.parametrize("masks", [4, 6])
def test_another_number_of_masks_is_refused(judges, pictures, masks):
    given = [left_half(masks), left_half(masks)]
    with pytest.raises(PersoError, match=f"{masks} masks for 5 pictures"):
        masked_clip_image(judges, pictures, pictures, given[0])
    with pytest.raises(PersoError, match=f"{masks} masks for 5 pictures"):
        masked_clip_image(judges, pictures, pictures, None, given[1])
