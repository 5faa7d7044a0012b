"""Panels without a browser: redrawing, caching, output, errors, controls."""

import base64
import io
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import nbclient
import nbformat
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from traitlets import TraitError

from perso_lite.errors import PersoError
from perso_lite.teaching.panel import (
    CACHED,
    Panel,
    choice,
    error_picture,
    save_link,
    slider,
    span,
    text_box,
)


def picture_of(panel: Panel) -> Image.Image:
    return Image.open(io.BytesIO(panel.picture.value))


class Bars:
    """A draw function that counts its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, width, color):
        self.calls.append((width, color))
        return Image.new("RGB", (width, 5), color)


@pytest.fixture
def bars():
    return Bars()


@pytest.fixture
def panel(bars):
    return Panel(bars, width=slider([3, 4, 7]), color=choice(["red", "blue"]))


# -- the panel -------------------------------------------------------------------------


def test_the_picture_follows_every_control(panel):
    assert picture_of(panel).size == (3, 5)
    panel.controls["width"].value = 7
    panel.controls["color"].value = "blue"
    assert picture_of(panel).size == (7, 5)
    assert picture_of(panel).getpixel((6, 4)) == (0, 0, 255)


def test_going_back_redraws_nothing(panel, bars):
    first = panel.picture.value
    panel.controls["width"].value = 4
    second = panel.picture.value
    panel.controls["width"].value = 3
    assert panel.picture.value == first != second
    assert bars.calls == [(3, "red"), (4, "red")]


def test_a_panel_caches_a_limited_number_of_pictures(bars):
    widths = range(1, CACHED + 2)
    panel = Panel(bars, width=slider(widths), color=choice(["red"]))
    for width in [*widths, 1]:
        panel.controls["width"].value = width
    assert len(bars.calls) == CACHED + 2  # the first one was dropped, then redrawn


def test_a_change_of_other_dependencies_is_noticed(bars):
    state = []
    panel = Panel(
        bars,
        depends_on=lambda: len(state),
        width=slider([3, 4]),
        color=choice(["red"]),
    )
    panel.refresh()
    assert len(bars.calls) == 1
    state.append("learned")
    panel.refresh()
    assert len(bars.calls) == 2


def test_the_output_is_a_widget_a_picture_and_a_text(panel):
    bundle = panel._repr_mimebundle_(include=None, exclude=None)
    view = bundle.pop("application/vnd.jupyter.widget-view+json")
    assert view["model_id"] == panel.model_id
    assert base64.b64decode(bundle.pop("image/png")) == panel.picture.value
    assert bundle == {"text/plain": "Panel(width=3, color='red')"}


def test_the_text_follows_the_controls(panel):
    panel.controls["width"].value = 4
    assert repr(panel) == "Panel(width=4, color='red')"


def test_jupyter_shows_the_three_layers(panel):
    """Also with ipywidgets 7, which used to show itself by other means."""
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    formatter.active_types = formatter.format_types
    data, _ = formatter.format(panel)
    layers = {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    assert layers <= set(data)


def test_the_picture_is_shown_at_its_own_width(panel):
    assert panel.picture.layout.width == "3px"
    panel.controls["width"].value = 7
    assert panel.picture.layout.width == "7px"


def saved_by(link: str) -> tuple[str, bytes]:
    """The name and the bytes of the file that a link saves."""
    pattern = (
        r'<a download="([^"]+)" href="data:image/png;base64,([^"]+)"[^<>]*>[\w ]+</a>'
    )
    name, data = re.fullmatch(pattern, link).groups()
    return name, base64.b64decode(data)


def test_the_link_below_the_picture_saves_what_is_shown(panel):
    assert panel.children == (
        *panel.controls.values(),
        panel.picture,
        panel.save_link,
    )
    assert saved_by(panel.save_link.value) == ("3-red.png", panel.picture.value)
    panel.controls["width"].value = 7
    assert saved_by(panel.save_link.value) == ("7-red.png", panel.picture.value)


def test_the_link_follows_a_picture_that_changes_without_a_control(bars):
    colors = ["red"]
    panel = Panel(
        lambda width: bars(width, colors[-1]),
        depends_on=lambda: len(colors),
        width=slider([3, 4]),
    )
    colors.append("blue")
    panel.refresh()
    assert saved_by(panel.save_link.value)[1] == panel.picture.value
    assert picture_of(panel).getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([], "picture.png"),
        (["..", "/"], "picture.png"),
        (['a "<toy>" on\n../snow', 0.5], "a-toy-on-..-snow-0.5.png"),
        (["ein Bär", (0, 3)], "ein-Bär-0-3.png"),
        (["x" * 300], "x" * 80 + ".png"),
    ],
)
def test_a_saved_file_is_named_after_the_controls(values, name):
    assert saved_by(save_link(b"png", values)) == (name, b"png")


def test_figures_are_drawn_and_closed():
    before = plt.get_fignums()

    def draw(height):
        figure, axis = plt.subplots()
        axis.plot([0, height])
        return figure

    panel = Panel(draw, height=slider([1, 2]))
    assert picture_of(panel).format == "PNG"
    assert plt.get_fignums() == before


# -- errors ----------------------------------------------------------------------------


def failing(what):
    if what == "ours":
        raise PersoError("There is no such toy: name one that ships.")
    return Image.new("RGB", (5, 5)) if what == "fine" else {}[what]


def test_an_error_is_shown_and_the_panel_works_on():
    panel = Panel(failing, what=choice(["fine", "ours", "theirs"]))
    fine = panel.picture.value
    panel.controls["what"].value = "ours"
    ours = panel.picture.value
    assert isinstance(panel.error, PersoError)
    panel.controls["what"].value = "theirs"
    assert isinstance(panel.error, KeyError)
    assert len({fine, ours, panel.picture.value}) == 3
    panel.controls["what"].value = "fine"
    assert panel.picture.value == fine
    assert panel.error is None


def test_an_error_of_the_first_picture_is_raised_in_the_cell():
    with pytest.raises(PersoError, match="name one that ships"):
        Panel(failing, what=choice(["ours", "fine"]))


def test_error_pictures_leave_no_word_out(monkeypatch):
    written, write = [], ImageDraw.ImageDraw.multiline_text

    def noting(self, place, text, *args, **kwargs):
        written.append(" ".join(text.split()))
        return write(self, place, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "multiline_text", noting)
    sentence = "What was wrong, what was expected and what to do." * 6
    small = error_picture(PersoError("No such toy."))
    large = error_picture(PersoError(sentence))
    error_picture(ValueError("no"))
    assert written == ["No such toy.", sentence, "ValueError: no"]
    assert small.width == large.width
    assert small.height < large.height


def test_a_draw_function_without_return_is_explained():
    with pytest.raises(PersoError, match=r"returned NoneType.*return missing"):
        Panel(lambda width: None, width=slider([1]))


# -- controls --------------------------------------------------------------------------


def test_sliders_take_numpy_numbers_and_keep_text_short():
    control = slider(np.linspace(0, 0.3, 4), 0.2)
    assert [label for label, _ in control.options] == ["0.0", "0.1", "0.2", "0.3"]
    assert control.value == 0.2
    assert repr(Panel(lambda beta: Image.new("L", (2, 3)), beta=control)) == (
        "Panel(beta=0.2)"
    )


def test_a_missing_start_value_becomes_a_stop():
    control = slider(np.linspace(0, 1, 3), torch.tensor(1 / 3))
    assert control.options == (
        ("0.0", 0.0),
        ("0.333333", 0.333333),
        ("0.5", 0.5),
        ("1.0", 1.0),
    )
    assert control.value == 0.333333
    assert [value for _, value in slider([9, 1], 4).options] == [1, 4, 9]


def test_a_start_value_among_the_stops_leaves_them_as_they_are():
    for values, start in (([8, 5, 2], 5), (["all", 0, 1], 1), ([0.3, 0.1], 0.1 + 1e-9)):
        control = slider(values, start)
        assert [value for _, value in control.options] == values
        assert control.value == pytest.approx(start)


def test_a_start_value_that_is_no_number_has_to_be_a_stop():
    with pytest.raises(TraitError):
        slider(["all", 0, 1], "some")


def test_controls_fire_when_released():
    assert not slider([1, 2]).continuous_update
    assert not text_box("a").continuous_update
    assert not span(3).continuous_update


def test_a_span_is_a_range_of_steps():
    control = span(12)
    assert (control.value, control.min, control.max) == ((0, 12), 0, 12)
    assert span(12, (3, 5)).value == (3, 5)
    panel = Panel(lambda steps: Image.new("RGB", (1 + steps[1], 1)), steps=control)
    control.value = (2, 7)
    assert repr(panel) == "Panel(steps=(2, 7))"
    assert picture_of(panel).width == 8


def test_few_options_are_buttons_and_many_a_list():
    assert type(choice(["a", "b"], "b")).__name__ == "ToggleButtons"
    assert type(choice([str(n) for n in range(20)])).__name__ == "Dropdown"
    assert choice(["a", "b"], "b").value == "b"


# -- in a notebook ---------------------------------------------------------------------

CELL = """from PIL import Image
from perso_lite.teaching.panel import Panel, slider
Panel(lambda width: Image.new("RGB", (width, 9)), width=slider([4, 5]))"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A notebook that was run, with a panel in it."""
    path = tmp_path_factory.mktemp("notebook") / "panel.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbclient.NotebookClient(notebook, timeout=120, store_widget_state=False).execute()
    nbformat.write(notebook, path)
    return path


def nbval(path):
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"]
    command += ["-p", "no:cacheprovider", path.name]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True)


def test_a_notebook_with_a_panel_passes_strict_nbval(notebook):
    result = nbval(notebook)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_strict_nbval_compares_the_text_of_a_panel(notebook, tmp_path):
    text = notebook.read_text()
    assert text.count("Panel(width=4)") == 1
    other = tmp_path / "other.ipynb"
    other.write_text(text.replace("Panel(width=4)", "Panel(width=5)"))
    result = nbval(other)
    assert result.returncode == 1
    assert "Panel(width=5)" in result.stdout
