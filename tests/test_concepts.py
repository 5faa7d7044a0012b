import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from perso_lite import PersoError, load_concept
from perso_lite import concepts as concepts_module

RED, BLUE = (255, 0, 0), (0, 0, 255)


def red_and_blue(width=40, height=40):
    """Red above, blue below."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (0, height // 2, width, height))
    return picture


@pytest.fixture
def only(tmp_path):
    """Save one picture with Pillow's `save`, load its folder, give the one picture."""

    def load(image, name="a.png", **options):
        image.save(tmp_path / name, **options)
        concept = load_concept(tmp_path, "teddy")
        assert len(concept.images) == 1
        return concept.images[0], concept.masks[0]

    return load


def near(image, place, colour, tolerance=12):
    distance = np.abs(np.array(image.getpixel(place)) - np.array(colour))
    return distance.max() <= tolerance


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "gif", "ppm"])
def test_common_formats_are_read(only, suffix):
    image, mask = only(red_and_blue(), f"a.{suffix}")
    assert image.mode == "RGB"
    assert image.size == (40, 40)
    assert near(image, (20, 5), RED)
    assert near(image, (20, 35), BLUE)
    assert mask is None


def test_a_sideways_photograph_is_turned_upright(only):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    sideways = red_and_blue().rotate(90)
    image, _ = only(sideways, "a.jpg", exif=exif, quality=95)
    assert near(image, (20, 5), RED, 40)
    assert near(image, (20, 35), BLUE, 40)


def test_transparency_becomes_the_mask_over_white(only):
    picture = red_and_blue().convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 10, 40))
    image, mask = only(picture)
    assert image.getpixel((5, 5)) == (255, 255, 255)
    assert image.getpixel((20, 5)) == RED
    assert (mask.getpixel((5, 5)), mask.getpixel((20, 5))) == (0, 255)


def test_an_opaque_alpha_channel_is_no_mask(only):
    assert only(red_and_blue().convert("RGBA"))[1] is None


def test_a_palette_picture_with_transparency(only):
    picture = Image.new("P", (40, 40), 1)
    picture.putpalette([0, 0, 0, *RED])
    picture.paste(0, (0, 0, 10, 40))
    image, mask = only(picture, transparency=0)
    assert image.getpixel((20, 5)) == RED
    assert mask.getpixel((5, 5)) == 0


def test_grey_black_and_white_and_16_bit(only):
    ramp = np.tile(np.linspace(0, 65535, 40), (40, 1))
    for picture in (
        Image.fromarray((ramp / 257).astype(np.uint8)),
        Image.fromarray(ramp.astype(np.uint16)),
    ):
        image, _ = only(picture)
        values = np.asarray(image)[20]
        assert np.ptp(values, axis=-1).max() == 0
        assert np.abs(values[:, 0] - ramp[0] / 257).max() <= 1
    image, _ = only(red_and_blue().convert("1"))
    assert image.mode == "RGB"


def test_floating_point_tiff(only):
    ramp = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (40, 1))
    image, _ = only(Image.fromarray(ramp), "a.tiff")
    assert np.abs(np.asarray(image)[20, :, 0] - ramp[0] * 255).max() <= 1


def test_cmyk_jpeg(only):
    image, _ = only(red_and_blue().convert("CMYK"), "a.jpg", quality=95)
    assert near(image, (20, 5), RED, 40)


def test_a_wide_picture_is_cropped_not_squashed(only):
    picture = red_and_blue(120, 40)
    picture.paste((0, 255, 0), (0, 0, 40, 40))  # the left third is cut away
    image, _ = only(picture)
    assert image.size == (40, 40)
    assert image.getpixel((0, 5)) == image.getpixel((39, 5)) == RED


@pytest.mark.slow
def test_a_huge_picture_is_reduced(only):
    # 100 megapixels: more than Pillow opens without a warning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image, _ = only(red_and_blue(12500, 8000).convert("P"))
    assert image.size == (1024, 1024)
    assert near(image, (512, 100), RED)


def test_a_decompression_bomb_is_left_out(tmp_path, monkeypatch):
    red_and_blue().save(tmp_path / "a.png")
    red_and_blue(80, 80).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1700)
    with pytest.warns(UserWarning, match=r"bomb\.png has too many pixels"):
        assert len(load_concept(tmp_path, "teddy").images) == 1


def test_masks_beside_pictures(tmp_path):
    for name in ("a", "b"):
        red_and_blue(60, 40).save(tmp_path / f"{name}.jpg")
    mask = Image.new("L", (30, 20), 0)  # of half the size
    mask.paste(255, (10, 0, 20, 10))
    mask.save(tmp_path / "b_mask.png")
    concept = load_concept(tmp_path, "teddy")
    assert len(concept.images) == 2
    assert concept.masks[0] is None
    assert concept.masks[1].size == concept.images[1].size == (40, 40)
    tensor = concept.mask_tensor(4, 4)
    assert tensor.shape == (2, 1, 4, 4)
    assert tensor[0].min() == 1
    assert tensor[1, 0, 0, 1] > 0.9
    assert tensor[1, 0, 3].max() < 0.1


def test_captions_of_an_image_folder(tmp_path):
    for name in ("a.png", "b.png"):
        red_and_blue().save(tmp_path / name)
    lines = [{"file_name": "b.png", "text": "a <toy> on a beach"}]
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "metadata.jsonl").write_text(text + "\n\n")
    assert load_concept(tmp_path, "teddy").captions == ["", "a <toy> on a beach"]
    (tmp_path / "metadata.jsonl").write_text("not json")
    with pytest.raises(PersoError, match=r"metadata\.jsonl cannot be read"):
        load_concept(tmp_path, "teddy")


