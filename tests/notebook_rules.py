"""What every notebook of the course keeps to.

Each rule is a function that returns a sentence for every place where it is broken,
and nothing where all is well. `RULES` look at the notebook alone; `FILE_RULES` also
need to know where it lies, with the library and the other notebooks around it.
`complaints(path)` puts them all to one file.
"""

import ast
import difflib
import re
import runpy
import statistics
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import nbformat
from nbformat import NotebookNode

from perso_lite.teaching.same_code import definitions

ROOT = Path(__file__).resolve().parents[1]
# drafts start with an underscore and are nobody's business
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
REPOSITORY = re.search(
    r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
)[1]
COLAB_SITE = "https://colab.research.google.com/"
COLAB = REPOSITORY.replace("https://github.com", f"{COLAB_SITE}github")

SETUP_CELL = """\
# Set-up. On Colab: downloads the course (20 s). Elsewhere: nothing. Safe to run twice.
import pathlib
import subprocess
import sys

url = "https://github.com/perso-lite/perso_lite"
home = pathlib.Path("/content/perso_lite")
if "google.colab" in sys.modules and not (home / "perso_lite").exists():
    subprocess.run(["git", "clone", "-q", "--depth", "1", url, str(home)], check=True)
sys.path.insert(0, str(home if home.exists() else pathlib.Path.cwd().parent))
import perso_lite

perso_lite.setup(seed=0)"""

SECTIONS = [
    "What you will see",
    "The idea in one picture",
    "The crude way",
    "The method in twenty lines",
    "Watch it work",
    "Does it matter?",
    "What the paper claims and what we measure",
    "Exercises",
    "What we left out",
    "Go further",
]
KEY_LINES = re.compile(r"# the library's own lines: (perso_lite/[\w/]+\.py)")
FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(
    r"\]\(\s*<?([^)\s>]+)>?[^)]*\)"  # [text](target "title"), and images
    r"|^\[[^\]]+\]:\s*(\S+)"  # [label]: target
    r"""|<(?:a|img)\b[^>]*?\b(?:href|src)=["']([^"']+)""",
    re.MULTILINE,
)
ABSOLUTE_PATH = re.compile(r"(?<![\w./])/(?:work|home|root|tmp|Users)\b|\b[CD]:\\")
PICTURE_REPR = re.compile(r"<(?:Figure size|PIL\.)[^\n]*>\s*")
SOLUTION = re.compile(
    r"<details>\s*<summary>Solution</summary>(.*?)</details>", re.DOTALL
)
PYTHON_BLOCK = re.compile(r"^ *```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def read(path: Path) -> NotebookNode:
    """The notebook as it stands in the file."""
    return nbformat.read(path, as_version=4)


def complaints(path: Path) -> list[str]:
    """What any rule has to say about the notebook at `path`."""
    notebook = read(path)
    return [said for rule in RULES for said in rule(notebook)] + [
        said for rule in FILE_RULES for said in rule(notebook, path)
    ]


def numbered(notebook: NotebookNode, kind: str) -> list[tuple[int, NotebookNode]]:
    """Cells of a kind with their place in the notebook, the first being 1."""
    cells = enumerate(notebook.cells, start=1)
    return [(place, cell) for place, cell in cells if cell.cell_type == kind]


def code_lines(cell: NotebookNode) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip()]


def markdown(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for _, cell in numbered(notebook, "markdown"))


def words_of_prose(text: str) -> int:
    """Words outside code blocks, formulas on their own, tags and link targets."""
    text = re.sub(r"\$\$.*?\$\$", "", FENCE.sub("", text), flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", "", re.sub(r"\]\([^)]*\)", "]", text))
    return sum(bool(re.search(r"[^\W\d_]", word)) for word in text.split())


def headings(notebook: NotebookNode) -> list[tuple[int, str]]:
    """Level and words of every heading."""
    text = FENCE.sub("", markdown(notebook))
    found = re.findall(r"^(#{1,6}) +(.+?) *$", text, re.MULTILINE)
    return [(len(signs), words) for signs, words in found]


def texts(cell: NotebookNode) -> Iterator[str]:
    """Everything in a cell's outputs that is text."""
    for output in cell.outputs:
        if output.output_type == "error":
            yield "\n".join(output.traceback)
        yield output.get("text", "")
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/") or kind == "image/svg+xml":
                yield data


# rules about the cells


