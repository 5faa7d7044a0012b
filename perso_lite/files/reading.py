"""Texts, JSON and plain tensors of others, read or refused in a sentence."""

import json
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from perso_lite.errors import PersoError, shortened


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


class StandIn:
    """In place of an object of another library: its attributes, and no code of it."""


def attributes_of(content: object) -> dict[str, Any]:
    """What a stand-in was pickled with; of a module, its parameters by name, too.

    Of a dictionary, that itself; of anything else, nothing.
    """
    if isinstance(content, dict):
        return content
    if not isinstance(content, StandIn):
        return {}
    parameters = vars(content).get("_parameters")
    return vars(content) | (parameters if isinstance(parameters, dict) else {})


def read_pickled(path: str | Path, stand_ins: Iterable[str] = ()) -> Any:
    """Read a `.bin` or `.pt` file of plain tensors, as public libraries give them out.

    Only tensors, numbers, strings and containers of them are read (PyTorch's
    `weights_only`): code in such a file is never run.

    Args:
        path: the file.
        stand_ins: full names of classes whose objects it may hold, too. They become
            `StandIn`s; nothing of those classes is imported or called.

    Raises:
        PersoError: there is no such file, or it holds anything else.
    """
    path = existing_file(path)
    allowed = [(StandIn, name) for name in stand_ins]
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of pickles; below says more
            torch.serialization.safe_globals(allowed),
        ):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as reason:  # whatever a damaged or hostile file may cause
        raise PersoError(
            f"{path} holds more than plain tensors, or is cut short, and is not read: "
            "opening it in full could run code. Ask for a .safetensors file, or "
            "convert it in a place that you trust."
        ) from reason
