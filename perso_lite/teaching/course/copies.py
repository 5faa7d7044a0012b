"""The notebooks as learners get them, without solutions, and as lecturers do.

A notebook is its file as JSON gives it: a dictionary with a list of cells.
"""

import ast
import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

from perso_lite.errors import PersoError

Notebook = dict[str, Any]
FOLDED = re.compile(
    r"<details>\s*<summary>(?P<summary>.*?)</summary>.*?</details>\n*", re.DOTALL
)
# what learners keep is listed, so that a new kind of block does not leak by itself
FOR_LEARNERS = ("Hint", "Glossary")
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\((?P<address>[^)]*)\)")
LINK = re.compile(r"(?<=\]\()(?P<place>[^)#\s]+)(?P<heading>#[^)\s]*)?(?=\))")
IMPORT = re.compile(r"^(from perso_lite import .*), solutions\b", re.MULTILINE)
NOTE = (
    "*This is a learner's copy. The notebook has not been run, and its exercises have "
    "no solutions: each stops with `NotImplementedError` until you have written it.*"
)


def text_of(cell: dict[str, Any]) -> str:
    """The source of a cell, which a file holds as one text or as lines."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def with_text(cell: dict[str, Any], text: str) -> dict[str, Any]:
    """The cell with another source, in lines as Jupyter writes them."""
    return cell | {"source": text.splitlines(keepends=True)}


def with_links(text: str, new: Callable[[str], str]) -> str:
    """A markdown text whose links lead to `new(place)`; headings (#...) are kept."""
    return LINK.sub(lambda m: new(m["place"]) + (m["heading"] or ""), text)


def markdown_changed(notebook: Notebook, change: Callable[[str], str]) -> Notebook:
    """A copy of the notebook with `change` applied to each cell of prose."""
    changed = copy.deepcopy(notebook)
    changed["cells"] = [
        with_text(cell, change(text_of(cell)))
        if cell["cell_type"] == "markdown"
        else cell
        for cell in changed["cells"]
    ]
    return changed


def lecturer_copy(notebook: Notebook) -> Notebook:
    """The notebook with its solutions and notes for lecturers unfolded."""
    return markdown_changed(
        notebook, lambda text: text.replace("<details>", "<details open>")
    )


def learner_copy(notebook: Notebook) -> Notebook:
    """The notebook without outputs, solutions, reasons and notes for lecturers.

    Hints stay. An exercise's call of the solution becomes `raise NotImplementedError`.
    The Colab badge goes, too, as it leads to the notebook with its solutions.

    Raises:
        PersoError: a cell calls a solution where it cannot be taken out.
    """
    prose = markdown_changed(notebook, _for_learners)
    cells = []
    for cell in prose["cells"]:
        if cell["cell_type"] == "code":
            cell = with_text(cell, without_solution(text_of(cell)))
            cell |= {"outputs": [], "execution_count": None}
        if text_of(cell).strip():
            cells.append(cell)
    note = {"cell_type": "markdown", "metadata": {}, "source": [NOTE]}
    if notebook["nbformat_minor"] >= 5:  # from 4.5 on, cells have names
        note["id"] = "learners-copy"
    return prose | {"cells": [cells[0], note, *cells[1:]]}


def _for_learners(text: str) -> str:
    kept = FOLDED.sub(lambda m: m[0] if m["summary"] in FOR_LEARNERS else "", text)
    return BADGE.sub("", kept).rstrip() + "\n"


def without_solution(source: str) -> str:
    """A code cell whose calls of `solutions` are left to the learner to write.

    Raises:
        PersoError: a call is neither returned nor all of what a name is set to.
    """
    if not re.search(r"\bsolutions\b", source):
        return source
    lines = source.splitlines()
    for statement in reversed(list(_using_solutions(ast.parse(source)))):
        first, last = statement.lineno - 1, statement.end_lineno
        indent = " " * statement.col_offset
        if isinstance(statement, ast.Return):
            instead = f'{indent}raise NotImplementedError("your code here")'
        else:
            names = ast.unparse(statement.targets[0])
            instead = f"{indent}{names} = ...  # your code"
        lines[first:last] = [instead]
    source = "\n".join(lines).replace(" Delete the line below when you start.", "")
    source = IMPORT.sub(r"\1", source)
    if re.search(r"\bsolutions\b", source):
        raise PersoError(
            "A cell uses a solution otherwise than in `return solutions.name(...)` or "
            "`name = solutions.name(...)`, so the learner's copy would show it."
        )
    return source


def _using_solutions(tree: ast.Module) -> Iterator[ast.Return | ast.Assign]:
    """Statements that return, or set a name to, a call of a solution, in order."""
    found = []
    for statement in ast.walk(tree):
        if isinstance(statement, (ast.Return, ast.Assign)):
            call = statement.value
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                module = call.func.value
                if isinstance(module, ast.Name) and module.id == "solutions":
                    found.append(statement)
    yield from sorted(found, key=lambda statement: statement.lineno)
