"""What the figures share: titles, color bars, layers on an axis."""

import subprocess
import sys

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.figures import style


def test_titles_are_bold_and_at_the_left():
    figure = Figure()
    style.entitle(figure, "found")
    (title,) = figure.texts
    assert (title.get_text(), title.get_position()[0]) == ("found", 0.01)
    assert (title.get_ha(), title.get_fontweight()) == ("left", "bold")


def test_a_color_bar_belongs_to_one_chart_or_several():
    for shape in ((), (2, 3)):
        figure = Figure()
        axes = figure.subplots(*shape)
        image = np.ravel(axes)[0].imshow(np.eye(2))
        bar = style.color_bar(image, axes, ticks=(0, 1))
        assert bar.get_ticks().tolist() == [0, 1]
        assert not bar.outline.get_visible()
        assert figure.axes[-1] is bar.ax


def test_a_picture_has_a_caption_and_no_axes():
    axis = Figure().subplots()
    style.draw_picture(axis, Image.new("RGB", (2, 2), "red"), "caption")
    assert tuple(axis.images[0].get_array()[0, 0]) == (255, 0, 0)
    assert axis.get_title() == "caption"
    assert not axis.axison


def test_sides_are_named_at_the_middle_of_their_layers(tiny):
    layers = cross_attention_layers(tiny.unet)
    sides = style.layers_by_side(layers)
    assert list(sides) == ["down", "mid", "up"]
    positions = [position for side in sides.values() for position in side]
    assert positions == [layer.position for layer in layers]
    axis = Figure().subplots()
    style.mark_sides(axis, layers)
    middles = [(p[0] + p[-1]) / 2 for p in sides.values()]
    assert axis.get_xticks().tolist() == middles
    borders = [line.get_xdata()[0] for line in axis.lines]
    assert borders == [sides["mid"][0] - 0.5, sides["up"][0] - 0.5]


def test_pictures_and_charts_do_not_import_diffusers():
    code = "import sys, perso_lite.figures.pictures, perso_lite.figures.charts; "
    code += "sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
