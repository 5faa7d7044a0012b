"""One safetensors file per concept.

A file holds named tensors and a header of strings. The header carries a SHA-256
over itself and the tensors, so a truncated or altered file is noticed when it is
read. Nothing is ever unpickled.
"""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from perso_lite.errors import PersoError, shortened
from perso_lite.files.reading import existing_file
from perso_lite.files.writing import write_atomically

HASH_KEY = "perso_lite.sha256"


def content_hash(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    """SHA-256 over the header's entries and the tensors' names, shapes and bytes."""
    digest = hashlib.sha256()
    for key in sorted(header):
        digest.update(f"{key}={header[key]}\0".encode())
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_tensors(
    path: str | Path, tensors: dict[str, Tensor], header: dict[str, str]
) -> None:
    """Write tensors and header, with their hash, as one safetensors file.

    Raises:
        PersoError: `path` cannot be written, or the disk is full.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    header = header | {HASH_KEY: content_hash(tensors, header)}
    write_atomically(path, _ordered(save(tensors, metadata=header)))


def _ordered(payload: bytes) -> bytes:
    """A safetensors file with its header's strings in order of their names.

    The format leaves the order open, and the library writes another one every time:
    the same concept should give the same bytes.
    """
    end = 8 + int.from_bytes(payload[:8], "little")
    entries = json.loads(payload[8:end])
    entries["__metadata__"] = dict(sorted(entries["__metadata__"].items()))
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + payload[end:]


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read any safetensors file: tensors on the CPU, and the header (may be empty).

    Raises:
        PersoError: there is no such file, or it is not a whole safetensors file.
    """
    path = existing_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except Exception as reason:  # whatever a damaged or hostile file may cause
        raise PersoError(
            f"{path} is not a whole safetensors file ({shortened(reason)}); it was "
            "probably cut short while being copied. Copy it again or train the concept "
            "again."
        ) from reason


def is_ours(path: str | Path) -> bool:
    """Whether a file says that perso_lite wrote it, or cannot be read to its header.

    Only the header is read.
    """
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > os.path.getsize(path):
            return Path(path).suffix == ".safetensors"  # cut short, or no such file
        header = file.read(length)
    try:
        written = json.loads(header).get("__metadata__") or {}
        return any(key.startswith("perso_lite.") for key in written)
    except (ValueError, AttributeError, RecursionError):
        return Path(path).suffix == ".safetensors"


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file of `write_tensors` and check its hash.

    Returns:
        Tensors on the CPU, and the header without the hash.

    Raises:
        PersoError: no such file, cut short, not written by perso_lite, or altered.
    """
    tensors, header = read_safetensors(path)
    written_hash = header.pop(HASH_KEY, None)
    if written_hash is None:
        raise PersoError(
            f"{path} was not written by perso_lite. If it is a learned_embeds file, "
            "read it with TextualInversion.from_learned_embeds."
        )
    if written_hash != content_hash(tensors, header):
        raise PersoError(
            f"{path} was altered after it was written: its content does not match the "
            "hash in its header. Take an untouched copy or train the concept again."
        )
    return tensors, header


def check_numbers(path: str | Path, tensors: dict[str, Tensor]) -> None:
    """Refuse what was learned if it holds numbers that are not finite.

    Raises:
        PersoError: it does.
    """
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise PersoError(
                f"{path} holds numbers in {name} that are not finite, which would draw "
                "black pictures: its training went wrong. Ask for another file, or "
                "train again with a smaller learning rate."
            )
