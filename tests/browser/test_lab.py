"""Panels as a learner meets them: in JupyterLab, with a keyboard.

One notebook is made here, of all kinds of panels on a tiny pipeline, so that a failure
is found in seconds; the others are the course's own.
"""

import base64
import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

COURSE = Path(__file__).parents[2] / "notebooks"
EXPLORED = "02_where_words_look.ipynb"
BYTES = """async image => {
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    return Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
}"""


# -- notebooks -------------------------------------------------------------------------

CELLS = (
    """from perso_lite.teaching.panels import Panel, choice, slider
from PIL import Image
def draw(side, colour): return Image.new("RGB", (side, side), colour)
Panel(draw, side=slider([60, 90, 120]), colour=choice(["red", "blue"]))""",
    """from perso_lite.teaching.panels import attention_explorer
with perso_lite.record_attention(base, keep_steps=True) as maps:
    picture = perso_lite.generate(base, "a cat on snow", num_inference_steps=3)[0]
attention_explorer(maps, picture)""",
    """from perso_lite.teaching.panels import training_scrubber
pictures = [[picture], [picture.rotate(90)], [picture.rotate(180)]]
training_scrubber([0, 10, 20], pictures, [1 / step for step in range(1, 21)])""",
    """from perso_lite.teaching.panels import prompt_box
prompt_box(base, num_inference_steps=2)""",
    """from perso_lite.teaching.panels import compare
learned = perso_lite.TextualInversion(base, "dog", "<toy>")
choices = {"the class": [], "learned": learned}
compare(base, choices, num_inference_steps=1)""",
    """from perso_lite.teaching.panels import prompt_patching
prompt_patching(base, "a cat on snow", "a dog", num_inference_steps=2)""",
)

GATE = """import torch
from perso_lite.base import text_fingerprint
from perso_lite.methods.perfusion.covariance import TextCovariance
from perso_lite.teaching.panels import gate_explorer
covariance = TextCovariance(torch.eye(32), text_fingerprint(base), captions=1)
toy = perso_lite.Perfusion(base, "teddy", covariance=covariance)
gate_explorer(base, toy, num_inference_steps=2)"""

TRUNCATION = """from perso_lite.teaching.panels import truncation_explorer
toy = perso_lite.NeTI(base, "teddy", truncation_idx=4)
truncation_explorer(base, toy, num_inference_steps=2)"""

PEOPLE = """from perso_lite.methods.celeb_basis.basis import build_basis
from perso_lite.teaching.panels import person_explorer
names = ["teddy cat", "dog hat", "beach snow", "cat dog", "hat teddy"]
basis = build_basis(base, names)
person_explorer(base, basis=basis, num_inference_steps=2)"""


@pytest.fixture(scope="module")
def small(lab, tiny_folder):
    """A small notebook with six panels, run; its name."""
    notebook = notebook_of(tiny_folder, *CELLS)
    nbclient.NotebookClient(notebook, timeout=120, store_widget_state=False).execute()
    nbformat.write(notebook, lab.folder / "small.ipynb")
    return "small.ipynb"


