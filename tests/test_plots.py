import numpy as np
from PIL import Image, ImageFont

from perso_lite.plots import SheetRow, contact_sheet, save_picture, wrapped


def test_every_picture_has_its_place():
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    rows = [SheetRow("one", [red, None]), SheetRow("two", [None, blue], ["x", "y"])]
    sheet = contact_sheet(rows, "title", cell=32, label_width=100)
    pixels = np.asarray(sheet)
    is_red = (pixels == (255, 0, 0)).all(axis=-1)
    is_blue = (pixels == (0, 0, 255)).all(axis=-1)
    assert is_red.sum() == is_blue.sum() == 32 * 32
    (red_y, red_x), (blue_y, blue_x) = (np.argwhere(m)[0] for m in (is_red, is_blue))
    assert red_x == 100
    assert blue_x > red_x
    assert blue_y > red_y


def test_labels_are_broken_between_words():
    font = ImageFont.load_default(size=13)
    text = wrapped("a teddy wearing a very tall hat", font, 80)
    assert text.replace("\n", " ") == "a teddy wearing a very tall hat"
    assert len(text.splitlines()) > 1
    assert all(font.getlength(line) <= 80 for line in text.splitlines())


def test_a_picture_is_saved_as_png(tmp_path):
    save_picture(Image.new("RGB", (3, 2), "red"), tmp_path / "new" / "a.png")
    assert Image.open(tmp_path / "new" / "a.png").getpixel((2, 1)) == (255, 0, 0)