def short_cells(notebook: NotebookNode) -> list[str]:
    cells = numbered(notebook, "code")
    lengths = [len(code_lines(cell)) for _, cell in cells]
    long = [
        f"Cell {place} has {length} lines of code; 20 is the most."
        for (place, _), length in zip(cells, lengths, strict=True)
        if length > 20
    ]
    if lengths and (median := statistics.median(lengths)) > 10:  # 8 is the aim
        long.append(f"Half the code cells have {median:g} lines or more; 10 may be.")
    if len(notebook.cells) > 60:
        long.append(f"{len(notebook.cells)} cells; 60 are the most: make an appendix.")
    return long


def narrow_lines(notebook: NotebookNode) -> list[str]:
    return [
        f"Cell {place} has a line of {len(line)} columns; 88 is the most: {line}"
        for place, cell in numbered(notebook, "code")
        for line in code_lines(cell)
        if len(line) > 88
    ]


def prose_between_code(notebook: NotebookNode) -> list[str]:
    kinds = [cell.cell_type for cell in notebook.cells]
    return [
        f"Cells {place} to {place + 2} are all code; two in a row are the most."
        for place in range(1, len(kinds) - 1)
        if kinds[place - 1 : place + 2] == ["code"] * 3
    ]


def enough_prose(notebook: NotebookNode) -> list[str]:
    lines = sum(len(code_lines(cell)) for _, cell in numbered(notebook, "code"))
    words = words_of_prose(markdown(notebook))
    if 4 * lines <= words <= 12 * lines:
        return []
    return [f"{words} words for {lines} lines of code; it should be 4 to 12 a line."]


def no_embedded_pictures(notebook: NotebookNode) -> list[str]:
    return [
        f"Cell {place} carries a picture in its text; link to a file instead."
        for place, cell in numbered(notebook, "markdown")
        if "data:image" in cell.source or cell.get("attachments")
    ]


def any_device(notebook: NotebookNode) -> list[str]:
    return [
        f"Cell {place} calls .cuda(), which fails where there is no GPU."
        for place, cell in numbered(notebook, "code")
        if ".cuda()" in cell.source
    ]


def no_last_semicolon(notebook: NotebookNode) -> list[str]:
    """Nbval runs cells without a history, so IPython does not see the semicolon."""
    return [
        f"Cell {place} ends in a semicolon, which nbval overlooks; assign to _ instead."
        for place, cell in numbered(notebook, "code")
        if re.search(r";\s*(#[^\n]*)?\Z", cell.source)
    ]


def no_picture_twice(notebook: NotebookNode) -> list[str]:
    found = []
    for place, cell in numbered(notebook, "code"):
        data = [output.get("data", {}).get("image/png") for output in cell.outputs]
        pictures = [picture for picture in data if picture]
        if len(set(pictures)) < len(pictures):
            found.append(
                f"Cell {place} shows a picture twice: a figure is drawn at the end of "
                "its cell, and once more as the last value; assign to _ instead."
            )
    return found


def no_machine_paths(notebook: NotebookNode) -> list[str]:
    found = []
    for place, cell in enumerate(notebook.cells, start=1):
        outputs = texts(cell) if cell.cell_type == "code" else ()
        for text in (cell.source, *outputs):
            found += [
                f"Cell {place} names a place of one machine: {text[at.start() :][:40]}"
                for at in ABSOLUTE_PATH.finditer(text)
            ]
    return found


# rules about a clean run


def clean_run(notebook: NotebookNode) -> list[str]:
    counts = [cell.execution_count for _, cell in numbered(notebook, "code")]
    if counts == list(range(1, len(counts) + 1)):
        return []
    return [f"Execution counts are {counts}; render the notebook from a clean kernel."]


def plain_metadata(notebook: NotebookNode) -> list[str]:
    found = []
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("The kernelspec is not python3; JupyterLab will ask for a kernel.")
    if "widgets" in notebook.metadata:
        found.append("metadata.widgets is saved; the notebook may not show on GitHub.")
    return found


def no_complaints_printed(notebook: NotebookNode) -> list[str]:
    return [
        f"Cell {place} has {kind} in its output."
        for place, cell in numbered(notebook, "code")
        for output in cell.outputs
        for kind in (output.output_type, output.get("name"))
        if kind in ("error", "stderr")
    ]


