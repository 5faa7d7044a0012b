"""DreamBooth with LoRA: a rare word, and small changes to every attention layer.

Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven
Generation", 2022 (arXiv:2208.12242); Hu et al., "LoRA: Low-Rank Adaptation of Large
Language Models", 2021 (arXiv:2106.09685).

The idea: DreamBooth calls the concept by a word that means nothing yet, followed by
its class ("sks teddy"), and trains the model itself until that name draws it. LoRA
leaves the weights alone and learns, beside each projection W of the attention layers, a
product of two thin matrices, so that the result is small and can be taken off. Pictures
of the class, drawn by the untouched base, keep the class as it was (`class_prior.py`).

    W x   becomes   W x + s (alpha / r) B A x,    A: (r, in),  B: (out, r)

with A random and B zero at the start, so that training begins at the base, and alpha =
r. s is a dial for drawing: 0 is the base, 1 what was learned.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from safetensors.torch import save
from torch import nn

from perso_lite.conditioning.tokens import LearnedTokens, check_placeholder, token_names
from perso_lite.errors import PersoError
from perso_lite.files import write_atomically
from perso_lite.methods.baselines.class_prior import (
    ClassPreserving,
    ClassPrior,
    rare_and_class_vectors,
)

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")  # of self- and cross-attention
ADAPTER = "default"  # peft can hold several in one layer; we use one


class DreamBoothLoRA(ClassPreserving):
    """Thin matrices for the attention layers; words and text encoder stay as they are.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept, one token.
        placeholder_token: stands for "<identifier> <class word>" in prompts.
        identifier_token: a word that means nothing to the base, one token (ours: "sks",
            as in diffusers' documentation; our small base knows it and fifteen others,
            `perso_lite.world.words.RESERVED_WORDS`, but never saw one in training).
        rank: r, the thin matrices' other side (diffusers' script: 4).
        learning_rate: of AdamW (ours: 2e-3, for our small base; diffusers' documented
            command for Stable Diffusion: 1e-4).
        prior_pictures: class pictures drawn before the first step; 0: none (ours: 32).
        prior_batch_size: class pictures a step (ours: 2).
        prior_weight: of their loss (paper: 1).

    Raises:
        PersoError: a rank below 1, an identifier or class word that is not one token,
            a placeholder the tokenizer would misread or already knows.
    """

    name: ClassVar[str] = "dreambooth_lora"

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        identifier_token: str = "sks",
        rank: int = 4,
        learning_rate: float = 2e-3,
        prior_pictures: int = 32,
        prior_batch_size: int = 2,
        prior_weight: float = 1.0,
    ):
        if rank < 1:
            raise PersoError(f"rank is {rank}, but it is at least 1, and usually 4.")
        check_placeholder(base.tokenizer, placeholder_token, 2)
        super().__init__(base, class_word, placeholder_token)
        self.identifier_token = identifier_token
        self.rank = rank
        self.learning_rate = learning_rate

        # "<toy>" is read as "sks teddy": two rows of the table, not learned, not saved
        words = rare_and_class_vectors(base, identifier_token, class_word)
        self.register_buffer("words", words, persistent=False)  # (2, dim)
        self.tokens = LearnedTokens(token_names(placeholder_token, 2))

        # A and B are ours. The layers around them come and go, and would bring the
        # base's weights along: a plain dictionary hides them from `state_dict`.
        self.layers = lora_layers(base.unet, rank)
        self.matrices = nn.ModuleDict(
            {
                name.replace(".", "_"): nn.ModuleDict(
                    {"A": layer.lora_A[ADAPTER], "B": layer.lora_B[ADAPTER]}
                )
                for name, layer in self.layers.items()
            }
        )
        self.to(base.device)
        self.lora_scale = 1.0
        self.prior = ClassPrior(
            class_word, prior_pictures, prior_batch_size, prior_weight
        )

    @property
    def lora_scale(self) -> float:
        """s, a dial to turn at any time; neither learned nor saved (default 1)."""
        return self._lora_scale

    @lora_scale.setter
    def lora_scale(self, scale: float) -> None:
        self._lora_scale = scale
        for layer in self.layers.values():
            layer.set_scale(ADAPTER, scale)

    @contextmanager
    def attach(self, base: StableDiffusionPipeline) -> Iterator[None]:
        """Inside the `with` block, `base` knows the word and has the LoRA layers.

        Each wraps whatever stands in its place, another LoRA included: several add up.
        What is hooked to a projection before (`rewritten_text`) concerns W alone.

        Raises:
            PersoError: the word is taken, `base` is built differently, or this LoRA is
                attached already.
        """
        with ExitStack() as stack:
            stack.enter_context(self.tokens.attached(base, lambda: self.words))
            for name, layer in self.layers.items():
                stack.enter_context(_standing_in(base.unet, name, layer))
            yield

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All A and B, with AdamW's usual weight decay (diffusers' script: 0.01)."""
        learned = list(self.matrices.parameters())
        return [{"params": learned, "lr": self.learning_rate, "weight_decay": 0.01}]

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build this method again."""
        return {
            "identifier_token": self.identifier_token,
            "rank": self.rank,
            "learning_rate": self.learning_rate,
            **self.prior.settings(),
        }

    def to_lora_weights(self, path: str | Path) -> Path:
        """Write what `pipe.load_lora_weights(folder)` reads.

        Prompts then say what the placeholder stood for: "a photo of a sks teddy".

        Args:
            path: a file, or a folder for `pytorch_lora_weights.safetensors`.

        Returns:
            The file written: A (r, in) and B (out, r) of every layer, for a scale of 1.

        Raises:
            PersoError: the place cannot be written or the disk is full.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            path = path / "pytorch_lora_weights.safetensors"
        tensors = {}
        for name, layer in self.layers.items():
            for part, learned in (("A", layer.lora_A), ("B", layer.lora_B)):
                weight = learned[ADAPTER].weight.detach().cpu().contiguous()
                tensors[f"unet.{name}.lora_{part}.weight"] = weight
        write_atomically(path, save(tensors, metadata={"format": "pt"}))
        return path


