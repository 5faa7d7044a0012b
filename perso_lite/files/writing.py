"""Files and folders, written whole or not at all."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perso_lite.errors import PersoError

ABANDONED = 3600  # seconds after which half a file is taken for one of a killed process


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
