"""The three folders made of the course: for learners, for lecturers, and a site."""

import json
import os
from pathlib import Path

from perso_lite.errors import PersoError
from perso_lite.files import DATA_FOLDER
from perso_lite.files.reading import read_json
from perso_lite.files.writing import folder_written_whole
from perso_lite.teaching.course.copies import (
    Notebook,
    learner_copy,
    lecturer_copy,
    markdown_changed,
    with_links,
)
from perso_lite.teaching.course.site import address_in_repository, write_site

ROOT = DATA_FOLDER.parent
FOLDERS = ("learner", "lecturer", "site")


def course_notebooks(root: Path = ROOT) -> dict[str, Notebook]:
    """The notebooks of the course by file name, in order, without drafts (_...).

    Raises:
        PersoError: there are none, or one is damaged.
    """
    files = sorted((root / "notebooks").glob("[!_]*.ipynb"))
    if not files:
        raise PersoError(
            f"There are no notebooks in {root / 'notebooks'}: they are in a clone of "
            "the project, not in an installed package. Clone it, and "
            "`pip install -e .` there."
        )
    return {file.name: read_json(file, dict) for file in files}


def write_course(out: str | Path, root: Path = ROOT) -> None:
    """Write `learner/`, `lecturer/` and `site/` into a folder, all or nothing.

    Nothing is run: outputs are those in the notebooks' files. An earlier course in that
    folder is replaced.

    Args:
        out: the folder.
        root: of the project.

    Raises:
        PersoError: the folder holds something else, there are no notebooks, one cannot
            be made into a learner's, or nothing can be written.
    """
    out = Path(out)
    refuse_other_contents(out)
    notebooks = course_notebooks(root)
    kinds = {"learner": learner_copy, "lecturer": lecturer_copy}
    with folder_written_whole(out) as folder:
        for kind, copied in kinds.items():
            (folder / kind).mkdir()
            for name, notebook in notebooks.items():
                made = links_to_the_project(copied(notebook), root)
                text = json.dumps(made, ensure_ascii=False, indent=1) + "\n"
                (folder / kind / name).write_text(text, "utf-8")
        write_site(root, notebooks, folder / "site")


def make_course(out: Path) -> None:
    """Write the course's three folders, and say what to do with them.

    Args:
        out: folder; an earlier course there is replaced.

    Raises:
        PersoError: it holds other things or cannot be written, or this is no clone.
    """
    write_course(out)
    print(
        f"{len(course_notebooks())} notebooks, nothing was run\n"
        f"{out / 'learner'}   without solutions, outputs and notes for lecturers\n"
        f"{out / 'lecturer'}  with all of it, unfolded\n"
        f"{out / 'site'}      build with  jupyter-book build {out / 'site'}"
    )


def refuse_other_contents(out: Path) -> None:
    """Refuse to replace a folder that holds anything but an earlier course.

    Raises:
        PersoError: it does, or it is a file.
    """
    if os.path.isfile(out):
        raise PersoError(f"{out} is a file; give the name of a folder.")
    if os.path.isdir(out):
        others = sorted(set(os.listdir(out)) - set(FOLDERS))
        if others:
            raise PersoError(
                f"{out} holds other things than a course, for example {others[0]}, and "
                "would be replaced. Give a new folder, for example course."
            )


def links_to_the_project(notebook: Notebook, root: Path) -> Notebook:
    """A notebook that leads out of its folder to where the project lives."""

    def place(target: str) -> str:
        file = Path(os.path.normpath(root / "notebooks" / target))
        outside = file.parent != root / "notebooks" and file.is_relative_to(root)
        if ":" in target or not outside or not file.exists():
            return target
        return address_in_repository(root, file)

    return markdown_changed(notebook, lambda text: with_links(text, place))
