"""What the pages for readers name is there: links, commands, code, exercises."""

import ast
import re
from functools import cache

import notebook_rules as rules
import pytest
from test_docs import DOCUMENTS, README, ROOT, TEACHING

import perso_lite
from perso_lite.__main__ import parser
from perso_lite.teaching.course.copies import text_of
from perso_lite.teaching.course.exercises import exercise_sheet
from perso_lite.teaching.course.folders import course_notebooks

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=str)
SOURCES = ("perso_lite/**/*.py", "tests/**/*.py", "perso_lite/*.pyi", "pyproject.toml")
SOURCES += (".ci/run", "data/results/*.json", "data/*/*.json", "*.cff")
# other programs' command lines, what a reader would bring, a letter of a formula
OTHERS = set("pip install jupyter lab book build launch accelerate photos mine theirs "
             "torch mask true false v_class".split())  # fmt: skip


@each_document
def test_links_lead_somewhere(document):
    broken = rules.broken_links(document.read_text(), document.parent, ROOT)
    assert broken == []


def code_in(text: str) -> list[str]:
    """What a page sets in backticks, within a line or as python and bash blocks."""
    blocks = re.findall(r"^```(?:python|bash)\n(.*?)^```$", text, re.M | re.S)
    without = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return blocks + re.findall(r"`([^`\n]+)`", without)


@each_document
def test_every_command_and_its_options_exist(document):
    top = parser()
    (commands,) = (
        a.choices for a in top._actions if hasattr(a, "choices") and a.choices
    )
    for code in code_in(document.read_text()):
        code = code.replace("\\\n", " ")
        for name, rest in re.findall(r"python -m perso_lite (\w+)(.*)", code):
            assert name in commands, code
            if name not in ("pretrain", "evaluate"):  # these have parsers of their own
                options = set(re.findall(r"--[\w-]+", rest.partition("&&")[0]))
                assert options <= set(commands[name]._option_string_actions), code


@cache
def words_of_the_project() -> set[str]:
    """Every name in the code, tests and results, and every file's name."""
    found = set()
    for pattern in SOURCES:
        for path in ROOT.glob(pattern):
            found |= set(re.findall(r"\w+", path.read_text("utf-8")))
    for notebook in course_notebooks().values():
        code = [text_of(c) for c in notebook["cells"] if c["cell_type"] == "code"]
        found |= set(re.findall(r"\w+", "\n".join(code)))
    for path in ROOT.glob("*/**/*"):
        found |= set(re.findall(r"\w+", path.name))
    return found


@each_document
def test_every_name_in_code_is_one_of_the_project(document):
    blocks = code_in(document.read_text())
    own = set()  # what a page's own examples define
    for block in blocks:
        try:
            tree = ast.parse(block)
        except SyntaxError:
            continue
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
        own |= {n.id for n in names if isinstance(n.ctx, ast.Store)}
    names = {w for block in blocks for w in re.findall(r"\b[A-Za-z_]\w{2,}", block)}
    unknown = names - words_of_the_project() - OTHERS - own
    assert unknown == set(), "not in the code, the tests or the data"


@each_document
def test_names_of_the_library_can_be_reached(document):
    dotted = re.findall(
        r"\bperso_lite((?:\.\w+)+)", "\n".join(code_in(document.read_text()))
    )
    for names in dotted:
        if names.endswith((".git", ".ipynb")):
            continue
        value, reached = perso_lite, "perso_lite"
        for name in names.strip(".").split("."):
            reached += f".{name}"
            try:
                value = getattr(value, name)
            except AttributeError:
                value = __import__(reached, fromlist=["_"])


def test_the_first_page_fits_a_screen():
    """Besides the table of notebooks, which grows with the course."""
    lines = [x for x in README.read_text().splitlines() if not x.startswith("| [")]
    assert len(lines) <= 80


def test_the_sheet_of_exercises_is_that_of_the_notebooks():
    sheet = exercise_sheet(course_notebooks().values())
    assert sheet in TEACHING.read_text(), f"put this into {TEACHING}:\n{sheet}"


def test_the_plans_name_notebooks_and_exercises_that_exist():
    numbers = {path.stem.partition("_")[0] for path in rules.NOTEBOOKS}
    text = TEACHING.read_text()
    sheet = exercise_sheet(course_notebooks().values())
    exercises = set(re.findall(r"^\| (\d+\.\d+) ", sheet, re.M))
    plans = text[text.index("## Three plans") : text.index("## Exercises")]
    assert set(re.findall(r"\b0\d[a-z]?\b", plans)) <= numbers
    named = set(re.findall(r"(?<![\d.])\d\.\d(?![\d.])", plans))
    assert named and named <= exercises