def test_a_corrupt_picture_among_good_ones_is_left_out(tmp_path):
    red_and_blue().save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.jpg").write_bytes(b"no picture at all")
    (tmp_path / "d.heic").write_bytes(b"from a telephone")
    (tmp_path / "notes.txt").write_text("not meant as a picture")
    with pytest.warns(UserWarning) as caught:
        concept = load_concept(tmp_path, "teddy")
    assert len(concept.images) == 1
    for name, warning in zip(("b.png", "c.jpg", "d.heic"), caught, strict=True):
        assert f"{name} cannot be read" in str(warning.message)
    assert all("left out" in str(warning.message) for warning in caught)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_folder_without_a_readable_picture_is_refused(tmp_path):
    with pytest.raises(PersoError, match="no readable picture"):
        load_concept(tmp_path, "teddy")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(PersoError, match="1 tried"):
        load_concept(tmp_path, "teddy")


def test_a_folder_needs_a_class_word_and_a_name_must_exist(tmp_path):
    with pytest.raises(PersoError, match="class_word"):
        load_concept(tmp_path)
    with pytest.raises(PersoError, match="neither a folder nor a shipped concept"):
        load_concept("no-such-toy")


def test_pixels_are_the_pictures_between_minus_one_and_one(tmp_path):
    red_and_blue().save(tmp_path / "a.png")
    pixels = load_concept(tmp_path, "teddy").pixels(20)
    assert pixels.shape == (1, 3, 20, 20)
    assert torch.equal(pixels[0, :, 2, 2], torch.tensor([1.0, -1.0, -1.0]))
    assert torch.equal(pixels[0, :, 17, 2], torch.tensor([-1.0, -1.0, 1.0]))


@pytest.fixture
def described(tmp_path, monkeypatch):
    """A concept as we ship them, in a data folder of its own."""
    folder = tmp_path / "concepts" / "two-tone"
    folder.mkdir(parents=True)
    for index in range(2):
        red_and_blue().save(folder / f"{index}.png")
        Image.new("L", (40, 40), 255 * index).save(folder / f"{index}_mask.png")
    pictures = [
        {"file": f"{i}.png", "mask": f"{i}_mask.png", "caption": f"a teddy {i}"}
        for i in range(2)
    ]
    text = {
        "name": "two-tone",
        "class_word": "teddy",
        "placeholder_token": "<two-tone>",
        "pictures": pictures,
        "truth": {"ears": 2},
    }
    (folder / "concept.json").write_text(json.dumps(text))
    monkeypatch.setattr(concepts_module, "CONCEPTS_FOLDER", folder.parent)
    return folder


def test_a_shipped_concept_is_found_by_name(described):
    concept = load_concept("two-tone")
    assert (concept.name, concept.class_word) == ("two-tone", "teddy")
    assert concept.captions == ["a teddy 0", "a teddy 1"]
    assert concept.truth == {"ears": 2}
    assert concept.placeholder_token == "<two-tone>"
    assert concept.mask_tensor(2, 2).mean(dim=(1, 2, 3)).tolist() == [0, 1]
    assert load_concept(described, "dog").class_word == "dog"


def test_captions_stay_with_their_pictures(described):
    (described / "0.png").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="left out"):
        assert load_concept("two-tone").captions == ["a teddy 1"]


def test_a_damaged_description_is_refused(described):
    (described / "concept.json").write_text('{"name": "two-tone"}')
    with pytest.raises(PersoError, match=r"concept\.json cannot be read"):
        load_concept("two-tone")


def a_picture(path, color="red"):
    Image.new("RGB", (64, 64), color).save(path)


def a_cut_out(path):
    cut = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    cut.paste((0, 0, 0, 255), (16, 16, 48, 48))
    cut.save(path)


@pytest.mark.parametrize("name", ["a_mask.png", "a_Mask.PNG", "a.jpg_mask.png"])
def test_a_mask_is_found_in_any_case_and_read_from_its_transparency(tmp_path, name):
    a_picture(tmp_path / "a.jpg")
    a_picture(tmp_path / "b.jpg")
    a_cut_out(tmp_path / name)
    concept = load_concept(tmp_path, "teddy")
    assert len(concept.images) == 2
    mask, none = concept.masks
    assert none is None
    assert mask.getextrema() == (0, 255)
    assert mask.getpixel((32, 32)) == 255


def test_a_mask_without_its_picture_is_named(tmp_path):
    a_picture(tmp_path / "a.jpg")
    a_cut_out(tmp_path / "c_mask.png")
    with pytest.warns(UserWarning, match=r"no picture for c_mask\.png"):
        assert load_concept(tmp_path, "teddy").masks == [None]


def test_captions_with_a_byte_order_mark_are_read(tmp_path):
    a_picture(tmp_path / "a.png")
    line = '{"file_name": "a.png", "text": "a photo of a <toy>"}'
    (tmp_path / "metadata.jsonl").write_text(line, "utf-8-sig")
    assert load_concept(tmp_path, "cat").captions == ["a photo of a <toy>"]


@pytest.mark.parametrize("name", ["a.txt", "metadata.csv"])
def test_captions_of_other_tools_are_named(tmp_path, name):
    a_picture(tmp_path / "a.png")
    (tmp_path / name).write_text("a photo of a <toy>")
    with pytest.warns(UserWarning, match=rf"metadata\.jsonl alone, not from {name}"):
        assert load_concept(tmp_path, "cat").captions is None


def test_what_cannot_be_learned_is_refused(concept):
    with pytest.raises(PersoError, match='"mood"; choose from object, style'):
        replace(concept, learnable_property="mood")


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def forbidden(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(type(tmp_path), "iterdir", forbidden)  # root may read all
    with pytest.raises(PersoError, match=r"cannot be read \(Permission denied\)"):
        load_concept(tmp_path, "teddy")
