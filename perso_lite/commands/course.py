"""python -m perso_lite course: notebooks for learners and lecturers, and a site."""

from pathlib import Path

from perso_lite.teaching.course.folders import course_notebooks, write_course


def course(out: Path) -> None:
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
