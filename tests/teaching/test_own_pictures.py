"""Photos, masks and stock files of notebook 10."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of
from panel_helpers import pictures_after
from PIL import Image

from perso_lite import (
    METHODS,
    CatVersion,
    CustomDiffusion,
    DreamBoothLoRA,
    PersoError,
    TextBoost,
    TextualInversion,
    attached,
    automatic_mask,
    generate,
)
from perso_lite.attention.masks import class_word_map, mask_where
from perso_lite.concepts import Concept
from perso_lite.teaching import panels
from perso_lite.teaching.own_pictures.mask_panel import (
    mask_editor,
    mask_maps,
    with_edited_masks,
)
from perso_lite.teaching.own_pictures.photos import blurred, cut_off, photo_hints
from perso_lite.teaching.own_pictures.stock_files import STOCK_FORMATS, write_stock_file

# -- photos ----------------------------------------------------------------------------


def photo(seed, side=64):
    """A red disc in the middle, in front of a checkerboard of a color of its own."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    random = np.random.default_rng(seed)
    colors = random.integers(0, 255, (2, 3))
    board = (np.mgrid[:64, :64].sum(0) // 8 % 2)[..., None]
    picture = np.where(board, *colors).astype(np.uint8)
    disc = x**2 + y**2 < 0.3
    picture[disc] = (220, 30, 30)
    mask = Image.fromarray((disc * 255).astype(np.uint8))
    return Image.fromarray(picture).resize((side, side)), mask


def photos(*changed):
    """Three good photos, then others."""
    good = [photo(seed) for seed in range(3)]
    images, masks = zip(*good, *changed, strict=True)
    return Concept("photos", "teddy", [*images], [*masks])


def test_good_photos_need_no_hint():
    assert photo_hints(photos(), 64) == []


def test_each_fault_has_its_sentence():
    image, mask = photo(3)
    full = Image.new("L", (64, 64), 255)
    for changed, said in (
        ((blurred(image), mask), "Photo 4 is blurred"),
        ((cut_off(image), cut_off(mask)), "Photo 4 cuts the thing off"),
        ((image, full), "Photo 4 cuts the thing off"),
        ((image.resize((32, 32)), mask), "Photo 4 is smaller"),
    ):
        hints = photo_hints(photos(changed), 64)
        assert any(hint.startswith(said) for hint in hints), said
    same = replace(photos(), images=[photo(0)[0]] * 3)
    assert photo_hints(same, 64) == [
        "All backgrounds are alike: the word would learn them, too."
    ]
    single = replace(photos(), images=[image], masks=[None])
    assert photo_hints(single, 64) == ["1 photos: 3 to 10 are best."]


# -- masks -----------------------------------------------------------------------------


def test_the_map_reaches_one_and_half_of_it_is_the_automatic_mask(tiny, concept):
    image = concept.images[0].resize((50, 50))
    heat = class_word_map(tiny, image, "teddy")
    assert heat.shape == (50, 50) and heat.max() == 1
    made = mask_where(heat)
    assert made.tobytes() == automatic_mask(tiny, image, "teddy").tobytes()


def test_a_mask_grows_and_shrinks_by_a_part_of_the_width():
    heat = torch.zeros(20, 20)
    heat[8:12, 8:12] = 1
    heat[8, 8:12] = 0.4
    sizes = {
        (threshold, grow): (np.asarray(mask_where(heat, threshold, grow)) > 0).sum()
        for threshold in (0.3, 0.5)
        for grow in (-0.05, 0.0, 0.1)
    }
    assert sizes[0.3, 0.0] == 16 and sizes[0.5, 0.0] == 12
    assert sizes[0.3, 0.1] == 64 and sizes[0.3, -0.05] == 4
    assert sizes[0.5, 0.1] == 7 * 8 and sizes[0.5, -0.05] == 2
    bare = replace(photos(), masks=[None] * 3)
    with pytest.raises(PersoError, match="threshold"):
        with_edited_masks(bare, [heat] * 3, float("nan"))


def test_the_editor_changes_missing_masks_alone_and_hands_them_over(tiny, concept):
    before = snapshot_of(tiny)
    bare = replace(concept, masks=[concept.masks[0], None, None])
    maps = mask_maps(tiny, bare)
    assert changes(tiny, before) == []
    assert [heat.shape for heat in maps] == [(32, 32)] * 3
    # an untrained base looks everywhere: a map as of a trained one
    maps = [torch.linspace(0, 1, 32).expand(32, 32)] * 3
    panel = mask_editor(bare, maps)
    seen = pictures_after(panel, {"threshold": 0.7, "grow": 0.08})
    assert len(set(seen)) == 3
    edited = with_edited_masks(bare, maps, **panel.values)
    assert edited.masks[0] is concept.masks[0]
    assert edited.masks[1].tobytes() == mask_where(maps[1], 0.7, 0.08).tobytes()
    assert bare.masks[1] is None
    with pytest.raises(PersoError, match="2 maps for 3 photos"):
        mask_editor(bare, maps[:2])


def test_panels_offers_it():
    assert panels.mask_editor is mask_editor and "mask_editor" in panels.__all__


# -- stock files -----------------------------------------------------------------------


def test_every_method_that_can_write_a_stock_file_is_listed():
    writers = {
        kind: {name for name in dir(kind) if name.startswith("to_")} - set(dir(Parent))
        for kind in METHODS.values()
        for Parent in (torch.nn.Module,)
    }
    listed = {kind: {found.writer} for kind, found in STOCK_FORMATS.items()}
    assert {kind: own for kind, own in writers.items() if own} == listed


def test_a_stock_pipeline_opens_the_word_and_draws_the_same(tiny, own_tiny, tmp_path):
    method = disturbed(TextualInversion(tiny, "teddy"), 1.0)
    found = write_stock_file(method, tmp_path)
    assert found.opened_by == "pipe.load_textual_inversion"
    own_tiny.load_textual_inversion(tmp_path / "learned_embeds.safetensors")
    prompt, quick = "a <toy> on a beach", {"num_inference_steps": 2}
    with attached(tiny, method):
        mine = generate(tiny, prompt, output_type="pt", **quick)
    stock = generate(own_tiny, prompt, output_type="pt", **quick)
    torch.testing.assert_close(mine, stock, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("kind", "options", "files"),
    [
        (DreamBoothLoRA, {"identifier_token": "weird"}, "pytorch_lora_weights.saf*"),
        (CustomDiffusion, {"initializer_token": "weird"}, "pytorch_custom_diffusion*"),
        (TextBoost, {"num_augmentations": 2}, "adapter_model.safetensors"),
    ],
)
def test_the_other_formats_are_written(tiny, tmp_path, kind, options, files):
    assert write_stock_file(kind(tiny, "teddy", **options), tmp_path / "out")
    assert list((tmp_path / "out").glob(files))


def test_a_method_without_a_stock_format_writes_nothing(tiny, tmp_path):
    assert write_stock_file(CatVersion(tiny, "teddy"), tmp_path) is None
    assert list(tmp_path.iterdir()) == []
