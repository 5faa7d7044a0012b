"""Panels without a browser: what a value sets off, is remembered, is saved."""

import base64
import io
import subprocess
import sys

import matplotlib.pyplot as plt
import nbclient
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from perso_lite.attention.record import record_attention
from perso_lite.errors import PersoError
from perso_lite.method import state_of
from perso_lite.methods.textual_inversion import TextualInversion
from perso_lite.sampling import generate
from perso_lite.teaching import panels
from perso_lite.teaching.panel import (
    REMEMBERED,
    Panel,
    choice,
    error_picture,
    slider,
    text_box,
    to_png,
)

PROMPT = "a teddy on a beach"


def picture_of(panel: Panel) -> Image.Image:
    return Image.open(io.BytesIO(panel.picture.value))


class Bars:
    """A draw function that counts its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, width, colour):
        self.calls.append((width, colour))
        return Image.new("RGB", (width, 5), colour)


@pytest.fixture
def bars():
    return Bars()


@pytest.fixture
def panel(bars):
    return Panel(bars, width=slider([3, 4, 7]), colour=choice(["red", "blue"]))


# -- the panel -------------------------------------------------------------------------


def test_the_picture_follows_every_control(panel):
    assert picture_of(panel).size == (3, 5)
    panel.controls["width"].value = 7
    panel.controls["colour"].value = "blue"
    assert picture_of(panel).size == (7, 5)
    assert picture_of(panel).getpixel((6, 4)) == (0, 0, 255)


def test_going_back_draws_nothing_anew(panel, bars):
    first = panel.picture.value
    panel.controls["width"].value = 4
    second = panel.picture.value
    panel.controls["width"].value = 3
    assert panel.picture.value == first != second
    assert bars.calls == [(3, "red"), (4, "red")]


def test_a_panel_remembers_only_so_many_pictures(bars):
    widths = range(1, REMEMBERED + 2)
    panel = Panel(bars, width=slider(widths), colour=choice(["red"]))
    for width in [*widths, 1]:
        panel.controls["width"].value = width
    assert len(bars.calls) == REMEMBERED + 2  # the first one had to go, and was redrawn


def test_what_else_a_picture_depends_on_is_noticed(bars):
    state = []
    panel = Panel(
        bars,
        depends_on=lambda: len(state),
        width=slider([3, 4]),
        colour=choice(["red"]),
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
    assert bundle == {"text/plain": "Panel(width=3, colour='red')"}


def test_the_text_follows_the_controls(panel):
    panel.controls["width"].value = 4
    assert repr(panel) == "Panel(width=4, colour='red')"


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
    said, write = [], ImageDraw.ImageDraw.multiline_text

    def noting(self, place, text, *args, **kwargs):
        said.append(" ".join(text.split()))
        return write(self, place, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "multiline_text", noting)
    sentence = "What was wrong, what was expected and what to do." * 6
    small = error_picture(PersoError("No such toy."))
    large = error_picture(PersoError(sentence))
    error_picture(ValueError("no"))
    assert said == ["No such toy.", sentence, "ValueError: no"]
    assert small.width == large.width
    assert small.height < large.height


def test_a_draw_function_without_return_is_told_so():
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


def test_controls_report_when_they_are_left_not_on_the_way():
    assert not slider([1, 2]).continuous_update
    assert not text_box("a").continuous_update


def test_few_options_are_buttons_and_many_a_list():
    assert type(choice(["a", "b"], "b")).__name__ == "ToggleButtons"
    assert type(choice([str(n) for n in range(20)])).__name__ == "Dropdown"
    assert choice(["a", "b"], "b").value == "b"


# -- where words look ------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tiny):
    with record_attention(tiny, keep_steps=True) as maps:
        (picture,) = generate(tiny, PROMPT, num_inference_steps=3)
    return maps, picture


def test_the_explorer_offers_words_layers_and_steps(recorded):
    panel = panels.attention_explorer(*recorded)
    words, layers, steps = (
        [option if isinstance(option, str) else option[-1] for option in c.options]
        for c in panel.controls.values()
    )
    assert words == ["a", "teddy", "on", "beach"]
    assert layers[:5] == ["all", "8 px", "4 px", "2 px", "1 px"]
    assert layers[5] == "layer 0 (down, 8 px)"
    assert len(layers) == 5 + 16
    assert steps == ["all", 0, 1, 2]
    assert repr(panel) == "Panel(word='teddy', layers='all', step='all')"


def test_word_layers_and_step_each_change_the_picture(recorded):
    panel = panels.attention_explorer(*recorded, word="beach")
    seen = [panel.picture.value]
    for name, value in [("word", "teddy"), ("layers", "4 px"), ("step", 2)]:
        panel.controls[name].value = value
        assert panel.error is None
        seen.append(panel.picture.value)
    assert len(set(seen)) == 4


def test_every_choice_of_layers_can_be_drawn(recorded):
    maps, picture = recorded
    for layers in panels.layer_choices(maps):
        panels.draw_attention(maps, picture, "teddy", layers, "all")


def test_the_heat_is_that_of_the_layers_asked_for(recorded, monkeypatch):
    maps, picture = recorded
    heats = []
    monkeypatch.setattr(
        panels, "heat_over", lambda picture, heat, size: heats.append(heat) or picture
    )
    panels.draw_attention(maps, picture, "beach", "layer 12 (up, 4 px)", 1)
    assert torch.equal(heats[0], maps.word("beach", layers=[12], steps=1))


def test_the_explorer_says_when_steps_were_not_kept(tiny):
    with record_attention(tiny) as maps:
        (picture,) = generate(tiny, PROMPT, num_inference_steps=1)
    with pytest.raises(PersoError, match="keep_steps=True"):
        panels.attention_explorer(maps, picture)


def test_a_new_word_of_several_vectors_is_one_word(own_tiny):
    method = TextualInversion(own_tiny, "teddy", "<toy>", num_vectors=2)
    with method.attach(own_tiny), record_attention(own_tiny, keep_steps=True) as maps:
        (picture,) = generate(own_tiny, "a <toy> on snow", num_inference_steps=1)
    panel = panels.attention_explorer(maps, picture)
    assert panel.controls["word"].options == ("a", "<toy>", "on", "snow")
    panel.controls["word"].value = "<toy>"
    assert panel.error is None


def test_a_word_in_pieces_is_one_word(tiny):
    with record_attention(tiny, keep_steps=True) as maps:
        (picture,) = generate(tiny, "a rhino on a rhino", num_inference_steps=1)
    panel = panels.attention_explorer(maps, picture)
    assert "rhino" not in maps.labels()
    assert panel.controls["word"].options == ("a", "rhino", "on")


# -- training --------------------------------------------------------------------------


def colours(*names):
    return [Image.new("RGB", (6, 6), name) for name in names]


def test_the_scrubber_shows_each_step_and_starts_at_the_last():
    pictures = [colours("red", "blue", "lime"), colours("cyan", "gold", "pink")]
    panel = panels.training_scrubber([0, 4], pictures, [0.3, 0.2, 0.1, 0.2])
    assert repr(panel) == "Panel(step=4)"
    late = np.asarray(picture_of(panel).convert("RGB"))
    panel.controls["step"].value = 0
    early = np.asarray(picture_of(panel).convert("RGB"))
    red, cyan = (255, 0, 0), (0, 255, 255)
    assert (early == red).all(-1).any()
    assert not (early == cyan).all(-1).any()
    assert (late == cyan).all(-1).any()


def test_the_mark_stands_at_the_step():
    figure = panels.draw_training(colours("red"), [0.3, 0.2, 0.1, 0.2, 0.4], 2)
    assert isinstance(figure, Figure)
    (curves,) = (axes for axes in figure.axes if axes.get_xlabel())
    assert list(curves.lines[-1].get_xdata()) == [2, 2]
    assert to_png(figure)


def test_the_scrubber_says_when_pictures_are_missing():
    with pytest.raises(PersoError, match="2 steps and 1 sets of pictures"):
        panels.training_scrubber([0, 5], [colours("red")], [0.1] * 5)


# -- prompts ---------------------------------------------------------------------------


def test_prompt_seed_and_guidance_each_change_the_picture(tiny):
    panel = panels.prompt_box(tiny, seeds=[0, 3], num_inference_steps=1)
    assert repr(panel) == (
        "Panel(prompt='a photo of a teddy', seed=0, guidance_scale=5)"
    )
    seen = [panel.picture.value]
    for name, value in [("prompt", "a cat"), ("seed", 3), ("guidance_scale", 12)]:
        panel.controls[name].value = value
        assert panel.error is None
        seen.append(panel.picture.value)
    assert len(set(seen)) == 4


def test_the_prompt_box_draws_what_generate_draws(tiny):
    (expected,) = generate(tiny, PROMPT, (3,), 2, 5.0)
    drawn = panels.draw_prompt(tiny, [], PROMPT, 3, 5.0, 2)
    enlarged = expected.resize((256, 256), Image.Resampling.NEAREST)
    x, y = 180, 6  # right of the label
    shown = drawn.crop((x, y, x + 256, y + 256))
    assert shown.tobytes() == enlarged.tobytes()


def test_the_prompt_box_draws_a_concept_as_it_is_now(own_tiny):
    method = TextualInversion(own_tiny, "teddy", "<toy>")
    panel = panels.prompt_box(own_tiny, method, num_inference_steps=1)
    assert panel.controls["prompt"].value == "a photo of a <toy>"
    before = panel.picture.value
    panel.refresh()
    assert panel.picture.value == before
    with torch.no_grad():
        method.vectors += torch.linspace(-2, 2, method.vectors.shape[-1])
    panel.refresh()
    assert panel.error is None
    assert panel.picture.value != before
    assert "<toy>" not in own_tiny.tokenizer.get_vocab()


def test_a_dial_of_a_concept_counts_as_a_change(own_tiny):
    method = TextualInversion(own_tiny, "teddy", "<toy>")
    method.beta = 0.5
    before = state_of(method)
    assert state_of(method) == before
    method.beta = 0.75
    assert state_of(method) != before


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


def test_strict_nbval_compares_the_text_of_a_panel(notebook, tmp_path):
    text = notebook.read_text()
    assert text.count("Panel(width=4)") == 1
    other = tmp_path / "other.ipynb"
    other.write_text(text.replace("Panel(width=4)", "Panel(width=5)"))
    result = nbval(other)
    assert result.returncode == 1
    assert "Panel(width=5)" in result.stdout
