"""What a training needs of a GPU's memory, and the plan that makes it fit.

What is kept for the backward pass is counted, not guessed: one picture goes through the
U-Net, and PyTorch says which tensors it saves on the way.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from perso_lite.base import parts
from perso_lite.conditioning.restored import restored
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError, check_whole
from perso_lite.method import Method
from perso_lite.sampling import starting_noise

GIB = 2**30
PER_LEARNED_NUMBER = 16  # bytes: the number, its gradient and AdamW's two moments
RESERVE = 1.25  # for what is not counted: buffers, fragments, the text encoder (ours)
CHECKPOINTED = (ResnetBlock2D, BasicTransformerBlock)  # what diffusers recomputes


@dataclass(frozen=True)
class TrainingMemory:
    """What a training step keeps, in bytes.

    Attributes:
        weights: of the three frozen networks; they are loaded already.
        learned: what the method learns, with gradients and moments.
        picture: kept for the backward pass, for each picture of a batch.
        checkpointed: the same with gradient checkpointing: what enters each block, and
            the largest block, computed again.
    """

    weights: int
    learned: int
    picture: int
    checkpointed: int


@dataclass(frozen=True)
class TrainingPlan:
    """Options that fit a training into a memory; those of `fit`, and one more.

    Attributes:
        batch_size: pictures at once.
        gradient_accumulation: batches per step.
        gradient_checkpointing: whether to compute blocks twice instead of keeping them.
        needed: bytes beside the weights, with a reserve.
        free: bytes there were, or None where nothing had to be chosen.
        half: whether the base is in half precision.
    """

    batch_size: int
    gradient_accumulation: int
    gradient_checkpointing: bool
    needed: int
    free: int | None
    half: bool

    @property
    def fit_options(self) -> dict[str, int]:
        """Keyword arguments of `fit`."""
        return {
            "batch_size": self.batch_size,
            "gradient_accumulation": self.gradient_accumulation,
        }

    def sentence(self) -> str:
        """What was chosen, and why, without digits that differ between machines."""
        precision = "half" if self.half else "single"
        recomputed = "with" if self.gradient_checkpointing else "without"
        why = "no GPU, so nothing had to be chosen"
        if self.free is not None:
            why = "the largest batch that fits into the free memory"
        return (
            f"{precision} precision, {self.gradient_accumulation} x {self.batch_size} "
            f"pictures per step, {recomputed} gradient checkpointing: {why}"
        )


def free_memory(base: StableDiffusionPipeline) -> int | None:
    """Bytes that are free beside the loaded base; None if it is on no GPU."""
    if base.device.type != "cuda":
        return None
    cached = torch.cuda.memory_reserved(base.device)
    cached -= torch.cuda.memory_allocated(base.device)
    return torch.cuda.mem_get_info(base.device)[0] + cached


def training_memory(method: Method) -> TrainingMemory:
    """Count what a training step of a method keeps for one picture.

    The attention projections count as trained, which is so for the methods that keep
    the most (LoRA); pictures of a class prior come on top.

    Args:
        method: attached nowhere; nothing is learned.
    """
    tensors = [p for part in parts(method.base) for p in part.parameters()]
    learned = sum(p.numel() for p in method.parameters())
    saved, inputs = saved_by_block(method.base)
    outside = saved.pop("")
    return TrainingMemory(
        weights=sum(p.numel() * p.element_size() for p in tensors),
        learned=PER_LEARNED_NUMBER * learned,
        picture=outside + sum(saved.values()),
        checkpointed=outside + sum(inputs.values()) + max(saved.values()),
    )


def saved_by_block(
    base: StableDiffusionPipeline,
) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes that the U-Net saves for the backward pass of one picture.

    Returns:
        Those saved inside each block that checkpointing would compute again, and under
        "" those saved outside of all; and the bytes that enter each of these blocks.
    """
    unet, saved, inputs, inside = base.unet, {"": 0}, {}, [""]
    seen = {p.untyped_storage().data_ptr() for p in unet.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:  # alive until the count is done
            seen.add(storage.data_ptr())
            saved[inside[-1]] += storage.nbytes()
        return tensor

    def enter(name: str, block: nn.Module, given: tuple[Any, ...]) -> None:
        inside.append(name)
        saved[name], inputs[name] = 0, given[0].untyped_storage().nbytes()

    def leave(block: nn.Module, given: tuple[Any, ...], result: Any) -> None:
        inside.pop()

    states = encode_prompts(base, ["a"]).detach().requires_grad_()
    noise, dtype = starting_noise(base, 0), base.unet.dtype
    half = torch.autocast(base.device.type, dtype, dtype != torch.float32)
    with restored() as at_exit:
        for name, module in unet.named_modules():
            if isinstance(module, CHECKPOINTED):
                at_exit(module.register_forward_pre_hook(partial(enter, name)).remove)
                at_exit(module.register_forward_hook(leave).remove)
        for weight in attention_weights(unet):
            at_exit(partial(weight.requires_grad_, weight.requires_grad))
            weight.requires_grad_(True)
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, half:
            predicted = unet(noise, 0, encoder_hidden_states=states).sample
            predicted.float().square().mean()
    return saved, inputs


def attention_weights(unet: nn.Module) -> list[nn.Parameter]:
    """Weights of the projections of all attention layers."""
    ends = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
    return [weight for name, weight in unet.named_parameters() if name.endswith(ends)]


def plan_training(
    method: Method,
    memory: TrainingMemory,
    free: int | None = None,
    pictures_per_step: int = 4,
) -> TrainingPlan:
    """Choose batch size, accumulation and checkpointing by the free memory.

    As few batches as possible, first without checkpointing, which costs about a third
    of the time, since the U-Net is computed once more. All plans have the same gradient
    on average.

    Args:
        method: that will be trained.
        memory: of `training_memory`.
        free: bytes that are free beside the weights, as from `free_memory`; None: all
            at once.
        pictures_per_step: of one optimizer step (paper: 4).

    Raises:
        PersoError: not even one picture fits.
    """
    check_whole("pictures_per_step", pictures_per_step, 1)
    half = method.base.unet.dtype != torch.float32
    batches = [n for n in range(1, pictures_per_step + 1) if pictures_per_step % n == 0]
    for checkpointing, count in product((False, True), batches):
        each = memory.checkpointed if checkpointing else memory.picture
        size = pictures_per_step // count
        needed = round(RESERVE * (memory.learned + size * each))
        if free is None or needed <= free:
            return TrainingPlan(size, count, checkpointing, needed, free, half)
    raise PersoError(
        f"One picture needs {needed / GIB:.1f} GiB beside the weights, but "
        f"{free / GIB:.1f} GiB are free. Restart the kernel, close what else uses the "
        "GPU, load the base in half precision (dtype=torch.float16), or take a base "
        "that draws smaller pictures."
    )
