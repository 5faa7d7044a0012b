"""The source of a searchable site of the course, for Jupyter Book 1.

The site has the folders of the repository, so links between its pages are as they were.
What is no page and no picture is linked to where the project lives.
"""

import json
import os
import re
import shutil
from pathlib import Path, PurePosixPath

from perso_lite.teaching.course.copies import (
    BADGE,
    Notebook,
    markdown_changed,
    with_links,
)

# page in the repository -> page of the site, after the notebooks, by part
PARTS = {
    "Teaching": {"notebooks/README.md": "notebooks/teaching.md"},
    "Library": {
        "notebooks/LIBRARY.md": "notebooks/library.md",
        "perso_lite/methods/README.md": "perso_lite/methods/add_a_method.md",
    },
    "Measurements": {
        "data/README.md": "data/measurements.md",
        "data/PROVENANCE.md": "data/provenance.md",
    },
}
PAGES = {"README.md": "index.md"}
for _part in PARTS.values():
    PAGES |= _part
# where a page's own heading says too little in the table of contents
TITLES = {"data/provenance.md": "Where the data comes from"}
PICTURES = (".png", ".svg", ".jpg", ".gif")
BRANCH = "main"

CONFIG = """\
# Made by `python -m perso_lite course`; build with `jupyter-book build` on this folder.
title: perso_lite
author: perso_lite contributors
copyright: "MIT license"
logo: ""
only_build_toc_files: true
execute:
  execute_notebooks: "off"
repository:
  url: {repository}
  branch: {branch}
launch_buttons:
  colab_url: https://colab.research.google.com
html:
  use_repository_button: true
  use_issues_button: true
sphinx:
  config:
    myst_heading_anchors: 4
"""
STYLE = """\
/* folded hints, solutions and notes for lecturers */
details {
  border: 1px solid var(--pst-color-border);
  border-left: 0.25rem solid var(--pst-color-primary);
  border-radius: 0.25rem;
  margin: 0.75rem 0;
  padding: 0.5rem 1rem;
}
details > summary { cursor: pointer; font-weight: 600; }
details[open] > summary { margin-bottom: 0.5rem; }
/* a cell's lines have up to 88 columns, and should be read without scrolling */
div.highlight pre, .cell_output pre { font-size: 0.78rem; }
.cell_output img { max-width: 100%; height: auto; }
/* a wide page has the search field in its sidebar already */
@media (min-width: 992px) {
  html { --pst-header-height: 0rem; }
  .bd-header { display: none; }
}
"""


def repository_url(root: Path) -> str:
    """Where the project lives, from its pyproject.toml."""
    project = (root / "pyproject.toml").read_text("utf-8")
    return re.search(r'^Repository = "(.+)"$', project, re.MULTILINE)[1]


def address_in_repository(root: Path, file: Path) -> str:
    """The address of a file or folder of the project on its site."""
    kind = "tree" if file.is_dir() else "blob"
    return f"{repository_url(root)}/{kind}/{BRANCH}/{file.relative_to(root).as_posix()}"


def write_site(root: Path, notebooks: dict[str, Notebook], folder: Path) -> None:
    """Write the source of the site.

    Args:
        root: of the project.
        notebooks: by file name.
        folder: of the site; made here.

    Raises:
        OSError: something cannot be written.
    """
    pages = PAGES | {f"notebooks/{name}": f"notebooks/{name}" for name in notebooks}
    for page in PAGES:
        text = (root / page).read_text("utf-8")
        _write(folder / pages[page], _for_site(text, root, page, pages, folder))
    for name, notebook in notebooks.items():
        page = f"notebooks/{name}"
        changed = markdown_changed(
            notebook, lambda text, page=page: _for_site(text, root, page, pages, folder)
        )
        _write(folder / page, json.dumps(changed, ensure_ascii=False, indent=1) + "\n")
    config = CONFIG.format(repository=repository_url(root), branch=BRANCH)
    _write(folder / "_config.yml", config)
    _write(folder / "_toc.yml", table_of_contents(notebooks))
    _write(folder / "_static" / "course.css", STYLE)


def _for_site(
    text: str, root: Path, page: str, pages: dict[str, str], site: Path
) -> str:
    """A page's text with links that lead to places in the site; pictures are copied.

    A picture's badge would need the network, so badges become words.
    """
    here = (root / page).parent

    def place_in_site(place: str) -> str:
        file = Path(os.path.normpath(here / place))
        if ":" in place or not file.exists() or not file.is_relative_to(root):
            return place  # an address, or code that looks like a link
        path = file.relative_to(root).as_posix()
        if path in pages:
            start = PurePosixPath(pages[page]).parent
            return PurePosixPath(os.path.relpath(pages[path], start)).as_posix()
        if file.suffix in PICTURES:
            copied = site / path
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copied)
            return place
        return address_in_repository(root, file)

    return with_links(BADGE.sub(r"[Open in Colab](\g<address>)", text), place_in_site)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


def table_of_contents(notebooks: dict[str, Notebook]) -> str:
    """The file _toc.yml: all pages in order, in parts."""
    lines = ["format: jb-book", "root: index", "parts:", "- caption: Course"]
    lines += ["  chapters:"]
    names = [name.removesuffix(".ipynb") for name in notebooks]
    lines += [f"  - file: notebooks/{name}" for name in names]
    for caption, pages in PARTS.items():
        lines += [f"- caption: {caption}", "  chapters:"]
        for page in pages.values():
            lines += [f"  - file: {page.removesuffix('.md')}"]
            if page in TITLES:
                lines += [f"    title: {TITLES[page]}"]
    return "\n".join(lines) + "\n"
