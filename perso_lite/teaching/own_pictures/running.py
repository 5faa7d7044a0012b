"""How a planned training is run: blocks computed again, seconds a step, memory used."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from statistics import median

import torch
from diffusers import StableDiffusionPipeline

from perso_lite.concepts import Concept
from perso_lite.conditioning.restored import restored
from perso_lite.errors import check_whole
from perso_lite.method import Method
from perso_lite.teaching.own_pictures.memory import TrainingPlan
from perso_lite.training import fit


@contextmanager
def gradient_checkpointing(
    base: StableDiffusionPipeline, wanted: bool = True
) -> Iterator[None]:
    """Inside, the U-Net computes blocks again in the backward pass, if this is wanted.

    Gradients stay what they were.
    """
    names = {"gradient_checkpointing", "_gradient_checkpointing_func"}
    found = [vars(module) for module in base.unet.modules()]
    before = [{k: own[k] for k in names if k in own} for own in found]

    def put_back() -> None:  # disabling alone would leave functions behind
        for own, earlier in zip(found, before, strict=True):
            for name in names - earlier.keys():
                own.pop(name, None)
            own.update(earlier)

    with restored() as at_exit:
        if wanted:
            at_exit(put_back)
            base.unet.enable_gradient_checkpointing()
        yield


def seconds_per_step(
    method: Method, concept: Concept, plan: TrainingPlan, steps: int = 3
) -> float:
    """How long a step takes, from a few steps of a training that is thrown away.

    Args:
        method: one made for this, as it learns.
        concept: what from.
        plan: of `plan_training`.
        steps: the first one does not count, as it prepares (ours: 3).
    """
    check_whole("steps", steps, 2)
    with gradient_checkpointing(method.base, plan.gradient_checkpointing):
        times = [s.seconds for s in fit(method, concept, steps, **plan.fit_options)]
    return median(after - before for before, after in pairwise(times))


def peak_memory(base: StableDiffusionPipeline) -> int | None:
    """The most bytes that tensors had on the base's GPU since the last call of this.

    None if the base is on no GPU.
    """
    if base.device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(base.device)
    torch.cuda.reset_peak_memory_stats(base.device)
    return peak
