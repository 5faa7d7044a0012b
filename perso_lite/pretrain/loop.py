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

Modules = dict[str, nn.Module]


@dataclass
class Stage:
    """What a stage of pretraining learns, and how.

    Attributes:
        name: names the checkpoint file.
        modules: what learns, by name.
        loss: maps the modules (prepared for the device) and the step to a loss; it
            must draw all its randomness from the step, so that a resumed run sees what
            an uninterrupted one would have seen.
        steps: how many steps the whole stage has.
        learning_rates: one per module.
        sample: called every `sample_minutes` with the modules, averaged if `average`
            is set, to write a sheet to look at.
        average: decay of the exponential moving average of the weights (0: none).
        decay: the part of the steps at the end over which the learning rate falls to 0.
        warm_up: steps over which it rises at the start.
        facts: numbers to keep in the checkpoint.
    """

    name: str
    modules: Modules
    loss: Callable[[Modules, int], Tensor]
    steps: int
    learning_rates: dict[str, float]
    sample: Callable[[int], None] | None = None
    average: float = 0.0
    decay: float = 0.2
    warm_up: int = 100
    facts: dict[str, float] = field(default_factory=dict)


def learning_rate_at(step: int, steps: int, warm_up: int, decay: float) -> float:
    """The factor on the learning rate: a ramp up, a plateau, a ramp down."""
    rising = min(1.0, (step + 1) / warm_up)
    falling = min(1.0, (steps - step) / max(1.0, decay * steps))
    return rising * falling


def _save(path: Path, content: dict) -> None:
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    os.replace(partial, path)


def train(
    stage: Stage,
    folder: Path,
    accelerator: Accelerator,
    save_minutes: float = 3.0,
    sample_minutes: float = 10.0,
) -> None:
    """Train a stage from its last checkpoint to its last step.

    On return the modules hold the averaged weights (or the last ones, if the stage
    keeps no average). Interrupting loses at most `save_minutes`.
    """
    path = folder / f"{stage.name}.pt"
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
    step = 0
    if path.exists():
        saved = torch.load(path, map_location="cpu", weights_only=True)
        step = saved["step"]
        optimizer.load_state_dict(saved["optimizer"])
        for name, module in stage.modules.items():
            module.load_state_dict(saved["modules"][name])
        if average:
            average.load_state_dict(saved["average"])
    modules = dict(
        zip(
            stage.modules,
            accelerator.prepare(*stage.modules.values()),
            strict=True,
        )
        if len(stage.modules) > 1
        else [(next(iter(stage.modules)), accelerator.prepare(*stage.modules.values()))]
    )
    optimizer = accelerator.prepare(optimizer)
    if average:
        average.to(accelerator.device)

    def save() -> None:
        if accelerator.is_main_process:
            content = {
                "step": step,
                "modules": {k: m.state_dict() for k, m in stage.modules.items()},
                "optimizer": optimizer.state_dict(),
                "average": average.state_dict() if average else None,
                "facts": stage.facts,
            }
            _save(path, content)

    def sample() -> None:
        if stage.sample and accelerator.is_main_process:
            if average:
                average.store(parameters)
                average.copy_to(parameters)
            stage.sample(step)
            if average:
                average.restore(parameters)

    rates = [group["lr"] for group in groups]
    saved_at = sampled_at = time.monotonic()
    mean_loss = None
    bar = tqdm(
        total=stage.steps,
        initial=step,
        desc=stage.name,
        disable=not accelerator.is_local_main_process,
        mininterval=10,
    )
    try:
        while step < stage.steps:
            factor = learning_rate_at(step, stage.steps, stage.warm_up, stage.decay)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            loss = stage.loss(modules, step)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if average:
                average.step(parameters)
            step += 1
            value = loss.item()
            mean_loss = value if mean_loss is None else 0.98 * mean_loss + 0.02 * value
            bar.set_postfix(loss=f"{mean_loss:.4f}", refresh=False)
            bar.update()
            if time.monotonic() - saved_at > 60 * save_minutes:
                save()
                saved_at = time.monotonic()
            if time.monotonic() - sampled_at > 60 * sample_minutes:
                sample()
                sampled_at = time.monotonic()
    finally:
        bar.close()
        save()
    if average:
        average.copy_to(parameters)
