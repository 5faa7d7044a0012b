"""One resumable training loop for every stage of pretraining."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm.auto import tqdm

from perso_lite.errors import PersoError, shortened
from perso_lite.files.reading import read_pickled
from perso_lite.pretrain.settings import Budget, learning_rate_at

Modules = dict[str, nn.Module]


@dataclass
class Stage:
    """What a stage of pretraining learns, and how.

    Attributes:
        name: of the checkpoint file.
        modules: the modules that learn, by name.
        loss: maps the modules (prepared for the device) and the step to a loss. All its
            randomness must depend on the step alone, so that a resumed run equals an
            uninterrupted one.
        budget: the steps or seconds of the stage, and how many are over.
        learning_rates: one per module.
        sample: called with the step every `sample_minutes`, to write a sheet of
            pictures; the modules then have the averaged weights, if `average` is set.
        average: decay of the exponential moving average of the weights (0: none).
        decay: share of the budget, at the end, over which the learning rate falls to 0.
        warm_up: steps over which it rises at the start.
        facts: numbers to keep in the checkpoint.
    """

    name: str
    modules: Modules
    loss: Callable[[Modules, int], Tensor]
    budget: Budget
    learning_rates: dict[str, float]
    sample: Callable[[int], None] | None = None
    average: float = 0.0
    decay: float = 0.2
    warm_up: int = 100
    facts: dict[str, float] = field(default_factory=dict)


@dataclass
class State:
    """What a stage's checkpoint has beside modules, budget and facts.

    `whole` is false while a step is taken but not counted, or the weights are others
    for a while: an interruption may end there, and what is then there is not saved.
    """

    optimizer: torch.optim.Optimizer
    average: EMAModel | None
    parameters: list[nn.Parameter]
    whole: bool = True


def last_state(stage: Stage, path: Path, device: torch.device) -> State:
    """The state in the checkpoint at `path`, otherwise that of step 0.

    The stage's modules and budget continue from the checkpoint, too.

    Raises:
        PersoError: the checkpoint is of other modules.
    """
    groups = [
        {"params": list(module.parameters()), "lr": stage.learning_rates[name]}
        for name, module in stage.modules.items()
    ]
    parameters = [p for group in groups for p in group["params"]]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01)
    average = None
    if stage.average:
        average = EMAModel(
            parameters, decay=stage.average, use_ema_warmup=True, power=0.75
        )
    state = State(optimizer, average, parameters)
    if path.exists():
        saved = read_state(path)
        if saved["modules"].keys() != stage.modules.keys():
            raise PersoError(
                f"In {path} {' and '.join(saved['modules'])} learned, but here "
                f"{' and '.join(stage.modules)} would. Use the same --start-from as "
                "then (the text encoder learns only without), or another --folder."
            )
        try:
            optimizer.load_state_dict(saved["optimizer"])
            for name, module in stage.modules.items():
                module.load_state_dict(saved["modules"][name])
            if average:
                average.load_state_dict(saved["average"])
            stage.budget.step, stage.budget.spent = saved["step"], saved["spent"]
        except (ValueError, RuntimeError, TypeError, KeyError) as reason:
            raise PersoError(
                f"{path} does not fit this stage ({shortened(reason)}): use the "
                "settings it was begun with, or another --folder."
            ) from reason
    if average:
        average.to(device)
    return state


def read_state(path: Path) -> dict:
    """The content of a checkpoint.

    Raises:
        PersoError: it is damaged, or something else.
    """
    saved = read_pickled(path)
    if not isinstance(saved, dict) or not isinstance(saved.get("modules"), dict):
        raise PersoError(
            f"{path} is no checkpoint of a stage. Remove it to begin the stage again, "
            "or give another --folder."
        )
    return saved


def save_state(stage: Stage, state: State, path: Path) -> None:
    """Write a checkpoint, whole or not at all; between two steps only."""
    if not state.whole:
        return
    content = {
        "step": stage.budget.step,
        "spent": stage.budget.spent,
        "modules": {k: m.state_dict() for k, m in stage.modules.items()},
        "optimizer": state.optimizer.state_dict(),
        "average": state.average.state_dict() if state.average else None,
        "facts": stage.facts,
    }
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    os.replace(partial, path)


def draw_sheet(stage: Stage, state: State) -> None:
    """Let the stage draw its sheet with the averaged weights."""
    if not state.average:
        stage.sample(stage.budget.step)
        return
    state.whole = False
    state.average.store(state.parameters)
    state.average.copy_to(state.parameters)
    try:
        stage.sample(stage.budget.step)
    finally:
        state.average.restore(state.parameters)
        state.whole = True


def take_step(
    stage: Stage, state: State, modules: Modules, accelerator: Accelerator
) -> float:
    """Take one optimizer step.

    Args:
        stage: its budget moves on by one step.
        state: of the optimizer and the average.
        modules: prepared by the accelerator.
        accelerator: runs the backward pass.

    Returns:
        The loss before the step.
    """
    began, budget = time.monotonic(), stage.budget
    factor = learning_rate_at(budget.step, budget.progress, stage.warm_up, stage.decay)
    rates = stage.learning_rates.values()
    for group, rate in zip(state.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor
    loss = stage.loss(modules, budget.step)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(state.parameters, 1.0)
    state.whole = False  # taken and counted together, or the step is not saved
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.average:
        state.average.step(state.parameters)
    value = loss.item()  # waits for the device, so the time is the step's own
    budget.note_step(time.monotonic() - began, accelerator)
    state.whole = True
    return value


def train(
    stage: Stage,
    folder: Path,
    accelerator: Accelerator,
    save_minutes: float = 3.0,
    sample_minutes: float = 10.0,
) -> None:
    """Train a stage from its last checkpoint to the end of its budget.

    Afterwards the modules have the averaged weights (or the last ones, without an
    average). An interruption loses nothing; a kill, or an interruption in the moment
    between the optimizer's step and its count, at most `save_minutes`.

    Args:
        stage: to train.
        folder: for the checkpoint.
        accelerator: of the run.
        save_minutes: time between checkpoints (ours: 3).
        sample_minutes: time between sheets (ours: 10).

    Raises:
        PersoError: the checkpoint is of other modules.
    """
    path = folder / f"{stage.name}.pt"
    state = last_state(stage, path, accelerator.device)
    modules = {k: accelerator.prepare(m) for k, m in stage.modules.items()}
    state.optimizer = accelerator.prepare(state.optimizer)
    saved_at = sampled_at = time.monotonic()
    mean_loss = None
    hidden = not accelerator.is_local_main_process
    bar = tqdm(
        total=stage.budget.steps,
        initial=stage.budget.step,
        desc=stage.name,
        disable=hidden,
        mininterval=10,
    )
    try:
        while stage.budget.progress < 1:
            loss = take_step(stage, state, modules, accelerator)
            mean_loss = loss if mean_loss is None else 0.98 * mean_loss + 0.02 * loss
            bar.set_postfix(loss=f"{mean_loss:.4f}", refresh=False)
            bar.update()
            if not accelerator.is_main_process:
                continue
            if time.monotonic() - saved_at > 60 * save_minutes:
                save_state(stage, state, path)
                saved_at = time.monotonic()
            if stage.sample and time.monotonic() - sampled_at > 60 * sample_minutes:
                draw_sheet(stage, state)
                sampled_at = time.monotonic()
    finally:
        bar.close()
        if accelerator.is_main_process:
            save_state(stage, state, path)
    if state.average:
        state.average.copy_to(state.parameters)
