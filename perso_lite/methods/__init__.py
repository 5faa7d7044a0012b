"""The methods by name, and the reader of the files they save."""

import json
from pathlib import Path

from diffusers import StableDiffusionPipeline

from perso_lite.base import base_name, fingerprint
from perso_lite.errors import PersoError
from perso_lite.files import read_tensors
from perso_lite.method import FORMAT_VERSION, Method
from perso_lite.methods.textual_inversion import TextualInversion

METHODS: dict[str, type[Method]] = {TextualInversion.name: TextualInversion}


def load_method(
    path: str | Path,
    base: StableDiffusionPipeline,
    placeholder_token: str | None = None,
) -> Method:
    """Read a concept file onto the base it was trained on.

    Args:
        path: a file of `Method.save`, or a checkpoint of `fit`.
        base: the pipeline to attach it to later.
        placeholder_token: another name for the concept, for example when two files
            use the same; default: the name in the file.

    Raises:
        PersoError: unreadable, altered, of an unknown method or version, or of
            another base.
    """
    tensors, header = read_tensors(path)
    name = header["perso_lite.method"]
    if name not in METHODS or header["perso_lite.format_version"] != FORMAT_VERSION:
        raise PersoError(
            f"{path} holds the method {name} in format version "
            f"{header['perso_lite.format_version']}; this perso_lite reads version "
            f"{FORMAT_VERSION} of {', '.join(METHODS)}. Install a newer perso_lite."
        )
    if header["perso_lite.base_fingerprint"] != fingerprint(base):
        raise PersoError(
            f"{path} was trained on the base {header['perso_lite.base']} "
            f"({header['perso_lite.base_fingerprint']}), not on {base_name(base)} "
            f"({fingerprint(base)}); it means nothing there. Load that base, or train "
            "the concept again on this one."
        )
    method = METHODS[name](
        base,
        header["perso_lite.class_word"],
        placeholder_token or header["perso_lite.placeholder_token"],
        **json.loads(header["perso_lite.settings"]),
    )
    prefix = f"{name}."
    learned = {
        key.removeprefix(prefix): value
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    method.load_state_dict(learned)
    method.training_record = json.loads(header["perso_lite.training"])
    return method