def notebook_of(tiny_folder, *sources: str) -> nbformat.NotebookNode:
    """A notebook whose first cell loads the tiny pipeline."""
    load = (
        f"import perso_lite\nbase = perso_lite.load_base({str(tiny_folder)!r}, 'cpu')"
    )
    cells = [nbformat.v4.new_code_cell(source) for source in (load, *sources)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    return notebook


@pytest.fixture
def course(lab):
    """The names of the course's notebooks, as they were committed.

    Copied anew for every test: JupyterLab saves, and trusts, what it has run.
    """
    names = sorted(path.name for path in COURSE.glob("*.ipynb"))
    for name in names:
        shutil.copy(COURSE / name, lab.folder)
    return names


def saved_panels(path: Path) -> list[str]:
    """The PNGs a notebook file holds for its panels, as a browser's `src`."""
    data = [
        output.data
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", ())
        if output.get("data", {}).get("text/plain", "").startswith("Panel(")
    ]
    plain = [base64.b64decode(layers["image/png"]) for layers in data]
    return [f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in plain]


# -- what a learner does ---------------------------------------------------------------


def check_panel(page, panel, slider: int = -1) -> None:
    """Moving a slider, the last, by one stop and back moves the picture, and back."""
    image, handle = panel.locator("img"), panel.locator(".noUi-handle").nth(slider)
    now, least = (handle.get_attribute(f"aria-value{end}") for end in ("now", "min"))
    there_and_back = ["ArrowRight", "ArrowLeft"]
    pictures, source = [image.evaluate(BYTES)], image.get_attribute("src")
    for key in there_and_back if now == least else reversed(there_and_back):
        handle.focus()  # a key is surer than dragging
        handle.press(key)
        page.wait_for_function(
            "([image, before]) => image.src != before",
            arg=[image.element_handle(), source],
        )
        source = image.get_attribute("src")
        pictures.append(image.evaluate(BYTES))
    assert pictures[0] == pictures[2] != pictures[1]


def check_page(page) -> None:
    """Nothing went wrong that a learner, or the browser's console, would see."""
    assert page.errors == []
    assert page.get_by_text("Error displaying widget").count() == 0
    for kind in ("error", "stderr"):
        outputs = page.locator(f"[data-mime-type='application/vnd.jupyter.{kind}']")
        assert outputs.all_inner_texts() == []


def check_static(page, lab, name: str) -> None:
    """Without a run, each panel is there as the picture that was saved."""
    lab.open(page, name)
    for source in saved_panels(lab.folder / name):
        image = page.locator(f".jp-OutputArea img[src='{source}']").first
        image.scroll_into_view_if_needed()
        assert image.is_visible()
        assert image.evaluate("image => image.naturalWidth") > 0
    assert page.locator(".widget-slider").count() == 0
    check_page(page)


def live_panels(page) -> list:
    """The panels with a slider, from top to bottom."""
    page.locator(".widget-slider").first.wait_for()
    panels = page.locator(".widget-vbox", has=page.locator(".widget-slider"))
    return panels.all()


# -- tests -----------------------------------------------------------------------------


def test_a_slider_moves_every_kind_of_panel(page, lab, small):
    lab.open(page, small)
    lab.run_all(page, seconds=120)
    check_page(page)
    panels = live_panels(page)
    assert len(panels) == 6
    for panel in panels:
        check_panel(page, panel)
    check_page(page)


def test_the_link_saves_the_picture_that_is_shown(page, lab, tiny_folder):
    nbformat.write(notebook_of(tiny_folder, CELLS[0]), lab.folder / "link.ipynb")
    lab.open(page, "link.ipynb")
    lab.run_all(page, seconds=120)
    (panel,) = live_panels(page)
    names = []
    for _ in range(2):
        with page.expect_download() as download:
            panel.get_by_text("save this picture").click()
        names.append(download.value.suggested_filename)
        saved = download.value.path().read_bytes()
        assert saved.hex() == panel.locator("img").evaluate(BYTES)
        panel.get_by_text("blue").click()
        # found again each time: the panel writes a new link, an old one never changes
        panel.locator("a[download='60-blue.png']").wait_for(state="attached")
    assert names == ["60-red.png", "60-blue.png"]
    check_page(page)


def test_the_gate_follows_beta(page, lab, tiny_folder):
    nbformat.write(notebook_of(tiny_folder, GATE), lab.folder / "gate.ipynb")
    lab.open(page, "gate.ipynb")
    lab.run_all(page, seconds=120)
    check_page(page)
    (panel,) = live_panels(page)
    check_panel(page, panel, slider=0)
    check_page(page)


def test_the_word_follows_its_truncation(page, lab, tiny_folder):
    name = "truncation.ipynb"
    nbformat.write(notebook_of(tiny_folder, TRUNCATION), lab.folder / name)
    lab.open(page, name)
    lab.run_all(page, seconds=120)
    check_page(page)
    (panel,) = live_panels(page)
    check_panel(page, panel, slider=0)
    check_page(page)


def test_the_person_follows_a_direction(page, lab, tiny_folder):
    nbformat.write(notebook_of(tiny_folder, PEOPLE), lab.folder / "people.ipynb")
    lab.open(page, "people.ipynb")
    lab.run_all(page, seconds=120)
    check_page(page)
    (panel,) = live_panels(page)
    check_panel(page, panel, slider=1)
    check_page(page)


def test_a_fresh_clone_shows_the_saved_pictures(page, lab, small):
    assert len(saved_panels(lab.folder / small)) == 6
    check_static(page, lab, small)


def test_the_course_runs_and_its_panels_follow(page, lab, course):
    assert EXPLORED in course
    lab.open(page, EXPLORED)
    lab.run_all(page, seconds=600)
    check_page(page)
    for panel in live_panels(page):
        check_panel(page, panel)
    check_page(page)


def test_a_fresh_clone_of_the_course_shows_its_pictures(page, lab, course):
    with_panels = [name for name in course if saved_panels(lab.folder / name)]
    assert EXPLORED in with_panels
    for name in with_panels:
        check_static(page, lab, name)