def lora_layers(unet: UNet2DConditionModel, rank: int) -> dict[str, LoraLinear]:
    """A peft layer for every projection of every attention layer, by its name.

    peft builds them around stand-ins without weights, so that neither the U-Net nor the
    global generator is touched; `attach` puts the real projection in.
    """
    stand_ins = nn.ModuleDict()
    for name, module in unet.named_modules():
        if name.endswith((".attn1", ".attn2")):
            for target in TARGETS:
                real = module.get_submodule(target)
                stand_ins[f"{name}.{target}".replace(".", "/")] = nn.Linear(
                    real.in_features, real.out_features, bias=False, device="meta"
                )
    names = list(stand_ins)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=names)
    inject_adapter_in_model(config, stand_ins, ADAPTER, low_cpu_mem_usage=True)

    generator = torch.Generator().manual_seed(0)
    for layer in stand_ins.values():
        layer.base_layer = None
        layer.to_empty(device="cpu")
        thin = layer.lora_A[ADAPTER].weight  # (rank, in)
        nn.init.kaiming_uniform_(thin, a=5**0.5, generator=generator)
        nn.init.zeros_(layer.lora_B[ADAPTER].weight)  # (out, rank)
    return {name.replace("/", "."): layer for name, layer in stand_ins.items()}


@contextmanager
def _standing_in(
    unet: UNet2DConditionModel, name: str, layer: LoraLinear
) -> Iterator[None]:
    """Inside, `layer` stands at `name` and wraps the module that was there."""
    place, _, child = name.rpartition(".")
    try:
        parent = unet.get_submodule(place)
        before = parent.get_submodule(child)
    except AttributeError:
        before = None
    fits = before is not None and before.in_features == layer.in_features
    if not fits or before.out_features != layer.out_features:
        raise PersoError(
            f"This LoRA changes {name}, from {layer.in_features} to "
            f"{layer.out_features} channels, which this base does not have; attach it "
            "to the base it was trained on."
        )
    if layer.base_layer is not None:
        raise PersoError(
            "This LoRA is attached already, and its layers can stand in one place at a "
            "time. Leave that `with` block first, or load its file a second time."
        )
    layer.base_layer = before
    setattr(parent, child, layer)
    try:
        yield
    finally:
        setattr(parent, child, before)
        layer.base_layer = None
