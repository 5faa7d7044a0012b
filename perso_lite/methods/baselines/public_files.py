"""Files that other tools wrote: read without running code, and recognized by content.

Names tell little: diffusers' script for Custom Diffusion writes safetensors files that
end in `.bin`. So what a file holds decides, first of its bytes, then of its tensors.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.files.reading import existing_file, read_pickled
from perso_lite.files.tensors import HASH_KEY, read_safetensors

CUSTOM_DIFFUSION_FILES, LORA_FILES, WORD_FILES = (
    (f"{name}.safetensors", f"{name}.bin")
    for name in (
        "pytorch_custom_diffusion_weights",
        "pytorch_lora_weights",
        "learned_embeds",
    )
)
ADAPTER_FILE = "adapter_model.safetensors"  # of peft
LORA_PARTS = (".lora_A.", ".lora_down.", ".lora.down.", "_lora.down.", "_layer.down.")


def read_content(path: str | Path) -> tuple[Any, dict[str, str]]:
    """What a safetensors file or a pickle of plain tensors holds, and its header.

    Raises:
        PersoError: there is no such file, it is cut short, or holds more than tensors.
    """
    path = existing_file(path)
    with open(path, "rb") as file:
        start = file.read(9)  # of safetensors: a length in 8 bytes, then JSON
    if path.suffix == ".safetensors" or start[8:] == b"{":
        return read_safetensors(path)
    return read_pickled(path), {}


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


def reader_of(path: str | Path) -> str | None:
    """Who reads a file or folder of another tool: the class and its method, or None.

    Raises:
        PersoError: as `read_content`.
    """
    folders = (Path(path), Path(path) / "text_encoder")
    if any(os.path.isfile(folder / ADAPTER_FILE) for folder in folders):
        return "TextBoost.from_released"
    names = (*CUSTOM_DIFFUSION_FILES, *LORA_FILES, *WORD_FILES)
    content, header = read_content(weights_file(path, names))
    if HASH_KEY in header or not isinstance(content, dict):
        return None
    names = [name for name in content if isinstance(name, str)]
    if any("_custom_diffusion." in name for name in names):
        return "CustomDiffusion.from_custom_diffusion_weights"
    if any(part in name for name in names for part in LORA_PARTS):
        return "DreamBoothLoRA.from_lora_weights"
    (*_, last) = content.values() or [None]
    one_word = len(content) == 1 and isinstance(last, Tensor) and last.ndim <= 2
    if one_word or "string_to_param" in content:
        return "TextualInversion.from_learned_embeds"
    return None
