"""The notebooks as files: every rule, and every rule caught sleeping."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import notebook_rules as rules
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval.plugin import get_sanitize_patterns

each_notebook = pytest.mark.parametrize("path", rules.NOTEBOOKS, ids=lambda p: p.stem)


@each_notebook
def test_the_notebook_keeps_every_rule(path):
    said = rules.complaints(path)
    assert not said, "\n".join(said)


def has_pictures(notebook) -> bool:
    """Whether the notebook's page, as GitHub shows it, has pictures of outputs."""
    page, _ = HTMLExporter().from_notebook_node(notebook)
    return bool(re.search(r'<img\b[^>]+\bsrc="data:image/png;base64,', page))


@each_notebook
def test_the_notebook_becomes_a_page_with_pictures(path):
    assert has_pictures(rules.read(path))


def test_nbval_compares_most_of_what_is_printed(capsys):
    shares = {p.name: rules.share_compared(rules.read(p)) for p in rules.NOTEBOOKS}
    with capsys.disabled():
        for name, (compared, printing) in shares.items():
            print(f"\n{name}: nbval compares {compared} of {printing}", end="")
    assert all(compared for compared, _ in shares.values())


def test_the_course_is_numbered_without_a_gap():
    numbers = sorted({int(path.name[:2]) for path in rules.NOTEBOOKS})
    assert numbers == list(range(len(numbers))) != []


def test_the_readme_leads_to_places_that_exist_and_to_every_notebook():
    readme = (rules.ROOT / "README.md").read_text()
    assert rules.broken_links(readme, rules.ROOT, rules.ROOT) == []
    badges = [rules.badge_url(path) for path in rules.NOTEBOOKS]
    targets = rules.link_targets(readme)
    assert [url for url in badges if url not in targets] == []


def test_the_set_up_cell_clones_the_repository_of_the_project():
    assert f'url = "{rules.REPOSITORY}"\n' in rules.SETUP_CELL


# a course of two notebooks that keeps every rule

SOLUTION = '''\
def double(x: Number) -> Number:
    """Twice x."""
    return 2 * x
'''
LIBRARY = f'''\
"""A library of one formula and one class."""
from numbers import Number


{SOLUTION}

class Method:
    """Has a method."""

    def triple(self, x):
        """Three times x."""
        return 3 * x
'''
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
EXERCISE = f"""\
## Exercises

Double a number.

<details><summary>Solution</summary>

```python
{SOLUTION}```
</details>
"""
PROSE = "A sentence of prose says what the next cell does, and why it does so. "


def printing(source: str, text: str):
    return new_code_cell(source, outputs=[new_output("stream", text=text)])