def nbval_marks(cell: NotebookNode) -> list[str]:
    """Tags and comments that change what nbval does with a cell."""
    tags = [str(tag) for tag in cell.metadata.get("tags", [])]
    marks = [t for t in tags if t.startswith("nbval") or t == "raises-exception"]
    return marks + re.findall(r"#\s*((?:NBVAL|PYTEST_VALIDATE)_\w+)", cell.source)


def only_setup_is_ignored(notebook: NotebookNode) -> list[str]:
    return [
        f"Cell {place} is marked {mark}; nbval may ignore only the set-up cell."
        for order, (place, cell) in enumerate(numbered(notebook, "code"))
        for mark in nbval_marks(cell)
        if (order, mark) != (0, "nbval-ignore-output")
    ]


def prints(cell: NotebookNode) -> bool:
    return any(text.strip() for text in texts(cell))


def is_compared(cell: NotebookNode) -> bool:
    """Whether nbval holds more than the size of a picture against a new run."""
    if cell.execution_count is None or nbval_marks(cell):
        return False
    said = [output.get("text", "") for output in cell.outputs]
    said += [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return any(text.strip() and not PICTURE_REPR.fullmatch(text) for text in said)


def share_compared(notebook: NotebookNode) -> tuple[int, int]:
    """How many cells nbval really compares, and how many print anything."""
    printing = [cell for _, cell in numbered(notebook, "code") if prints(cell)]
    return sum(map(is_compared, printing)), len(printing)


def mostly_compared(notebook: NotebookNode) -> list[str]:
    compared, printing = share_compared(notebook)
    if compared >= max(1, 0.6 * printing):
        return []
    return [f"nbval compares {compared} of {printing} printing cells; 60 % is least."]


# rules about the shape all notebooks share


def setup_comes_first(notebook: NotebookNode) -> list[str]:
    code = numbered(notebook, "code")
    if code and code[0][1].source == SETUP_CELL:
        return []
    return ["The first code cell is not SETUP_CELL of tests/notebook_rules.py."]


def sections_in_order(notebook: NotebookNode) -> list[str]:
    found, seen = [], []
    for level, words in headings(notebook):
        meant = difflib.get_close_matches(words, SECTIONS, n=1, cutoff=0.8)
        if meant and (level, words) != (2, meant[0]):
            found.append(f'"{"#" * level} {words}" should be "## {meant[0]}".')
        elif meant:
            seen.append(words)
    if seen != [name for name in SECTIONS if name in seen]:
        found.append(f"Sections are out of order: {', '.join(seen)}.")
    return found


RULES = [
    short_cells,
    narrow_lines,
    prose_between_code,
    enough_prose,
    no_embedded_pictures,
    any_device,
    no_last_semicolon,
    no_picture_twice,
    no_machine_paths,
    clean_run,
    plain_metadata,
    no_complaints_printed,
    only_setup_is_ignored,
    mostly_compared,
    setup_comes_first,
    sections_in_order,
]


# rules about the file and what lies around it


def well_named(notebook: NotebookNode, path: Path) -> list[str]:
    if re.fullmatch(r"\d\d[a-z]?_[a-z0-9_]+\.ipynb", path.name):
        return []
    return [f"{path.name} should be two digits and lower-case words: 03_a_name.ipynb."]


def light_file(notebook: NotebookNode, path: Path) -> list[str]:
    size = path.stat().st_size
    return [f"The file has {size:,} bytes; 1.5 MB is the most."] * (size >= 1_500_000)


def badge_url(path: Path) -> str:
    """Where Colab opens the notebook from the main branch."""
    return f"{COLAB}/blob/main/{path.parent.name}/{path.name}"


def title_promise_badge(notebook: NotebookNode, path: Path) -> list[str]:
    first, found = notebook.cells[0], []
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        return ["The first cell does not start with the title, # and its words."]
    blocks = [block.strip() for block in first.source.split("\n\n")[1:]]
    promises = [block for block in blocks if COLAB_SITE not in block]
    ends = re.findall(r"[.!?](?=\s|$)", " ".join(promises))
    if len(ends) != 1 or not promises[-1].endswith(ends[0]):
        found.append("The first cell holds not exactly one sentence besides its title.")
    badges = [url for url in link_targets(first.source) if url.startswith(COLAB_SITE)]
    if [url for url in badges if not url.endswith(".svg")] != [badge_url(path)]:
        found.append(f"The Colab badge does not lead to {badge_url(path)}.")
    return found


def leads_to_the_next(notebook: NotebookNode, path: Path) -> list[str]:
    later = [p for p in path.parent.glob("[0-9]*.ipynb") if p.name > path.name]
    last = notebook.cells[-1]
    if not later or (
        last.cell_type == "markdown" and min(later).name in link_targets(last.source)
    ):
        return []
    return [f"The last cell does not link to {min(later).name}."]


def link_targets(text: str) -> list[str]:
    """Where the links and pictures of a markdown text lead."""
    text = re.sub(r"`[^`\n]+`", "code", FENCE.sub("", text))
    return ["".join(groups) for groups in LINK.findall(text)]


def anchor(words: str) -> str:
    """A heading as an anchor, without what GitHub and Jupyter do differently."""
    return re.sub(r"[^\w-]", "", unquote(words).lower().replace(" ", "-"))


def broken_links(text: str, folder: Path, root: Path) -> list[str]:
    """Links of a markdown text in `folder` that lead nowhere, offline.

    Addresses of our own repository count as files under `root`.
    """
    ours = [f"{place}/main/" for place in (f"{REPOSITORY}/blob", f"{REPOSITORY}/tree")]
    ours += [f"{COLAB}/blob/main/"]
    names = re.findall(r"^#{1,6} +(.+?) *$", FENCE.sub("", text), re.MULTILINE)
    anchors, found = {anchor(name) for name in names}, []
    for target in link_targets(text):
        place, _, heading = target.partition("#")
        start = next((url for url in ours if place.startswith(url)), "")
        if place and (start or not re.match(r"\w+:", place)):
            base = root if start else folder
            exists = (base / unquote(place.removeprefix(start))).exists()
        else:
            exists = bool(place) or anchor(heading) in anchors
        if not exists:
            found.append(f"The link to {target} leads nowhere.")
    return found


def links_lead_somewhere(notebook: NotebookNode, path: Path) -> list[str]:
    return broken_links(markdown(notebook), path.parent, path.parents[1])


def difference(source: str, library: Path) -> list[str]:
    """What `source` defines otherwise than the library's file does.

    A function of the source may be a method in the library.
    """
    mine, theirs = definitions(source), definitions(library.read_text())
    if not mine:
        return [f"What should be a copy of {library.name} defines nothing."]
    found = []
    for name, code in mine.items():
        namesakes = [c for n, c in theirs.items() if f".{n}".endswith(f".{name}")]
        if ast.dump(code) not in map(ast.dump, namesakes):
            found.append(f"{name} is not what {library.name} has under that name.")
    return found


def key_lines_are_the_librarys(notebook: NotebookNode, path: Path) -> list[str]:
    found, shown = [], 0
    for place, cell in numbered(notebook, "code"):
        tagged = "key-lines" in cell.metadata.get("tags", [])
        said = KEY_LINES.fullmatch(cell.source.partition("\n")[0].rstrip())
        shown += tagged
        if tagged != bool(said):
            found.append(
                f"Cell {place} needs both the tag key-lines and the first line "
                "# the library's own lines: perso_lite/<file>.py, or neither."
            )
        elif said and not (path.parents[1] / said[1]).is_file():
            found.append(f"Cell {place} speaks of {said[1]}, which does not exist.")
        elif said:
            found += difference(cell.source, path.parents[1] / said[1])
    if not shown and (2, "The method in twenty lines") in headings(notebook):
        found.append("The method is announced, but no cell has the tag key-lines.")
    return found


def solutions_are_the_librarys(notebook: NotebookNode, path: Path) -> list[str]:
    folder, found = path.parents[1] / "perso_lite" / "teaching", []
    for solution in SOLUTION.findall(markdown(notebook)):
        if not (block := PYTHON_BLOCK.search(solution)):
            found.append("A folded solution has no python block.")
            continue
        try:
            exec(block[1], runpy.run_path(str(folder / "solutions.py")))
            files = sorted(folder.rglob("solutions*.py"))
            found += min((difference(block[1], file) for file in files), key=len)
        except Exception as error:
            found.append(f"A folded solution does not run: {error!r}.")
    return found


FILE_RULES = [
    well_named,
    light_file,
    title_promise_badge,
    leads_to_the_next,
    links_lead_somewhere,
    key_lines_are_the_librarys,
    solutions_are_the_librarys,
]
