"""Run notebooks from a clean CPU kernel and save them with their outputs.

    python tests/render_notebooks.py              all of them
    python tests/render_notebooks.py 03 04        those whose names start so, or files

Stops at the first cell that fails and leaves that notebook's file as it was.
"""

import argparse
import base64
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager
from notebook_rules import NOTEBOOKS, numbered, read, share_compared
from PIL import Image

from perso_lite.files.writing import write_atomically
from perso_lite.teaching.panel import WIDGET_VIEW

# what any Python 3 kernel may run; the patch version would change with the machine
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}

LARGE = 60_000  # characters of an encoded picture, from which on colors are dropped


def execute(
    notebook: NotebookNode,
    folder: Path,
    timeout: float,
    on_cell_start: Callable[..., None] | None = None,
) -> None:
    """Run every cell in a new kernel that works in `folder`, without GPU or network.

    It is the kernel nbval starts: this interpreter, whatever else is installed.

    Raises:
        CellExecutionError: a cell failed.
        CellTimeoutError: a cell took longer than `timeout` seconds.
        DeadKernelError: the kernel went away.
    """
    manager = AsyncKernelManager(
        kernel_name=CURRENT_ENV_KERNEL_NAME,
        kernel_spec_manager=NbvalKernelspecManager(),
    )
    client = NotebookClient(
        notebook,
        manager,
        timeout=timeout,
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
        on_cell_start=on_cell_start,
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    # what the kernel itself writes to its terminal is not part of the notebook
    client.execute(
        cleanup_kc=True, cwd=str(folder), env=environment, stderr=subprocess.DEVNULL
    )


def clean(notebook: NotebookNode) -> None:
    """Leave in the notebook only what a reader needs and every run gives again."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat_minor = 5  # the first with ids of cells
    for place, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{place:02}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            # A saved view names a widget of a kernel that is gone: viewers would look
            # for it in vain, and its random name differs every time.
            data.pop(WIDGET_VIEW, None)
            if "image/png" in data:
                data.pop("image/jpeg", None)  # a PIL picture comes as both
                data["image/png"] = smaller_png(data["image/png"])


def smaller_png(encoded: str) -> str:
    """The same picture in fewer bytes, in base64 as it came.

    An alpha channel that hides nothing is dropped, and up to 256 colors go into a
    palette. A large picture with more colors gets the nearest palette: no test compares
    its pixels, and a notebook with them all would be too large for GitHub.
    """
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):
        image = image.convert("RGB")
    if image.mode == "RGB" and image.getcolors(256):
        image = with_palette(image)
    elif image.mode == "RGB" and len(encoded) > LARGE:
        # with k-means: median cuts alone lose the colors of what is small
        image = image.quantize(256, kmeans=1, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    written = base64.b64encode(buffer.getvalue()).decode()
    return min(written, encoded.replace("\n", ""), key=len)


def with_palette(image: Image.Image) -> Image.Image:
    """An RGB picture of at most 256 colours as indices into a palette."""
    packed = np.asarray(image) @ np.array([1 << 16, 1 << 8, 1])  # (height, width)
    colours, indices = np.unique(packed, return_inverse=True)
    small = Image.fromarray(indices.reshape(packed.shape).astype(np.uint8))
    small.putpalette(
        [c >> shift & 255 for c in colours.tolist() for shift in (16, 8, 0)]
    )
    return small


def render(path: Path, timeout: float) -> list[str]:
    """Run the notebook at `path`, save it, and give its row of the table."""
    notebook, began, at = read(path), time.perf_counter(), {}
    try:
        execute(notebook, path.parent, timeout, lambda **cell: at.update(cell))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        place = at["cell_index"] + 1 if at else 1
        sys.exit(f"{path.name}, cell {place} of {len(notebook.cells)}:\n{error}")
    seconds = time.perf_counter() - began
    clean(notebook)
    nbformat.validate(notebook)
    write_atomically(path, (nbformat.writes(notebook) + "\n").encode())
    compared, printing = share_compared(notebook)
    share = f"{compared} of {printing}, {compared / max(printing, 1):.0%}"
    size = f"{path.stat().st_size / 1000:.0f}"
    return [
        path.name,
        f"{seconds:.0f}",
        size,
        f"{len(numbered(notebook, 'code'))}",
        share,
    ]


def chosen(names: list[str]) -> list[Path]:
    """The notebooks meant by names, beginnings of names or files; all if none."""
    paths = []
    for name in names:
        found = [path for path in NOTEBOOKS if path.name.startswith(name)]
        found = found or [path for path in [Path(name).resolve()] if path.is_file()]
        if not found:
            sys.exit(f"There is no notebook {name}.")
        paths += found
    return paths or NOTEBOOKS


def main() -> None:
    """Render what the command line names and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="such as 03, or a file; default: all")
    parser.add_argument(
        "--timeout", type=float, default=300, help="seconds a cell may take"
    )
    options = parser.parse_args()
    form = "{:32} {:>8} {:>6} {:>11}  {}"
    print(form.format("notebook", "seconds", "KB", "code cells", "printing, compared"))
    for path in chosen(options.names):
        print(form.format(*render(path, options.timeout)), flush=True)


if __name__ == "__main__":
    main()
