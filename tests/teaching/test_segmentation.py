"""An installed segmentation model draws the masks of photos."""

import pytest
import torch
from tiny_pipeline import tiny_clipseg

from perso_lite.teaching.own_pictures.mask_panel import with_edited_masks
from perso_lite.teaching.own_pictures.segmentation import CLIPSEG, segmentation_maps


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with a tiny random CLIPSeg."""
    return tiny_clipseg(tmp_path_factory.mktemp("clipseg"))


def test_a_map_per_photo_that_depends_on_the_word_and_makes_a_mask(installed, concept):
    maps = segmentation_maps(installed, concept)
    assert [heat.shape for heat in maps] == [(32, 32)] * 3
    assert all(heat.max() == 1 and heat.min() > 0 for heat in maps)
    concept_of = type(concept)
    other = concept_of("photos", "beach", concept.images, [None] * 3)
    assert not torch.equal(segmentation_maps(installed, other)[0], maps[0])
    masks = with_edited_masks(other, maps, threshold=1.0).masks
    assert all(mask.getextrema() == (0, 255) for mask in masks)


def test_what_is_not_installed_gives_no_maps(concept, tmp_path):
    assert segmentation_maps(None, concept) is None
    assert segmentation_maps(CLIPSEG, concept) is None
    assert segmentation_maps(tmp_path, concept) is None
