"""A training begun, interrupted, and taken up again as if nothing had happened.

A checkpoint is a concept file that also holds the optimizer's moments and the state of
the generator everything random comes from. The learning rate follows from the number of
steps done.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from perso_lite.concepts import Concept
from perso_lite.errors import PersoError, check_finite, check_whole, shortened
from perso_lite.files.reading import parse_json
from perso_lite.files.tensors import read_tensors, write_tensors
from perso_lite.method import Method

SCHEDULES = ("constant", "linear", "cosine")  # of the learning rate
# of `fit` and `Concept`; a file older than one of these options does not say it
DEFAULTS = {
    "gradient_accumulation": 1,
    "flips": False,
    "crops": 0,
    "learning_rate_schedule": "constant",
    "warmup_steps": 0,
    "learnable_property": "object",
}


@dataclass
class TrainingState:
    """What changes from step to step, beside the method.

    Attributes:
        optimizer: of the method's parameter groups.
        schedule: of their learning rates.
        scaler: of the loss, for half precision.
        generator: of everything drawn at random, on the CPU.
        done: steps before it was begun or resumed.
    """

    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    scaler: torch.amp.GradScaler
    generator: torch.Generator
    done: int


def training_record(concept: Concept, steps: int, **options: Any) -> dict[str, Any]:
    """What a file says of its training: concept, pictures, and options of `fit`.

    Raises:
        PersoError: an option is out of its range.
    """
    record = {"concept": concept.name, "pictures": picture_hash(concept)} | DEFAULTS
    record |= {"learnable_property": concept.learnable_property, **options}
    check_whole("seed", record["seed"], 0, 2**64 - 1)
    least = {"batch_size": 1, "gradient_accumulation": 1, "crops": 0, "warmup_steps": 0}
    for name in least:
        check_whole(name, record[name], least[name])
    if (schedule := record["learning_rate_schedule"]) not in SCHEDULES:
        raise PersoError(
            f'learning_rate_schedule is "{schedule}"; choose from '
            f"{', '.join(SCHEDULES)}."
        )
    # a learning rate that falls depends on when it is to reach 0
    return record if schedule == "constant" else record | {"schedule_steps": steps}


def picture_hash(concept: Concept) -> str:
    """Sixteen hexadecimal digits that tell pictures and masks of concepts apart."""
    digest = hashlib.sha256()
    for image in (*concept.images, *concept.masks):
        digest.update(b"none" if image is None else image.tobytes())
    return digest.hexdigest()[:16]


def begin_training(
    method: Method,
    record: dict[str, Any],
    steps: int,
    resume: str | Path | None = None,
    allow_changes: bool = False,
) -> TrainingState:
    """Optimizer, learning rate and generator, new or those of a checkpoint.

    Args:
        method: what learns; gets what was learned before, and the record.
        record: of `training_record`.
        steps: optimizer steps altogether.
        resume: a checkpoint.
        allow_changes: whether the record may differ from the checkpoint's.

    Raises:
        PersoError: as for `load_checkpoint`, or a learning rate that is not a finite
            number.
    """
    base, done = method.base, 0
    method.to(base.device)
    groups = method.parameter_groups()
    for group in groups:
        check_finite("learning_rate", group["lr"], least=0)
    if any("learning_rate_schedule" in group for group in groups):
        record = record | {"schedule_steps": steps}
    optimizer = torch.optim.AdamW(groups)
    generator = torch.Generator().manual_seed(record["seed"])
    if resume is not None:
        state = (method, optimizer, generator)
        done = load_checkpoint(resume, *state, record, allow_changes)
    method.training_record = record | {"steps": done}
    half = base.unet.dtype == torch.float16
    scaler = torch.amp.GradScaler(base.device.type, enabled=half)
    schedule = _schedule(optimizer, record, steps, done)
    return TrainingState(optimizer, schedule, scaler, generator, done)


def _schedule(
    optimizer: torch.optim.Optimizer, record: dict[str, Any], steps: int, done: int
) -> LambdaLR:
    """The learning rate by step, from the one after those done.

    A parameter group may name a schedule of its own.
    """
    factors = []
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # a schedule that is resumed starts from it
        name = group.get("learning_rate_schedule", record["learning_rate_schedule"])
        factors.append(_factor(name, record["warmup_steps"], steps))
    return LambdaLR(optimizer, factors, last_epoch=done - 1)


def _factor(name: str, warmup_steps: int, steps: int) -> Callable[[int], float]:
    """What the learning rate of a step is multiplied with, by the step's index."""
    if name == "constant" and warmup_steps:
        name = "constant_with_warmup"
    stand_in = torch.optim.SGD([torch.zeros((), requires_grad=True)])
    schedule = get_scheduler(
        name, stand_in, num_warmup_steps=warmup_steps, num_training_steps=steps
    )
    return schedule.lr_lambdas[0]


def save_checkpoint(path: str | Path, method: Method, state: TrainingState) -> None:
    """Write a concept file that also holds what `fit` needs to go on."""
    tensors = method.tensors()
    tensors["fit.generator"] = state.generator.get_state()
    for index, moments in state.optimizer.state_dict()["state"].items():
        for key, value in moments.items():
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
        record: of `training_record`: how the training goes on.
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
    earlier = DEFAULTS | parse_json(header.get("perso_lite.training", ""), dict, source)
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
