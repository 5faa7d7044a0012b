"""The files that the authors of CatVersion released."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.files.public import PublicFormat, names_in
from perso_lite.files.reading import read_pickled
from perso_lite.files.tensors import check_numbers

FILE = "pytorch_adapter.bin"


def is_adapter(content: Any) -> bool:
    """Whether a file holds one vector again and again, for layers that it names."""
    entries = list(content.values()) if isinstance(content, dict) else []
    if not any(".layers." in name for name in names_in(content)):
        return False
    if len(entries) < 2 or not all(isinstance(each, Tensor) for each in entries):
        return False
    first, *others = (entry.flatten() for entry in entries)
    return all(torch.equal(first, other) for other in others)


ADAPTER_FORMAT = PublicFormat(
    "CatVersion's adapter", is_adapter, reader="from_released", in_folder=(FILE,)
)


def released_prefix(path: str | Path) -> Tensor:
    """All numbers of a released file, in order [K9, V9, K10, V10, K11, V11].

    Such a file has four entries, for layers 9, 10 and 11 and for a pool, but all are
    one vector in one storage: each of them holds the numbers of all layers.

    Args:
        path: the file, or the folder that holds it.

    Returns:
        (numbers,) float32.

    Raises:
        PersoError: it is no such file.
    """
    path = Path(path)
    content = read_pickled(path / FILE if path.is_dir() else path)
    entries = list(content.values()) if isinstance(content, dict) else []
    if not entries or not all(isinstance(entry, Tensor) for entry in entries):
        raise PersoError(
            f"{path} is no {FILE} of CatVersion: it should hold the same vector for "
            "every layer. Files of perso_lite go through load_method."
        )
    first, *others = (entry.detach().float().flatten() for entry in entries)
    if not all(torch.equal(first, other) for other in others):
        raise PersoError(
            f"The entries of {path} differ, but those of a {FILE} of CatVersion are "
            "one and the same vector: it is the adapter of something else."
        )
    check_numbers(path, {"its vector": first})
    return first
