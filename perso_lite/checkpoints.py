"""A training interrupted and taken up again, as if nothing had happened.

A checkpoint is a concept file that also holds the optimizer's moments and the state of
the generator everything random comes from.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perso_lite.errors import PersoError, check_whole, shortened
from perso_lite.files import parse_json, read_tensors, write_tensors
from perso_lite.method import Method


def save_checkpoint(
    path: str | Path,
    method: Method,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Write a concept file that also holds what `fit` needs to go on."""
    tensors = method.tensors()
    tensors["fit.generator"] = generator.get_state()
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"fit.optimizer.{index}.{key}"] = value
    write_tensors(path, tensors, method.header())


def load_checkpoint(
    path: str | Path,
    method: Method,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    record: dict[str, Any],
    allow_changes: bool = False,
) -> int:
    """Take up the state of `save_checkpoint`; returns the steps already done.

    Args:
        path: of the checkpoint.
        method: gets what was learned.
        optimizer: gets its moments.
        generator: gets its state.
        record: how the training goes on: concept, pictures, seed, batch size.
        allow_changes: whether the record may differ from the checkpoint's.

    Raises:
        PersoError: unreadable, no checkpoint, or of another method, base or setting,
            or of another training.
    """
    tensors, header = read_tensors(path)
    if "fit.generator" not in tensors:
        raise PersoError(
            f"{path} is a finished concept, not a checkpoint; it cannot be trained on."
        )
    mine, changing = method.header(), ("perso_lite.training", "perso_lite.libraries")
    for key in mine:
        if key not in changing and mine[key] != header.get(key):
            raise PersoError(
                f"{path} cannot be resumed: its {key.removeprefix('perso_lite.')} is "
                f"{header.get(key)}, yours is {mine[key]}. Use the settings it was "
                "started with, or start afresh without resume."
            )
    source = f"The entry training in the header of {path}"
    earlier = parse_json(header.get("perso_lite.training", ""), dict, source)
    changed = [key for key in record if earlier.get(key) != record[key]]
    if changed and not allow_changes:
        was, now = ({k: d.get(k) for k in changed} for d in (earlier, record))
        raise PersoError(
            f"{path} was begun with {_listed(was)}, but would go on with "
            f"{_listed(now)}. Give what it was begun with, or, if this is wanted, say "
            "allow_changes=True."
        )
    try:
        _take_up(tensors, method, optimizer, generator)
        check_whole("steps", earlier.get("steps"), 0)
    except Exception as reason:  # whatever tensors of other shapes may cause
        raise PersoError(
            f"{path} holds no state that this training can go on from "
            f"({shortened(reason)}). Start afresh without resume."
        ) from reason
    return earlier["steps"]


def _take_up(
    tensors: dict[str, Tensor],
    method: Method,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Give the tensors of a checkpoint to method, optimizer and generator."""
    saved = optimizer.state_dict()
    for key, value in tensors.items():
        if key.startswith("fit.optimizer."):
            index, name = key.removeprefix("fit.optimizer.").split(".", 1)
            saved["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(saved)
    prefix = f"{method.name}."
    method.load_state_dict(
        {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    )
    generator.set_state(tensors["fit.generator"])


def _listed(record: dict[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in record.items()
    )
