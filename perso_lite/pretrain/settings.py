"""How long each stage learns, and on how many pictures at a time, by device.

A stage ends after a number of steps or of seconds. On a CPU the numbers are small
enough for hours; on a GPU they fill the device, and a stage has seconds, together half
an hour.
"""

import argparse
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from perso_lite.errors import check_finite, check_whole

BUDGETS = (
    "autoencoder", "decoder", "clip", "unet", "reader", "encoder", "face_encoder",
)  # fmt: skip

# All numbers are ours; those for a GPU come from the run that made the shipped base.
ON_CPU = {
    "pictures": 81_920, "scenes": 81_920, "toys": 32_768, "faces": 16_384,
    "strangers": 4096, "face_encoder_batch": 72,
    "autoencoder_batch": 16, "decoder_batch": 16, "clip_batch": 128, "unet_batch": 32,
    "reader_batch": 64, "encoder_batch": 96, "unet_rate": 5e-4,
}  # fmt: skip
ON_GPU = {
    "pictures": 360_448, "scenes": 1_200_000, "toys": 262_144, "faces": 131_072,
    "strangers": 65_536, "face_encoder_batch": 384,
    "autoencoder_batch": 256, "decoder_batch": 256, "clip_batch": 2048,
    "unet_batch": 2048, "reader_batch": 512, "encoder_batch": 512, "unet_rate": 1e-3,
}  # fmt: skip
STEPS_ON_CPU = {
    "autoencoder": 6000, "decoder": 3000, "clip": 2000, "unet": 20_000, "reader": 6000,
    "encoder": 3000, "face_encoder": 1500,
}  # fmt: skip
SECONDS_ON_GPU = {
    "autoencoder": 320.0, "decoder": 200.0, "clip": 110.0, "unet": 850.0,
    "reader": 90.0, "encoder": 90.0, "face_encoder": 30.0,
}  # fmt: skip


@dataclass
class Budget:
    """How long a stage learns: a number of steps, or of seconds.

    Attributes:
        steps: of the whole stage; None: as many as the seconds allow.
        seconds: that its steps may take, in all runs together; None: only steps count.
        step: taken so far.
        spent: seconds that they took.
    """

    steps: int | None = None
    seconds: float | None = None
    step: int = 0
    spent: float = 0.0

    def __post_init__(self):
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("a stage has either steps or seconds")

    @property
    def progress(self) -> float:
        """The share of the stage that is over: from 0 to 1, at the end 1 or more."""
        if self.steps is not None:
            return self.step / self.steps if self.steps else 1.0
        return self.spent / self.seconds if self.seconds else 1.0

    def note_step(self, seconds: float, accelerator: Accelerator) -> None:
        """Count a step and its time; processes agree on that of the main one."""
        self.step += 1
        if self.seconds is not None and accelerator.num_processes > 1:
            time_taken = torch.tensor(seconds, device=accelerator.device)
            seconds = broadcast(time_taken).item()
        self.spent += seconds


WHAT = {
    "pictures": "of the world that are painted and kept",
    "scenes": "whose latents the U-Net sees (at least --pictures)",
    "toys": "pictures of toys, for the instance encoder",
    "faces": "pictures of faces, for the face reader",
    "strangers": "pictures of faces, for the face network of Celeb Basis",
    "unet_rate": "learning rate of the U-Net; the text encoder has a fifth of it",
}


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options whose defaults depend on the device."""
    for name, here in ON_CPU.items():
        what = WHAT.get(name, "pictures per step and process")
        text = f"{what} (default: {here}; on a GPU {ON_GPU[name]})"
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(here), help=text)
    for name in BUDGETS:
        either = parser.add_mutually_exclusive_group()
        text, flag = f"(default on a CPU: {STEPS_ON_CPU[name]})", name.replace("_", "-")
        either.add_argument(f"--{flag}-steps", type=int, help=text)
        text = f"instead of steps (default on a GPU: {SECONDS_ON_GPU[name]:g})"
        either.add_argument(f"--{flag}-seconds", type=float, help=text)


def check_settings(options: argparse.Namespace) -> None:
    """Refuse numbers of the command line that are out of their range.

    Raises:
        PersoError: one is.
    """
    ranges = dict.fromkeys(ON_CPU, (check_whole, 1))
    ranges["unet_rate"] = check_finite, 0
    ranges |= {f"{name}_steps": (check_whole, 0) for name in BUDGETS}
    ranges |= {f"{name}_seconds": (check_finite, 0) for name in BUDGETS}
    for name, (check, least) in ranges.items():
        value = getattr(options, name)
        if value is not None:
            check(f"--{name.replace('_', '-')}", value, least)


def settle(options: argparse.Namespace, device: str) -> None:
    """Fill in what the command line left open.

    Args:
        options: of the command line; changed in place.
        device: "cuda" for a GPU's numbers, otherwise those of a CPU.
    """
    kept, scenes = options.pictures, options.scenes
    for name, value in (ON_GPU if device == "cuda" else ON_CPU).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if kept is not None:  # fewer pictures mean fewer of everything
        for name in ("toys", "faces", "strangers"):
            setattr(options, name, min(getattr(options, name), kept))
        options.scenes = scenes or kept
    options.scenes = max(options.scenes, options.pictures)
    for name in BUDGETS:
        steps, seconds = f"{name}_steps", f"{name}_seconds"
        if getattr(options, steps) is None and getattr(options, seconds) is None:
            if device == "cuda":
                setattr(options, seconds, SECONDS_ON_GPU[name])
            else:
                setattr(options, steps, STEPS_ON_CPU[name])


def budget_of(options: argparse.Namespace, name: str) -> Budget:
    """The steps or seconds of a stage; instances and faces each have "encoder"'s."""
    return Budget(
        getattr(options, f"{name}_steps"), getattr(options, f"{name}_seconds")
    )


def learning_rate_at(step: int, progress: float, warm_up: int, decay: float) -> float:
    """The factor of the learning rate: it rises, stays at 1 and falls.

    Args:
        step: from 0.
        progress: share of the stage that is over.
        warm_up: steps over which it rises.
        decay: share of the stage over which it falls.
    """
    rising = min(1.0, (step + 1) / warm_up)
    falling = min(1.0, (1 - progress) / decay)
    return rising * falling
