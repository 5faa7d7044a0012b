import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from perso_lite.errors import PersoError
from perso_lite.figures import style
from perso_lite.figures.pictures import (
    SheetRow,
    as_images,
    contact_sheet,
    heat_over,
    save_picture,
    show_pictures,
    wrapped,
)


def test_every_picture_has_its_place():
    red, blue = (Image.new("RGB", (16, 16), color) for color in ("red", "blue"))
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


def rows_with_ink(sheet):
    return np.flatnonzero((np.asarray(sheet) < 128).any(axis=(1, 2)))


def test_notes_stand_below_their_row_and_above_the_next():
    white = [Image.new("RGB", (16, 16), "white")]
    plain = contact_sheet([SheetRow("", white)] * 2, cell=32)
    noted = [SheetRow("", white, notes=["one\ntwo"]), SheetRow("", white)]
    sheet = contact_sheet(noted, cell=32)
    assert sheet.height == plain.height + 2 * 18
    ink = rows_with_ink(sheet)
    assert ink.min() >= 6 + 32 and ink.max() < 6 + 32 + 2 * 18
    assert sheet.width == plain.width


def test_a_long_title_is_broken_and_moves_the_rows_down():
    red = Image.new("RGB", (16, 16), "red")
    short, long = (
        np.asarray(contact_sheet([SheetRow("", [red])], title, cell=32))
        for title in ("a title", "a title of many words " * 4)
    )
    assert long.shape[1] == short.shape[1]
    first = [np.argwhere((s == (255, 0, 0)).all(-1))[0, 0] for s in (short, long)]
    assert first[1] > first[0] and (first[1] - first[0]) % 18 == 0


def test_labels_are_broken_between_words():
    font = ImageFont.load_default(size=13)
    text = wrapped("a teddy wearing a very tall hat", font, 80)
    assert text.replace("\n", " ") == "a teddy wearing a very tall hat"
    assert len(text.splitlines()) > 1
    assert all(font.getlength(line) <= 80 for line in text.splitlines())


def test_a_picture_is_saved_as_png(tmp_path):
    save_picture(Image.new("RGB", (3, 2), "red"), tmp_path / "new" / "a.png")
    assert Image.open(tmp_path / "new" / "a.png").getpixel((2, 1)) == (255, 0, 0)


def test_a_grid_shows_every_picture_under_its_label():
    pictures = [Image.new("RGB", (4, 4), color) for color in ("red", "blue", "lime")]
    figure = show_pictures(pictures, ["r", "b"], title="colors", columns=2)
    drawn = [axis.images[0].get_array() for axis in figure.axes[:3]]
    assert [tuple(picture[0, 0]) for picture in drawn] == [
        (255, 0, 0),
        (0, 0, 255),
        (0, 255, 0),
    ]
    assert [axis.get_title() for axis in figure.axes] == ["r", "b", "", ""]
    assert not figure.axes[3].images
    assert figure.get_suptitle() == "colors"
    plt.close(figure)


def test_a_figure_stays_open_only_where_it_is_shown(monkeypatch):
    picture = Image.new("RGB", (8, 8))
    before = plt.get_fignums()
    figure = show_pictures([picture])
    assert plt.get_fignums() == before
    figure.savefig(io.BytesIO())  # it can be kept in a file all the same
    inline = "module://matplotlib_inline.backend_inline"
    monkeypatch.setattr(style.matplotlib, "get_backend", lambda: inline)
    figure = show_pictures([picture])
    assert len(plt.get_fignums()) == len(before) + 1
    plt.close(figure)


def test_a_grid_of_nothing_is_refused():
    with pytest.raises(PersoError, match="no picture to show"):
        show_pictures([])


def test_tensors_become_the_pictures_they_are():
    pictures = torch.tensor([[0.0, 1.0, 0.2], [1.0, 0.0, 2.0]])[:, :, None, None]
    images = as_images(pictures.expand(2, 3, 5, 7))
    assert [image.size for image in images] == [(7, 5), (7, 5)]
    assert images[0].getpixel((3, 2)) == (0, 255, 51)
    assert images[1].getpixel((0, 4)) == (255, 0, 255)  # clamped


def test_heat_is_bright_where_it_is_hot():
    heat = torch.zeros(4, 6)
    heat[:, 4:] = 0.001  # small: what counts is its own maximum
    heated = heat_over(Image.new("RGB", (8, 8), "gray"), heat, size=60)
    brightness = np.asarray(heated.convert("L")).mean(0)
    assert heated.size == (60, 60)
    assert brightness[-10:].mean() > 2 * brightness[:10].mean()
    assert heat.max() == 0.001  # the map itself stays


def test_maps_on_one_scale_can_be_compared():
    gray, weak = Image.new("RGB", (8, 8), "gray"), torch.full((4, 4), 0.1)
    alone, beside = heat_over(gray, weak), heat_over(gray, weak, brightest=0.4)
    assert np.asarray(alone).mean() > 1.5 * np.asarray(beside).mean()
    assert beside == heat_over(gray, 4 * weak, brightest=1.6)


def test_no_heat_at_all_is_no_error():
    cold = heat_over(Image.new("RGB", (8, 8), "gray"), torch.zeros(4, 4), size=16)
    assert len(np.unique(np.asarray(cold).reshape(-1, 3), axis=0)) == 1
