"""Files that other tools wrote: read without running code, and recognized by content.

Names tell little: diffusers' script for Custom Diffusion writes safetensors files that
end in `.bin`. So what a file holds decides, first of its bytes, then of its tensors.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.files.reading import existing_file, read_pickled
from perso_lite.files.tensors import read_safetensors

CUSTOM_DIFFUSION_FILES, LORA_FILES, WORD_FILES = (
    (f"{name}.safetensors", f"{name}.bin")
    for name in (
        "pytorch_custom_diffusion_weights",
        "pytorch_lora_weights",
        "learned_embeds",
    )
)


@dataclass(frozen=True)
class PublicFormat:
    """Files of another tool: how they are known, who reads and who writes them.

    Attributes:
        title: what it is, for people.
        is_this: whether what a file holds is of this format.
        reader: the class method that reads it.
        writer: the method that writes it; "" if none does.
        in_folder: patterns of the file's name, for a folder that holds it.
        only_in_folder: whether it is nothing without the files beside it.
        stand_ins: classes of objects that it holds beside tensors (`read_pickled`).
    """

    title: str
    is_this: Callable[[Any], bool]
    reader: str
    writer: str = ""
    in_folder: tuple[str, ...] = ()
    only_in_folder: bool = False
    stand_ins: tuple[str, ...] = ()


def names_in(content: Any) -> list[str]:
    """The names under which a file holds something."""
    named = content if isinstance(content, dict) else {}
    return [name for name in named if isinstance(name, str)]


def format_of(path: str | Path, formats: Iterable[PublicFormat]) -> PublicFormat | None:
    """The first format of which a file is, or the file of a folder.

    Raises:
        PersoError: as `read_content`.
    """
    path, formats = Path(path), list(formats)
    stand_ins = [name for each in formats for name in each.stand_ins]
    if not os.path.isdir(path):
        content, _ = read_content(path, stand_ins)
        alone = [each for each in formats if not each.only_in_folder]
        return next((each for each in alone if each.is_this(content)), None)
    for each in formats:
        for pattern in each.in_folder:
            for file in sorted(path.glob(pattern))[:1]:
                if each.is_this(read_content(file, stand_ins)[0]):
                    return each
    return None


def read_content(
    path: str | Path, stand_ins: Iterable[str] = ()
) -> tuple[Any, dict[str, str]]:
    """What a safetensors file or a pickle of plain tensors holds, and its header.

    Args:
        path: the file.
        stand_ins: see `read_pickled`.

    Raises:
        PersoError: there is no such file, it is cut short, or holds more than tensors.
    """
    path = existing_file(path)
    with open(path, "rb") as file:
        start = file.read(9)  # of safetensors: a length in 8 bytes, then JSON
    if path.suffix == ".safetensors" or start[8:] == b"{":
        return read_safetensors(path)
    return read_pickled(path, stand_ins), {}


def read_public_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Named tensors and the header; names without content are left out.

    Raises:
        PersoError: as `read_content`, or it holds anything but named tensors.
    """
    content, header = read_content(path)
    named = content if isinstance(content, dict) else {None: content}
    tensors = {
        name: value
        for name, value in named.items()
        if not (isinstance(value, dict | Tensor) and _is_empty(value))
    }
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise PersoError(
                f"{path} does not hold tensors by their names, as files of weights do; "
                "ask for a .safetensors file."
            )
    return tensors, header


def _is_empty(value: dict | Tensor) -> bool:
    return (value.numel() if isinstance(value, Tensor) else len(value)) == 0


def weights_file(path: str | Path, names: Sequence[str]) -> Path:
    """The file itself, or the first in a folder that has one of the names.

    Raises:
        PersoError: the folder has none.
    """
    path = Path(path)
    if not os.path.isdir(path):
        return path
    files = [path / name for name in names if os.path.isfile(path / name)]
    if not files:
        raise PersoError(
            f"There is no file in {path} with one of the names {', '.join(names)}; "
            "give the file itself."
        )
    return files[0]
