"""One safetensors file per concept, written whole or not at all.

A file holds named tensors and a header of strings. The header carries a SHA-256
over itself and the tensors, so a truncated or altered file is noticed when it is
read. Nothing is ever unpickled.
"""

import hashlib
import json
import os
import secrets
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from perso_lite.errors import PersoError, shortened

DATA_FOLDER = Path(__file__).resolve().parents[1] / "data"
HASH_KEY = "perso_lite.sha256"
ABANDONED = 3600  # seconds after which half a file is taken for one of a killed process


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


def _not_writable(path: Path, reason: OSError) -> PersoError:
    return PersoError(
        f"{path} cannot be written ({reason.strerror or reason}); nothing was "
        "changed there. Choose a file in a folder you may write to, on a disk with "
        "free space."
    )


# os.path, and not Path, finds out what there is: it says no where a name is too long or
# a folder may not be read, and raises nothing.


def _target(path: str | Path) -> Path:
    """Where to write: a link is followed, a device or pipe is refused.

    Raises:
        PersoError: `path` is neither a file nor a folder, nor new.
    """
    path = Path(path)
    if os.path.islink(path):
        path = Path(os.path.realpath(path))
    known = os.path.isfile(path) or os.path.isdir(path)
    if os.path.exists(path) and not known:
        raise PersoError(
            f"{path} is a device or a pipe, which a file would replace; give the name "
            "of a file."
        )
    return path


def _beside(path: Path, ending: str = "partial") -> Path:
    """A new hidden name beside `path`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.{ending}")


def _remove_abandoned(path: Path) -> None:
    """Remove the halves of `path` that killed processes left."""
    for left in path.parent.glob(f".{path.name}.*.partial"):
        with suppress(FileNotFoundError):  # another process may finish it just now
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def write_atomically(path: str | Path, payload: bytes) -> None:
    """Write `payload` to `path`, whole or not at all.

    The bytes go to a temporary file beside it, which is then renamed in one step. If
    anything fails, an earlier file of that name is kept. A link stays a link.

    Raises:
        PersoError: `path` cannot be written, is no file, or the disk is full.
    """
    path = _target(path)
    partial = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        with open(partial, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as reason:
        raise _not_writable(path, reason) from reason
    finally:
        # after a success it is renamed already; after a failure it is half a file
        with suppress(OSError):
            partial.unlink()


@contextmanager
def folder_written_whole(folder: str | Path) -> Iterator[Path]:
    """Write a folder whole or not at all.

    An earlier folder of that name is replaced, contents and all; an exception inside
    leaves it as it was.

    Yields:
        An empty folder to fill. It is renamed to `folder` at the end.

    Raises:
        PersoError: it cannot be written, or the disk is full.
    """
    folder = _target(folder)
    partial, earlier = _beside(folder), _beside(folder, "earlier")
    try:
        _remove_abandoned(folder)
        partial.mkdir(parents=True)
        yield partial
        if os.path.exists(folder):
            folder.replace(earlier)  # a full folder cannot be replaced in one step
        try:
            partial.replace(folder)
        except BaseException:
            if earlier.exists():
                earlier.replace(folder)
            raise
    except OSError as reason:
        raise _not_writable(folder, reason) from reason
    finally:
        for rest in (partial, earlier):
            shutil.rmtree(rest, ignore_errors=True)


def restore_earlier(folder: str | Path) -> None:
    """Put a folder back that a process was killed while replacing, if there is one.

    Two renames exchange a folder, and a kill may fall between them: then the earlier
    one is whole, under another name.
    """
    folder = Path(folder)
    if not os.path.exists(folder):
        for earlier in sorted(folder.parent.glob(f".{folder.name}.*.earlier"))[:1]:
            earlier.replace(folder)


def check_writable(path: str | Path) -> None:
    """Check before a long training or drawing that its result can be written.

    Nothing is left there, and folders that are missing are made later.

    Raises:
        PersoError: `path` is a folder, a device or a pipe, or its parent cannot be made
            or written to.
    """
    path = _target(path)
    if os.path.isdir(path):
        raise PersoError(f"{path} is a folder; give the name of a file inside it.")
    probe = _beside(path)
    new = [place for place in path.parents if not os.path.exists(place)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as reason:
        raise _not_writable(path, reason) from reason
    finally:
        for place in new:  # the innermost first
            with suppress(OSError):
                place.rmdir()


def existing_file(path: str | Path) -> Path:
    """The path of a file to read; a device or pipe, which has no end, is refused.

    Raises:
        PersoError: there is no such file.
    """
    if os.path.isfile(path):
        return Path(path)
    kind = "a folder" if os.path.isdir(path) else "a device or a pipe"
    raise PersoError(
        f"{path} is {kind}; give the name of a file."
        if os.path.exists(path)
        else f"There is no file {path}; check the name and the folder."
    )


def read_text(path: str | Path) -> str:
    """Read a text file in UTF-8, with or without a byte-order mark.

    Raises:
        PersoError: there is no such file, or it is not such a text.
    """
    path = existing_file(path)
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as reason:
        raise PersoError(
            f"{path} cannot be read as text ({shortened(reason)}); save it as UTF-8, "
            "in a place that you may read."
        ) from reason


def parse_json(text: str, kind: type, source: object) -> Any:
    """The list or object that a JSON text holds.

    Args:
        text: to parse.
        kind: list or dict.
        source: where it is from, for the message.

    Raises:
        PersoError: it holds anything else, or is nested too deep.
    """
    wanted = "an object {...}" if kind is dict else "a list [...]"
    try:
        content = json.loads(text)
        if isinstance(content, kind):
            return content
        reason: object = f"it holds a {type(content).__name__}"
    except (ValueError, RecursionError) as error:
        reason = error
    raise PersoError(
        f"{source} cannot be read as JSON ({shortened(reason)}), but {wanted} is "
        "needed there. Repair it, or take an untouched copy."
    )


def read_json(path: str | Path, kind: type) -> Any:
    """Read a JSON file that holds a list or an object, which `kind` says.

    Raises:
        PersoError: there is no such file, or it holds anything else.
    """
    return parse_json(read_text(path), kind, path)


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


def read_pickled(path: str | Path) -> Any:
    """Read a `.bin` or `.pt` file of plain tensors, as public libraries give them out.

    Only tensors, numbers, strings and containers of them are read (PyTorch's
    `weights_only`): code in such a file is never run.

    Raises:
        PersoError: there is no such file, or it holds anything else.
    """
    path = existing_file(path)
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # of pickles; what follows says more
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as reason:  # whatever a damaged or hostile file may cause
        raise PersoError(
            f"{path} holds more than plain tensors, or is cut short, and is not read: "
            "opening it in full could run code. Ask for a .safetensors file, or "
            "convert it in a place that you trust."
        ) from reason
