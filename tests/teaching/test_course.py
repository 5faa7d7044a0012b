"""The copies for learners and lecturers, and the site, as `course` makes them."""

import ast
import json
import re
from pathlib import Path

import notebook_rules as rules
import pytest
import yaml

from perso_lite.__main__ import main
from perso_lite.errors import PersoError
from perso_lite.teaching.course.copies import (
    FOLDED,
    learner_copy,
    lecturer_copy,
    text_of,
    with_links,
    without_solution,
)
from perso_lite.teaching.course.exercises import Exercise, exercise_sheet, exercises
from perso_lite.teaching.course.folders import course_notebooks, write_course

NOTEBOOKS = course_notebooks()
each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)
SOLUTIONS = sorted((rules.ROOT / "perso_lite" / "teaching").rglob("solutions*.py"))


def bare(line):
    """A line of code or prose without its place and its comment."""
    return " ".join(line.partition("#")[0].split())


def lines_of_functions(file: Path) -> set[str]:
    """All lines in the bodies of a module's functions, without docstrings."""
    source = file.read_text()
    lines = source.splitlines()
    found = set()
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            for statement in function.body[1:]:
                found |= set(lines[statement.lineno - 1 : statement.end_lineno])
    return found


def secret_lines(notebook) -> set[str]:
    """What a learner must not read: bodies of solutions, and what is folded away."""
    lines = set().union(*map(lines_of_functions, SOLUTIONS))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for block in FOLDED.finditer(text_of(cell)):
                if block["summary"] not in ("Hint", "Glossary"):
                    lines |= set(block[0].splitlines())
    lines = {bare(line) for line in lines}
    # a signature is the exercise's own; short lines (a bracket, a fence) tell nothing
    return {line for line in lines if len(line) > 12 and not line.startswith("def ")}


def own_lesson(notebook) -> set[str]:
    """Lines that the lesson itself shows, in code cells that are no exercises."""
    return {
        bare(line)
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and "solutions." not in text_of(cell)
        for line in text_of(cell).splitlines()
    }


@each_notebook
def test_no_solution_output_or_note_for_lecturers_is_in_a_learners_copy(name):
    original = NOTEBOOKS[name]
    secret, lesson = secret_lines(original), own_lesson(original)
    copied = learner_copy(original)
    for cell in copied["cells"]:
        text = text_of(cell)
        lines = {bare(line) for line in text.splitlines()}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            assert not re.search(r"\bsolutions\b", text)
            lines -= lesson
        assert lines & secret == set()
    summaries = re.findall(r"<summary>(.*?)</summary>", json.dumps(copied))
    assert set(summaries) <= {"Hint", "Glossary"}
    assert rules.COLAB_SITE not in "".join(map(text_of, copied["cells"]))


def test_the_search_for_leaks_finds_each_kind():
    """The originals leak, each in the way that the test above looks for."""
    original = NOTEBOOKS["04_perfusion.ipynb"]
    secret = secret_lines(original)
    assert "return states - shares[..., None] * target_input" in secret
    prose = "\n".join(
        text_of(cell) for cell in original["cells"] if cell["cell_type"] == "markdown"
    )
    found = {bare(line) for line in prose.splitlines()} & secret
    assert any("shares" in line for line in found)
    assert any(cell.get("outputs") for cell in original["cells"])


@each_notebook
def test_a_learners_copy_keeps_all_else(name):
    original, copied = NOTEBOOKS[name], learner_copy(NOTEBOOKS[name])
    hints = json.dumps(original).count("<summary>Hint</summary>")
    assert json.dumps(copied).count("<summary>Hint</summary>") == hints
    assert exercises(copied) == exercises(original)
    written = json.dumps(original).count("return solutions.")
    assert json.dumps(copied).count("raise NotImplementedError(") == written
    before, after = (
        [text_of(c) for c in n["cells"] if c["cell_type"] == "code"]
        for n in (original, copied)
    )
    assert len(before) == len(after)
    for source in after:
        ast.parse(source)
    same = [a == b for a, b in zip(before, after, strict=True) if "solutions" not in a]
    assert all(same)


@each_notebook
def test_a_lecturers_copy_is_the_notebook_unfolded(name):
    original, copied = NOTEBOOKS[name], lecturer_copy(NOTEBOOKS[name])
    assert "<details>" not in json.dumps(copied)
    folded = json.dumps(copied).replace("<details open>", "<details>")
    assert json.loads(folded) == original


def test_an_exercise_is_left_to_write():
    source = (
        "from perso_lite import check, solutions, tradeoff\n\n"
        "def f(x):\n    # Your code here: one line. Delete the line below when you "
        "start.\n    return solutions.f(\n        x\n    )\n\n"
        "y = solutions.g(1)\ncheck.f(f)"
    )
    assert without_solution(source) == (
        "from perso_lite import check, tradeoff\n\n"
        "def f(x):\n    # Your code here: one line.\n"
        '    raise NotImplementedError("your code here")\n\n'
        "y = ...  # your code\ncheck.f(f)"
    )


