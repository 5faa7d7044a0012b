"""Masks from attention: against true ones, and what is left alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from before_and_after import changes, snapshot_of
from PIL import Image

from perso_lite import automatic_mask, load_concept
from perso_lite.attention.masks import with_automatic_masks


def iou(one, other):
    one, other = (np.asarray(mask) >= 128 for mask in (one, other))
    return (one & other).sum() / (one | other).sum()


def test_a_mask_is_black_and_white_of_the_pictures_size_and_leaves_the_base(
    tiny, concept
):
    before = snapshot_of(tiny)
    large = concept.images[0].resize((50, 50))
    mask = automatic_mask(tiny, large, "teddy")
    assert mask.mode == "L" and mask.size == (50, 50)
    assert {*np.unique(mask)} <= {0, 255}  # an untrained base looks everywhere
    assert mask.tobytes() == automatic_mask(tiny, large, "teddy").tobytes()
    assert changes(tiny, before) == []


def test_a_class_word_of_two_words_or_of_pieces_is_found(tiny, concept):
    for word in ("teddy cat", "okapi", "Teddy"):
        assert automatic_mask(tiny, concept.images[0], word).size == (32, 32)


def test_given_masks_stay_and_missing_ones_are_made(tiny, concept):
    own = concept.masks[0]
    some = replace(concept, masks=[own, None, own])
    made = with_automatic_masks(tiny, some)
    assert made.masks[0] is own and made.masks[2] is own
    wanted = automatic_mask(tiny, concept.images[1], "teddy")
    assert made.masks[1].tobytes() == wanted.tobytes()
    assert some.masks[1] is None and made.images == concept.images


@pytest.mark.parametrize("name", ["dev-rabbit", "patch-dog"])
def test_on_the_shipped_base_it_covers_most_of_a_toy(base, name):
    concept = load_concept(name)
    bare = replace(concept, masks=[None] * len(concept.images))
    made = with_automatic_masks(base, bare).masks
    overlap = [iou(*pair) for pair in zip(made, concept.masks, strict=True)]
    assert all({*np.unique(mask)} == {0, 255} for mask in made)
    other_noise = automatic_mask(base, concept.images[0], concept.class_word, seed=1)
    assert other_noise.tobytes() != made[0].tobytes()
    everything = Image.fromarray(np.full((128, 128), 255, np.uint8))
    anyway = [iou(everything, mask) for mask in concept.masks]
    assert torch.tensor(overlap).mean() > 0.7 > torch.tensor(anyway).mean()
