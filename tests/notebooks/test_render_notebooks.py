"""The command that runs notebooks and saves them, and nbval on what it saved."""

import base64
import io
import os
import subprocess
import sys

import nbformat
import notebook_rules as rules
import numpy as np
import pytest
import render_notebooks
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

VIEW = "application/vnd.jupyter.widget-view+json"


def encoded(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def decoded(png: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(png)))


def test_nothing_is_kept_but_what_a_reader_needs():
    panel = {VIEW: {"model_id": "ab12"}, "text/plain": "Panel(beta=0.5)"}
    cell = new_code_cell(
        "panel",
        execution_count=1,
        metadata={"collapsed": True, "execution": {"iopub.status.busy": "2026"}},
        outputs=[new_output("execute_result", panel, execution_count=1)],
    )
    prose = new_markdown_cell("words", metadata={"id": "x7Y", "tags": ["key-lines"]})
    metadata = {"widgets": {}, "colab": {}, "language_info": {"name": "julia"}}
    notebook = new_notebook(cells=[prose, cell], metadata=metadata)
    render_notebooks.clean(notebook)
    assert notebook.metadata == render_notebooks.METADATA
    assert [cell.id for cell in notebook.cells] == ["cell-01", "cell-02"]
    assert [cell.metadata for cell in notebook.cells] == [{"tags": ["key-lines"]}, {}]
    assert cell.execution_count == 1
    assert cell.outputs[0].data == {"text/plain": "Panel(beta=0.5)"}


@pytest.mark.parametrize("colours", [2, 250, 5000])
def test_pictures_shrink_without_a_pixel_changing(colours):
    # colours that differ in their last bits only, and a transparency that hides nothing
    random = np.random.default_rng(0)
    table = random.choice(1 << 14, colours, replace=False)
    packed = random.permutation(np.resize(table, 96 * 80)).reshape(80, 96)
    parts = [packed & 127, packed >> 7 & 127, 0 * packed, 0 * packed + 255]
    image = Image.fromarray(np.stack(parts, axis=2).astype(np.uint8))
    smaller = render_notebooks.smaller_png(encoded(image))
    assert len(smaller) < len(encoded(image))
    assert np.array_equal(decoded(smaller).convert("RGBA"), image)


def test_a_large_picture_keeps_its_look_in_fewer_bytes():
    ramp = np.linspace(0, 255, 640)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], 255 - ramp), 2)
    noise = np.random.default_rng(0).normal(0, 4, pixels.shape)
    image = Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
    smaller = render_notebooks.smaller_png(encoded(image))
    assert len(smaller) < len(encoded(image)) / 3
    error = np.abs(np.asarray(decoded(smaller).convert("RGB"), float) - image)
    assert error.mean() < 10


def test_a_transparency_that_hides_something_stays():
    image = Image.new("RGBA", (32, 20), (200, 10, 10, 99))
    smaller = render_notebooks.smaller_png(encoded(image))
    assert np.array_equal(decoded(smaller).convert("RGBA"), image)


@pytest.fixture
def path(tmp_path):
    """A notebook never run, with a thing to print, one to show and one to ignore."""
    cells = [
        new_code_cell("import os\nprint(os.environ['HF_HUB_OFFLINE'])"),
        new_markdown_cell("words"),
        new_code_cell("print(os.path.basename(os.getcwd()), end=' ')\nprint('done')"),
        new_code_cell("os.environ['CUDA_VISIBLE_DEVICES']"),
        new_code_cell("object()"),
    ]
    folder = tmp_path / "lessons"
    folder.mkdir()
    nbformat.write(new_notebook(cells=cells), folder / "00_small.ipynb")
    return folder / "00_small.ipynb"


def nbval(path) -> subprocess.CompletedProcess:
    options = ["-q", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider"]
    options += ["--nbval-sanitize-with", rules.ROOT / "tests/nbval_sanitize.cfg"]
    command = [sys.executable, "-m", "pytest", *options, path]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_what_is_rendered_passes_strict_comparison_until_it_is_changed(path):
    name, _, _, cells, share = render_notebooks.render(path, timeout=60)
    assert (name, cells, share) == ("00_small.ipynb", "4", "4 of 4, 100%")
    notebook = rules.read(path)
    assert rules.clean_run(notebook) == []
    texts = ["".join(rules.texts(cell)) for _, cell in rules.numbered(notebook, "code")]
    assert texts[:3] == ["1\n", "lessons done\n", "''"]
    assert "4 passed" in nbval(path).stdout

    notebook.cells[2].outputs[0].text = "lessons gone\n"
    nbformat.write(notebook, path)
    assert "1 failed, 3 passed" in nbval(path).stdout


def test_a_failing_cell_is_shown_and_the_file_stays_as_it_was(path):
    notebook = rules.read(path)
    notebook.cells[2].source = "answer = 1 / 0"
    nbformat.write(notebook, path)
    before = path.read_bytes()
    with pytest.raises(SystemExit) as stop:
        render_notebooks.render(path, timeout=60)
    assert "00_small.ipynb, cell 3 of 5" in str(stop.value)
    assert "answer = 1 / 0" in str(stop.value)
    assert "ZeroDivisionError" in str(stop.value)
    assert path.read_bytes() == before


def test_a_cell_that_takes_too_long_is_named(path):
    notebook = rules.read(path)
    notebook.cells[2].source = "import time\ntime.sleep(60)"
    nbformat.write(notebook, path)
    with pytest.raises(SystemExit) as stop:
        render_notebooks.render(path, timeout=1)
    assert "00_small.ipynb, cell 3 of 5" in str(stop.value)
    assert "timed out" in str(stop.value)


def test_notebooks_are_chosen_by_the_beginning_of_their_name(path, monkeypatch):
    others = [path.with_name(name) for name in ("01_a.ipynb", "02_b.ipynb")]
    monkeypatch.setattr(render_notebooks, "NOTEBOOKS", others)
    assert render_notebooks.chosen([]) == others
    assert render_notebooks.chosen(["02", "01_a"]) == others[::-1]
    assert render_notebooks.chosen([str(path)]) == [path]
    with pytest.raises(SystemExit, match="no notebook 07"):
        render_notebooks.chosen(["07"])
