"""Views, flips and crops, and how often they are encoded."""

import numpy as np
import pytest
import torch
from PIL import Image

from perso_lite import TextualInversion, fit
from perso_lite.concepts import Concept
from perso_lite.examples import augmented, prepare
from perso_lite.method import View


def pixels(picture):
    return np.asarray(picture).astype(int)


@pytest.fixture
def view():
    """Red grows to the right, green downwards; the mask shows the same, twice as big.

    So every cut tells where it was made.
    """
    places = np.arange(100, dtype=np.uint8)
    red, green = np.meshgrid(places, places)
    picture = Image.fromarray(np.stack([red, green, 0 * red], 2))
    mask = picture.getchannel("R").resize((200, 200), Image.Resampling.NEAREST)
    return View(picture, mask, ["a <toy>"])


def test_without_options_the_views_are_the_methods(view):
    assert augmented([view], False, 0, seed=0) == [view]


def test_flips_mirror_picture_and_mask(view):
    one, other = augmented([view], True, 0, seed=0)
    assert one is view
    assert other.captions == view.captions
    assert (pixels(other.image) == pixels(view.image)[:, ::-1]).all()
    assert (pixels(other.mask) == pixels(view.mask)[:, ::-1]).all()


def test_crops_are_squares_in_the_picture_and_masks_are_cut_alike(view):
    whole, *crops = augmented([view], False, 20, seed=0)
    assert whole is view and len(crops) == 20
    places = set()
    for crop in crops:
        width, height = crop.image.size
        assert width == height and 70 <= width <= 100
        cut = pixels(crop.image)
        left, top = cut[0, 0, :2]
        assert tuple(cut[-1, -1, :2]) == (left + width - 1, top + height - 1)
        mask = pixels(crop.mask)
        assert abs(len(mask) - 2 * width) <= 1
        assert abs(mask[0, 0] - left) <= 1 and abs(mask[0, -1] - cut[0, -1, 0]) <= 1
        places.add((left, top, width))
    assert len(places) > 10


def test_flips_mirror_the_crops_too_and_views_without_a_mask_stay_without(view):
    bare = View(view.image, None, view.captions)
    views = augmented([view, bare], True, 3, seed=0)
    assert len(views) == 2 * (1 + 3) * 2
    for one, other in zip(views[:8], views[8:], strict=True):
        assert (pixels(other.image) == pixels(one.image)[:, ::-1]).all()
    assert [v.mask is None for v in views[:8]] == [
        False,
        True,
        *[False] * 3,
        *[True] * 3,
    ]


def test_the_seed_decides_the_crops(view):
    one, again, other = (
        [pixels(v.image) for v in augmented([view], False, 2, seed)]
        for seed in (5, 5, 6)
    )
    assert all(np.array_equal(*pair) for pair in zip(one, again, strict=True))
    assert not np.array_equal(one[1], other[1])


def test_prepared_views_are_of_one_size_and_the_concepts_pictures_come_first(
    tiny, concept
):
    method = TextualInversion(tiny, "teddy")
    plain = prepare(method, concept)
    more = prepare(method, concept, flips=True, crops=2, seed=1)
    assert more.mean.shape == (18, *plain.mean.shape[1:])
    assert more.masks.shape == (18, 1, 8, 8) and len(more.captions) == 18
    assert torch.equal(more.mean[:3], plain.mean)
    assert torch.equal(more.masks[9:12], plain.masks.flip(3))
    assert not torch.equal(more.masks[3:6], plain.masks)


def test_a_view_is_encoded_once_however_long_the_training(own_tiny, concept):
    encoded = []
    encode = own_tiny.vae.encode
    own_tiny.vae.encode = lambda picture: encoded.append(picture) or encode(picture)
    method = TextualInversion(own_tiny, "teddy")
    options = {"batch_size": 8, "flips": True, "crops": 1}
    steps = list(fit(method, concept, 3, **options))
    assert len(encoded) == 12
    drawn = torch.cat([step.pictures for step in steps])
    assert drawn.max() > 5  # mirrored ones are drawn, too
    assert drawn.min() >= 0 and drawn.max() < 12


def test_captions_belong_to_their_view(tiny, concept):
    captions = ["a <toy> on a beach", "a <toy> in snow", "a <toy>"]
    told = Concept("disc", "teddy", concept.images, concept.masks, captions)
    examples = prepare(TextualInversion(tiny, "teddy"), told, flips=True, crops=1)
    of_crops = [[text] for text in captions]
    assert examples.captions == [*of_crops, *of_crops] * 2