def course_notebook(badge: str):
    """Fourteen cells; three of the five that print are really compared."""
    figure = {"text/plain": "<Figure size 640x480 with 1 Axes>", "image/png": PNG}
    key_lines = (
        "# the library's own lines: perso_lite/layers.py\n"
        "def triple(self, x):\n    return 3 * x"
    )
    cells = [
        new_markdown_cell(f"# A title\n\nOne sentence promises much.\n\n{badge}"),
        printing(rules.SETUP_CELL, "torch 2.6"),
        new_markdown_cell(f"## What you will see\n\n{PROSE * 3}"),
        new_code_cell("plot()", outputs=[new_output("display_data", figure)]),
        new_markdown_cell(f"## The method in twenty lines\n\n{PROSE * 3}"),
        new_code_cell(key_lines, metadata={"tags": ["key-lines"]}),
        new_markdown_cell(f"## A heading of its own\n\n{PROSE}"),
        printing("print('identity ≥ 0.80 ✓')", "identity ≥ 0.80 ✓\n"),
        printing("print('prompts ≥ 0.70 ✓')", "prompts ≥ 0.70 ✓\n"),
        new_markdown_cell(EXERCISE),
        printing("print(double(2))", "4\n"),
        new_markdown_cell(
            "![A drawing](figures/drawing.svg) and [top](#What-you-will-see)"
        ),
        new_code_cell("x = 3"),
        new_markdown_cell("## Go further\n\nGo on with [the second](01_second.ipynb)."),
    ]
    cells[1].metadata.tags = ["nbval-ignore-output"]
    code = [cell for cell in cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return new_notebook(cells=cells, metadata=metadata)


@pytest.fixture
def path(tmp_path):
    """Where the first of two notebooks lies, with a library beside them."""
    for folder in ("notebooks/figures", "perso_lite/teaching"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "notebooks/figures/drawing.svg").write_text("<svg/>")
    for name in ("layers.py", "teaching/solutions.py"):
        (tmp_path / "perso_lite" / name).write_text(LIBRARY)
    for name in ("00_first.ipynb", "01_second.ipynb"):
        url = f"{rules.COLAB}/blob/main/notebooks/{name}"
        icon = f"![Open in Colab]({rules.COLAB_SITE}assets/colab-badge.svg)"
        notebook = course_notebook(f"[{icon}]({url})")
        nbformat.write(notebook, tmp_path / "notebooks" / name)
    return tmp_path / "notebooks" / "00_first.ipynb"


def test_a_good_notebook_gives_no_cause_for_complaint(path):
    assert rules.complaints(path) == []
    assert rules.share_compared(rules.read(path)) == (3, 5)


def test_a_page_without_pictures_is_noticed(path):
    notebook = rules.read(path)
    assert has_pictures(notebook)
    notebook.cells[3].outputs = []
    assert not has_pictures(notebook)


# one notebook for everything a rule forbids

BROKEN: list[tuple[Callable, str, Callable]] = []


def breaks(rule: Callable, says: str) -> Callable[[Callable], Callable]:
    """The function below breaks a rule, which then says this."""

    def listed(damage: Callable) -> Callable:
        BROKEN.append((rule, says, damage))
        return damage

    return listed


@breaks(rules.short_cells, "Cell 4 has 21 lines")
def a_long_cell(notebook):
    notebook.cells[3].source = "\n\n".join("plot()" for _ in range(21))


@breaks(rules.short_cells, "11 lines or more")
def many_longish_cells(notebook):
    for _, cell in rules.numbered(notebook, "code"):
        cell.source = "\n".join("plot()" for _ in range(11))


@breaks(rules.short_cells, "61 cells; 60 are the most")
def too_many_cells(notebook):
    missing = 61 - len(notebook.cells)
    notebook.cells += [new_markdown_cell("More.") for _ in range(missing)]


@breaks(rules.narrow_lines, "Cell 4 has a line of 89 columns")
def a_wide_line(notebook):
    notebook.cells[3].source = "x" * 89


@breaks(rules.prose_between_code, "Cells 2 to 4 are all code")
def three_code_cells_in_a_row(notebook):
    notebook.cells[2] = new_code_cell("x = 1")


@breaks(rules.enough_prose, "words for")
def next_to_no_prose(notebook):
    for _, cell in rules.numbered(notebook, "markdown"):
        cell.source = f"```\n{PROSE * 30}\n```\n![](https://a.b/c) <!-- {PROSE * 9} -->"


@breaks(rules.enough_prose, "words for")
def a_whole_book(notebook):
    notebook.cells[2].source = PROSE * 100


@breaks(rules.no_embedded_pictures, "Cell 3 carries a picture")
def a_picture_in_the_text(notebook):
    notebook.cells[2].source = f"![](data:image/png;base64,{PNG})"


@breaks(rules.no_embedded_pictures, "Cell 3 carries a picture")
def a_picture_pasted_in(notebook):
    notebook.cells[2].attachments = {"a.png": {"image/png": PNG}}


@breaks(rules.any_device, "Cell 4 calls .cuda()")
def a_gpu_taken_for_granted(notebook):
    notebook.cells[3].source = "unet.cuda()"


@breaks(rules.no_last_semicolon, "Cell 4 ends in a semicolon")
def a_value_hushed_up(notebook):
    notebook.cells[3].source = "plot();  # not the value"


@breaks(rules.no_picture_twice, "Cell 4 shows a picture twice")
def a_figure_drawn_and_returned(notebook):
    notebook.cells[3].outputs *= 2


@breaks(rules.no_machine_paths, "Cell 4 names a place of one machine: /home/me")
def a_path_in_code(notebook):
    notebook.cells[3].source = "open('/home/me/a.png')"


@breaks(rules.no_machine_paths, "Cell 8 names a place of one machine: /tmp/x")
def a_path_in_an_output(notebook):
    notebook.cells[7].outputs[0].text = "saved in /tmp/x"


@breaks(rules.no_machine_paths, "Cell 4 names a place of one machine: /work/a")
def a_path_in_a_table(notebook):
    notebook.cells[3].outputs[0].data["text/html"] = "<td>/work/a</td>"


@breaks(rules.no_machine_paths, r"Cell 3 names a place of one machine: C:\Users")
def a_path_of_windows(notebook):
    notebook.cells[2].source = r"It is in C:\Users"


@breaks(rules.clean_run, "Execution counts are [None,")
def a_cell_not_run(notebook):
    notebook.cells[1].execution_count = None


@breaks(rules.clean_run, "Execution counts are [9,")
def a_cell_run_later(notebook):
    notebook.cells[1].execution_count = 9


@breaks(rules.plain_metadata, "kernelspec")
def no_kernelspec(notebook):
    del notebook.metadata["kernelspec"]


@breaks(rules.plain_metadata, "metadata.widgets")
def saved_widgets(notebook):
    notebook.metadata.widgets = {}


@breaks(rules.no_complaints_printed, "Cell 4 has stderr")
def a_warning(notebook):
    warning = new_output("stream", name="stderr", text="FutureWarning")
    notebook.cells[3].outputs.append(warning)


@breaks(rules.no_complaints_printed, "Cell 4 has error")
def an_error(notebook):
    notebook.cells[3].outputs.append(new_output("error", ename="E", evalue="e"))


@breaks(rules.only_setup_is_ignored, "Cell 4 is marked nbval-ignore-output")
def an_output_ignored(notebook):
    notebook.cells[3].metadata.tags = ["nbval-ignore-output"]


@breaks(rules.only_setup_is_ignored, "Cell 2 is marked nbval-skip")
def the_set_up_skipped(notebook):
    notebook.cells[1].metadata.tags = ["nbval-skip"]


@breaks(rules.only_setup_is_ignored, "Cell 4 is marked NBVAL_SKIP")
def a_comment_to_nbval(notebook):
    notebook.cells[3].source = "# NBVAL_SKIP\nplot()"


@breaks(rules.only_setup_is_ignored, "Cell 4 is marked raises-exception")
def an_error_expected(notebook):
    notebook.cells[3].metadata.tags = ["raises-exception"]


@breaks(rules.mostly_compared, "nbval compares 2 of 5")
def one_more_mere_picture(notebook):
    picture = {"text/plain": "<PIL.Image.Image image mode=RGB size=64x64>"}
    shown = new_output("execute_result", picture, execution_count=5)
    notebook.cells[7].outputs = [shown]


@breaks(rules.mostly_compared, "nbval compares 2 of 5")
def an_output_of_a_cell_not_run(notebook):
    notebook.cells[7].execution_count = None


@breaks(rules.mostly_compared, "nbval compares 0 of 0")
def nothing_printed_at_all(notebook):
    for _, cell in rules.numbered(notebook, "code"):
        cell.outputs = []


@breaks(rules.setup_comes_first, "The first code cell is not")
def another_set_up(notebook):
    notebook.cells[1].source += "\n"


@breaks(rules.setup_comes_first, "The first code cell is not")
def a_cell_before_the_set_up(notebook):
    notebook.cells.insert(1, new_code_cell("import torch"))


@breaks(rules.sections_in_order, "Sections are out of order: The method")
def sections_swapped(notebook):
    notebook.cells[2], notebook.cells[4] = notebook.cells[4], notebook.cells[2]


@breaks(
    rules.sections_in_order,
    "out of order: What you will see, The method in twenty lines, W",
)
def a_section_twice(notebook):
    notebook.cells[6].source = "## What you will see"


@breaks(rules.sections_in_order, 'should be "## The method in twenty lines"')
def a_section_misspelt(notebook):
    notebook.cells[4].source = "## The Method in Twenty Lines"


@breaks(rules.sections_in_order, '"### Exercises" should be "## Exercises"')
def a_section_too_deep(notebook):
    notebook.cells[9].source = "### Exercises"


@breaks(rules.title_promise_badge, "does not start with the title")
def no_title(notebook):
    notebook.cells[0].source = "Welcome!"


@breaks(rules.title_promise_badge, "not exactly one sentence")
def two_promises(notebook):
    notebook.cells[0].source += "\n\nThere is more. Much more."


@breaks(rules.title_promise_badge, "not exactly one sentence")
def no_promise(notebook):
    source = notebook.cells[0].source
    notebook.cells[0].source = source.replace("One sentence promises much.\n\n", "")


@breaks(rules.title_promise_badge, "The Colab badge does not lead to")
def a_badge_of_a_former_owner(notebook):
    cell = notebook.cells[0]
    cell.source = cell.source.replace("colab.research.google.com/github/", "x/y/")


@breaks(rules.title_promise_badge, "The Colab badge does not lead to")
def a_badge_of_another_notebook(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("00_first", "01_second")


@breaks(rules.leads_to_the_next, "does not link to 01_second.ipynb")
def no_way_on(notebook):
    notebook.cells[-1].source = "The end, said 01_second.ipynb."


@breaks(rules.links_lead_somewhere, "The link to figures/other.svg leads nowhere")
def a_missing_picture(notebook):
    notebook.cells[2].source = '<img src="figures/other.svg" width="50%">'


@breaks(rules.links_lead_somewhere, "The link to ../README.md leads nowhere")
def a_missing_file(notebook):
    notebook.cells[2].source = "As [we said](../README.md), and `[not](a-link)`."


@breaks(rules.links_lead_somewhere, "The link to #Nowhere leads nowhere")
def a_missing_section(notebook):
    notebook.cells[2].source += "See [below](#Nowhere)."


@breaks(rules.links_lead_somewhere, "main/setup.cfg leads nowhere")
def a_missing_file_of_the_repository(notebook):
    notebook.cells[2].source += f"See [it]({rules.REPOSITORY}/blob/main/setup.cfg)."


@breaks(rules.key_lines_are_the_librarys, "triple is not what layers.py has")
def key_lines_changed(notebook):
    cell = notebook.cells[5]
    cell.source = cell.source.replace("3 * x", "x * 3")


@breaks(rules.key_lines_are_the_librarys, "double_it is not what layers.py has")
def key_lines_renamed(notebook):
    cell = notebook.cells[5]
    cell.source = cell.source.replace("triple(self, x)", "double_it(x)")


@breaks(rules.key_lines_are_the_librarys, "defines nothing")
def key_lines_without_a_definition(notebook):
    cell = notebook.cells[5]
    cell.source = cell.source.partition("\n")[0] + "\nx = 3"


@breaks(rules.key_lines_are_the_librarys, "speaks of perso_lite/gone.py")
def key_lines_of_no_file(notebook):
    cell = notebook.cells[5]
    cell.source = cell.source.replace("layers", "gone")


@breaks(rules.key_lines_are_the_librarys, "Cell 6 needs both the tag")
def key_lines_without_their_tag(notebook):
    notebook.cells[5].metadata.tags = []


@breaks(rules.key_lines_are_the_librarys, "Cell 6 needs both the tag")
def key_lines_of_unknown_origin(notebook):
    notebook.cells[5].source = notebook.cells[5].source.partition("\n")[2]


@breaks(rules.key_lines_are_the_librarys, "no cell has the tag key-lines")
def a_method_without_key_lines(notebook):
    notebook.cells[5] = new_code_cell("x = 3")


@breaks(rules.solutions_are_the_librarys, "double is not what solutions.py has")
def a_wrong_solution(notebook):
    notebook.cells[9].source = EXERCISE.replace("2 * x", "x + x")


@breaks(rules.solutions_are_the_librarys, "does not run")
def a_solution_that_does_not_run(notebook):
    notebook.cells[9].source = EXERCISE.replace("x: Number", "x: Numbre")


@breaks(rules.solutions_are_the_librarys, "has no python block")
def a_solution_in_words(notebook):
    notebook.cells[9].source = EXERCISE.replace("```python", "```")


@pytest.mark.parametrize(
    ("rule", "says", "damage"), BROKEN, ids=[case[2].__name__ for case in BROKEN]
)
def test_a_notebook_that_breaks_a_rule_is_caught(rule, says, damage, path):
    notebook = rules.read(path)
    damage(notebook)
    said = rule(notebook) if rule in rules.RULES else rule(notebook, path)
    assert says in "\n".join(said)


def test_a_badly_named_and_a_heavy_file_are_caught(path):
    notebook = rules.read(path)
    assert rules.well_named(notebook, path.with_name("3_Perfusion.ipynb"))
    with open(path, "a") as file:
        file.write(" " * 1_500_000)
    assert "1.5 MB is the most" in rules.light_file(notebook, path)[0]


def test_every_rule_is_put_to_the_test():
    tried = {rule for rule, _, _ in BROKEN} | {rules.well_named, rules.light_file}
    assert tried == {*rules.RULES, *rules.FILE_RULES}


def test_what_only_looks_like_a_path_of_one_machine_is_allowed(path):
    notebook = rules.read(path)
    text = "See https://a.org/home/b, ../tmp/c, and/or/work. Plan A:\\n"
    notebook.cells[2].source = text
    assert rules.no_machine_paths(notebook) == []


def test_the_last_notebook_need_not_lead_anywhere(path):
    path = path.with_name("01_second.ipynb")
    notebook = rules.read(path)
    notebook.cells[-1].source = "The end."
    assert rules.leads_to_the_next(notebook, path) == []


def test_strict_comparison_overlooks_what_may_differ_and_nothing_else():
    patterns = get_sanitize_patterns(
        (Path(__file__).parents[1] / "nbval_sanitize.cfg").read_text()
    )

    def sanitized(text):
        for pattern, replacement in patterns:
            text = re.sub(pattern, replacement, text)
        return text

    assert sanitized("<Hook at 0x7f3a10b2c5d0>") == "<Hook at ADDRESS>"
    assert sanitized("took 12.5 s, then 3 minutes") == "took DURATION, then DURATION"
    assert sanitized("in /a/b-c/d.png, now") == "in PLACE, now"
    for text in (
        "identity ≥ 0.80 ✓ after 250 steps, 3 seeds and 1.5 sigma",
        "(2, 16, 8) and/or https://a.org/b/c, ../a/b, 0x1f",
    ):
        assert sanitized(text) == text


# the set-up cell under Colab's conditions

SESSION = """
import importlib.util, pathlib, subprocess, sys

# As on Colab, nothing is installed: hide what the environment knows of perso_lite.
editable = "_EditableFinder"
sys.meta_path = [f for f in sys.meta_path if getattr(f, "__name__", "") != editable]
sys.path = [p for p in sys.path if not (pathlib.Path(p) / "perso_lite").exists()]
assert importlib.util.find_spec("perso_lite") is None

clones, run = [], subprocess.run
subprocess.run = lambda command, **rest: clones.append(command) or run(command, **rest)
"""


def session(program: str, folder: Path, **environment: str) -> list[str]:
    """Run a program in a Python that has no perso_lite; what it prints last."""
    result = subprocess.run(
        [sys.executable, "-c", SESSION + program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1].split()


@pytest.fixture
def origin(tiny_folder, tmp_path):
    """A git repository of our library as it stands, with the tiny base as its own."""
    folder = tmp_path / "origin"
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(rules.ROOT / "perso_lite", folder / "perso_lite", ignore=unwanted)
    shutil.copytree(tiny_folder, folder / "data" / "base")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "All"]):
        subprocess.run(["git", "-C", folder, *command], check=True)
    return folder


@pytest.mark.slow
def test_the_set_up_cell_works_on_colab_and_runs_twice(origin, tmp_path):
    site, content = tmp_path / "site", tmp_path / "content"
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").touch()
    content.mkdir()
    cell = rules.SETUP_CELL.replace(rules.REPOSITORY, origin.as_uri())
    cell = cell.replace("/content", str(content))
    program = f"""
import google.colab
exec({cell!r})
after_one = len(clones)
exec({cell!r})
base = perso_lite.load_base()
print(after_one, len(clones), perso_lite.__file__, base.name_or_path)
"""
    home = content / "perso_lite"
    found = [str(home / "perso_lite" / "__init__.py"), str(home / "data" / "base")]
    assert session(program, content, PYTHONPATH=str(site)) == ["1", "1", *found]


def test_the_set_up_cell_elsewhere_finds_the_clone_it_lies_in(origin, tmp_path):
    (origin / "notebooks").mkdir()
    cell = rules.SETUP_CELL.replace("/content", str(tmp_path / "content"))
    cell = cell.removesuffix("perso_lite.setup(seed=0)")
    program = f"exec({cell!r})\nprint(len(clones), perso_lite.__file__)"
    found = session(program, origin / "notebooks")
    assert found == ["0", str(origin / "perso_lite" / "__init__.py")]
