"""python -m perso_lite convert: make a concept file of a file of another tool."""

import inspect
from pathlib import Path

from perso_lite.base import load_base
from perso_lite.errors import PersoError
from perso_lite.files.writing import check_writable
from perso_lite.methods import METHODS
from perso_lite.methods.baselines.public_files import reader_of


def convert(
    file: Path,
    class_word: str,
    out: Path,
    placeholder_token: str | None = None,
    base: str | None = None,
    **of_one_format: str | None,
) -> None:
    """Recognize a file by its content, read it onto the base, and write our own.

    Args:
        file: a learned word, a LoRA, or Custom Diffusion's weights; or their folder; or
            TextBoost's folder.
        class_word: the everyday word for the concept.
        out: the file to write.
        placeholder_token: default: the word in the file, or for a LoRA the name of
            `out`.
        base: folder or hub id; default: the shipped base.
        of_one_format: other keyword arguments of its reader, or None.

    Raises:
        PersoError: the file is of another kind or of another base, its reader has no
            such argument, or `out` cannot be written.
    """
    reader = reader_of(file)
    if reader is None:
        raise PersoError(
            f"{file} is none of the files that are converted: a learned word, a LoRA, "
            "or Custom Diffusion's weights, of other tools, and no folder of "
            "TextBoost's. Files of perso_lite are read as they are."
        )
    if out.resolve() == file.resolve():
        raise PersoError(f"--out {out} is the file to convert; give another name.")
    check_writable(out)
    kind, _, function = reader.partition(".")
    (read,) = (getattr(m, function) for m in METHODS.values() if m.__name__ == kind)
    chosen = {name: value for name, value in of_one_format.items() if value is not None}
    for name in chosen.keys() - inspect.signature(read).parameters.keys():
        raise PersoError(
            f"--{name.replace('_', '-')} is not for this file, which {reader} reads; "
            "leave the option out."
        )
    if kind == "DreamBoothLoRA" and placeholder_token is None:
        placeholder_token = f"<{'-'.join(out.stem.lower().split())}>"
    if placeholder_token is not None:
        chosen["placeholder_token"] = placeholder_token
    method = read(file, load_base(base), class_word, **chosen)
    method.save(out)
    print(
        f"{file} is a concept of {method.name} now: {out}, "
        f"{out.stat().st_size:,} bytes\n"
        f"draw with  python -m perso_lite generate --concept {out} "
        f'--prompt "a photo of a {method.placeholder_token}" --out pictures'
    )