def test_a_solution_that_cannot_be_taken_out_is_refused():
    with pytest.raises(PersoError, match="uses a solution otherwise"):
        without_solution("print(solutions.f(1))")


def test_exercises_and_points():
    heading = "### Exercise 4.2  ★★☆  about 10 minutes"
    cells = [("markdown", heading), ("code", "def rest(x):\n    ...")]
    cells += [("markdown", "### Exercise 4.3  ★☆☆  about 5 minutes\n")]
    cells += [("code", "prediction = None")]
    notebook = {"cells": [{"cell_type": kind, "source": s} for kind, s in cells]}
    written = Exercise("4.2", "`rest`", 2, 10), Exercise("4.3", "a prediction", 1, 5)
    assert exercises(notebook) == list(written)
    assert exercise_sheet([notebook]).endswith("| all | | 3 | 15 | |")


def test_every_heading_of_an_exercise_is_read():
    for name, notebook in NOTEBOOKS.items():
        prose = [text_of(c) for c in notebook["cells"] if c["cell_type"] == "markdown"]
        headings = sum(len(re.findall(r"^#+ Exercise ", t, re.M)) for t in prose)
        assert len(exercises(notebook)) == headings, name


def test_links_change_and_headings_stay():
    text = "[a](x.md#top), `b`, ![c](y.png), [d](#here)"
    assert with_links(text, str.upper) == "[a](X.MD#top), `b`, ![c](Y.PNG), [d](#here)"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The three folders, written by the command line."""
    out = tmp_path_factory.mktemp("course") / "out"
    assert main(["course", "--out", str(out)]) == 0
    return out


def test_three_folders_with_every_notebook_and_no_draft(written):
    assert sorted(p.name for p in written.iterdir()) == ["learner", "lecturer", "site"]
    for folder in ("learner", "lecturer", "site/notebooks"):
        names = {path.name for path in (written / folder).glob("*.ipynb")}
        assert names == set(NOTEBOOKS)
        assert not any(name.startswith("_") for name in names)


def test_the_learners_files_are_the_learners_copies(written):
    for name, notebook in NOTEBOOKS.items():
        read = json.loads((written / "learner" / name).read_text())
        code = [c for c in read["cells"] if c["cell_type"] == "code"]
        made = learner_copy(notebook)["cells"]
        assert code == [c for c in made if c["cell_type"] == "code"]


def test_pages_of_the_site_are_in_its_contents_and_lead_somewhere(written):
    site = written / "site"
    contents = yaml.safe_load((site / "_toc.yml").read_text())
    files = [contents["root"]]
    files += [page["file"] for part in contents["parts"] for page in part["chapters"]]
    pages = [p for p in site.rglob("*") if p.suffix in (".md", ".ipynb")]
    assert sorted(files) == sorted(
        p.relative_to(site).with_suffix("").as_posix() for p in pages
    )
    config = yaml.safe_load((site / "_config.yml").read_text())
    assert config["execute"]["execute_notebooks"] == "off"
    assert config["repository"]["url"] == rules.REPOSITORY
    for page in pages:
        text = page.read_text()
        if page.suffix == ".ipynb":
            text = rules.markdown(rules.read(page))
        assert "colab-badge.svg" not in text
        # addresses of our repository count as files of the project
        for target in rules.link_targets(text):
            place = target.partition("#")[0]
            if place and ":" not in place:
                assert (page.parent / place).is_file(), f"{page}: {target}"
        links = [f"[a]({target})" for target in rules.link_targets(text) if
                 target.startswith(rules.REPOSITORY)]  # fmt: skip
        assert rules.broken_links("\n".join(links), site, rules.ROOT) == []


def test_an_earlier_course_is_replaced_and_anything_else_is_kept(tmp_path, capsys):
    out = tmp_path / "out"
    (out / "learner").mkdir(parents=True)
    (out / "learner" / "old.ipynb").write_text("{}")
    write_course(out)
    assert not (out / "learner" / "old.ipynb").exists()
    (out / "thesis.txt").write_text("years of work")
    assert main(["course", "--out", str(out)]) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert (out / "thesis.txt").read_text() == "years of work"
    file = tmp_path / "a file"
    file.touch()
    assert main(["course", "--out", str(file)]) == 2


def test_without_notebooks_there_is_no_course_and_nothing_is_written(tmp_path):
    with pytest.raises(PersoError, match="in a clone of the project"):
        write_course(tmp_path / "out", root=tmp_path)
    assert not (tmp_path / "out").exists()
