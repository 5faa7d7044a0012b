"""python -m perso_lite convert: make a concept file of a file of another tool."""

import inspect
from pathlib import Path

from perso_lite.base import load_base
from perso_lite.errors import PersoError
from perso_lite.files.tensors import is_ours, read_tensors
from perso_lite.files.writing import check_writable
from perso_lite.methods import load_method, reader_of


def convert(
    file: Path,
    class_word: str,
    out: Path,
    placeholder_token: str | None = None,
    base: str | None = None,
    **of_one_format: str | int | None,
) -> None:
    """Recognize a file by its content, read it onto the base, and write our own.

    Args:
        file: of one of the formats in `methods/README.md`, or the folder that holds it.
        class_word: the everyday word for the concept.
        out: the file to write.
        placeholder_token: default: the word in the file, or if it names none the
            name of `out`.
        base: folder or hub id; default: the shipped base.
        of_one_format: other keyword arguments of its reader, or None.

    Raises:
        PersoError: the file is of another kind or of another base, its reader has no
            such argument, or `out` cannot be written.
    """
    if is_ours(file):
        read_tensors(file)  # a torn one is refused as such
        raise PersoError(
            f"{file} was written by perso_lite: it is read as it is, and need not be "
            "converted. Give a file of another tool."
        )
    if out.resolve() == file.resolve():
        raise PersoError(f"--out {out} is the file to convert; give another name.")
    check_writable(out)
    kind, found = reader_of(file)
    read = inspect.signature(getattr(kind, found.reader)).parameters
    chosen = {name: value for name, value in of_one_format.items() if value is not None}
    for name in chosen.keys() - read.keys():
        raise PersoError(
            f"--{name.replace('_', '-')} is not for this file, which is {found.title}; "
            "leave the option out."
        )
    if placeholder_token is None and read["placeholder_token"].default is not None:
        placeholder_token = f"<{'-'.join(out.stem.lower().split())}>"  # it has no name
    method = load_method(
        file, load_base(base), placeholder_token, class_word=class_word, **chosen
    )
    method.save(out)
    print(
        f"{file} is a concept of {method.name} now: {out}, "
        f"{out.stat().st_size:,} bytes\n"
        f"draw with  python -m perso_lite generate --concept {out} "
        f'--prompt "a photo of a {method.placeholder_token}" --out pictures'
    )
