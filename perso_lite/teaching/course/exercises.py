"""The exercises of the notebooks, and a sheet of them with points."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from perso_lite.teaching.course.copies import FOLDED, Notebook, text_of

# ### Exercise 4.2  ★★☆  about 10 minutes
HEADING = re.compile(
    r"^### Exercise (\d+\w*\.\d+) +(★+)☆* +about (\d+) minutes$", re.MULTILINE
)
PREDICTION = re.compile(r"^prediction = None", re.MULTILINE)
FUNCTION = re.compile(r"^def (\w+)\(", re.MULTILINE)


class Exercise(NamedTuple):
    """One exercise of a notebook."""

    number: str  # "4.2"
    task: str  # what is written or predicted
    points: int  # one a star
    minutes: int


def exercises(notebook: Notebook) -> list[Exercise]:
    """The exercises of a notebook, in order: a heading, and the code cell after it."""
    found, cells = [], notebook["cells"]
    for place, cell in enumerate(cells):
        if cell["cell_type"] != "markdown":
            continue
        for number, stars, minutes in HEADING.findall(FOLDED.sub("", text_of(cell))):
            code = next(
                (text_of(c) for c in cells[place + 1 :] if c["cell_type"] == "code"), ""
            )
            found.append(Exercise(number, _task(code), len(stars), int(minutes)))
    return found


def _task(code: str) -> str:
    if PREDICTION.search(code):
        return "a prediction"
    written = FUNCTION.search(code)
    return f"`{written[1]}`" if written else "free"


def exercise_sheet(notebooks: Iterable[Notebook]) -> str:
    """A table in markdown of all exercises, with points and sums."""
    rows = [exercise for notebook in notebooks for exercise in exercises(notebook)]
    lines = ["| exercise | to write | points | minutes | name, points reached |"]
    lines += ["|---|---|---|---|---|"]
    lines += [f"| {e.number} | {e.task} | {e.points} | {e.minutes} | |" for e in rows]
    points, minutes = sum(e.points for e in rows), sum(e.minutes for e in rows)
    return "\n".join([*lines, f"| all | | {points} | {minutes} | |"])
