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

with A random and B zero at the start, so that training begins at the base (see
`conditioning/lora.py`).
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save

from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.conditioning.lora import LoraLayers
from perso_lite.errors import PersoError
from perso_lite.files.writing import write_atomically
from perso_lite.methods.baselines.class_prior import (
    ClassPreserving,
    ClassPrior,
    rare_and_class_vectors,
)
from perso_lite.methods.baselines.lora_files import (
    LORA_FORMAT,
    by_network,
    file_to_write,
    read_lora,
    stock_names,
)
from perso_lite.sampling import InferenceParameter

# "sks" is that of diffusers' documentation. Our base knows it, but its text encoder
# makes nearly the same text state of "sks teddy" as of "teddy", so nothing could be
# learned for one of them alone. "qzx", another of its reserved words, moves that state
# a hundred times as far.
IDENTIFIERS = ("qzx", "sks")
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")  # of self- and cross-attention


def attention_projections(unet: UNet2DConditionModel) -> list[str]:
    """Names in a pipeline of the projections of every attention layer of its U-Net."""
    return [
        f"unet.{name}.{target}"
        for name, _ in unet.named_modules()
        if name.endswith((".attn1", ".attn2"))
        for target in TARGETS
    ]


def usual_identifier(base: StableDiffusionPipeline) -> str:
    """The first of `IDENTIFIERS` that the base's tokenizer reads as one token."""
    tokenizer = base.tokenizer
    single = (word for word in IDENTIFIERS if len(tokenizer.tokenize(word)) == 1)
    return next(single, IDENTIFIERS[-1])  # if there is none, an error names the last


def _set_scale(method: "DreamBoothLoRA", scale: float) -> float:
    if not (isinstance(scale, int | float) and math.isfinite(scale)):
        raise PersoError(
            f"lora_scale is {scale}, but what was learned is multiplied by it: give a "
            "number, 0 for the base, 1 for the concept as it was learned."
        )
    method.lora.set_scale(scale)
    method.text_lora.set_scale(scale)
    return scale


class DreamBoothLoRA(ClassPreserving):
    """Thin matrices for the attention layers; words and text encoder stay as they are.

    A file of another tool may change other layers, those of the text encoder included.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept, one token.
        placeholder_token: stands for "<identifier> <class word>" in prompts.
        identifier_token: a word that means nothing to the base, one token; default: the
            first of `IDENTIFIERS` that is one token.
        rank: r, the thin matrices' other side (diffusers' script: 4).
        learning_rate: of AdamW (ours: 2e-3, for our small base; diffusers' documented
            command for Stable Diffusion: 1e-4).
        prior_pictures: class pictures drawn before the first step; 0: none (ours: 32).
        prior_batch_size: class pictures a step (ours: 2).
        prior_weight: of their loss (paper: 1).
        layer_ranks: which layers to change, by names such as "unet.conv_in" or
            "text_encoder.encoder.layers.0.mlp.fc1", and the rank of each; default:
            every attention projection of the U-Net, with `rank`.

    Raises:
        PersoError: a rank below 1, a layer that the base does not have, an identifier
            or class word that is not one token, a placeholder the tokenizer would
            misread or already knows.
    """

    name: ClassVar[str] = "dreambooth_lora"
    SETTINGS = ("identifier_token", "rank", "learning_rate", "layer_ranks")
    SIZES = ("rank", "layer_ranks")
    PUBLIC_FORMATS = (LORA_FORMAT,)
    lora_scale = InferenceParameter(
        "s, how much of what was learned is drawn; not saved (default 1)", _set_scale
    )

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        identifier_token: str | None = None,
        rank: int = 4,
        learning_rate: float = 2e-3,
        prior_pictures: int = 32,
        prior_batch_size: int = 2,
        prior_weight: float = 1.0,
        layer_ranks: Mapping[str, int] | None = None,
    ):
        if rank < 1:
            raise PersoError(f"rank is {rank}, but it is at least 1, and usually 4.")
        super().__init__(base, class_word, placeholder_token, 2)
        self.identifier_token = identifier_token or usual_identifier(base)
        self.rank = rank
        self.learning_rate = learning_rate
        self.layer_ranks = dict(layer_ranks) if layer_ranks else None

        # "<toy>" is read as "sks teddy": two rows of the table, not learned, not saved
        words = rare_and_class_vectors(base, self.identifier_token, class_word)
        self.register_buffer("words", words, persistent=False)  # (2, dim)

        # A and B, beside every projection of every attention layer
        ranks = self.layer_ranks or dict.fromkeys(
            attention_projections(base.unet), rank
        )
        of_unet, of_text = by_network(ranks)
        self.lora = LoraLayers(base.unet, list(of_unet), of_unet)
        self.text_lora = LoraLayers(base.text_encoder, list(of_text), of_text)
        self.matrices, self.text_matrices = self.lora.matrices, self.text_lora.matrices
        self.to(base.device)
        self.lora_scale = 1.0
        self.prior = ClassPrior(
            class_word, prior_pictures, prior_batch_size, prior_weight
        )

    @contextmanager
    def attach(self, base: StableDiffusionPipeline) -> Iterator[None]:
        """Inside the `with` block, `base` knows the word and has the LoRA layers.

        Several add up.

        Raises:
            PersoError: the word is taken, or `base` is built differently, fused or
                compiled.
        """
        with (
            self.tokens.attached(base, lambda: self.words),
            self.text_lora.attached(base.text_encoder),
            self.lora.attached(base.unet),
        ):
            cross_attention_layers(base.unet)  # refuses a fused or compiled U-Net
            yield

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All A and B, with AdamW's usual weight decay (diffusers' script: 0.01)."""
        learned = [*self.matrices.parameters(), *self.text_matrices.parameters()]
        return [{"params": learned, "lr": self.learning_rate, "weight_decay": 0.01}]

    # -- the file format the stock pipeline reads ------------------------------------

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
        path = file_to_write(path)
        weights = stock_names(self.lora.weights(), self.text_lora.weights())
        tensors = {name: value.cpu().contiguous() for name, value in weights.items()}
        write_atomically(path, save(tensors, metadata={"format": "pt"}))
        return path

    @classmethod
    def from_lora_weights(
        cls,
        path: str | Path,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        identifier_token: str | None = None,
    ) -> "DreamBoothLoRA":
        """Read a LoRA of diffusers or kohya's scripts, of any layers and ranks.

        At `lora_scale` 1 it draws as `pipe.load_lora_weights` would. Kohya's alpha /
        rank is multiplied into B, so values may differ in their last digit.

        Args:
            path: a `.safetensors` file or one of plain tensors (`.bin`, `.pt`), or the
                folder of `pytorch_lora_weights.safetensors`.
            base: the pipeline it was learned on (the format cannot tell).
            class_word: the everyday word for the concept (the format leaves it out).
            placeholder_token: stands for "<identifier> <class word>" in prompts.
            identifier_token: the rare word that its captions said, one token (the
                format leaves it out); default: the first of `IDENTIFIERS` that is one.
                Whatever else they said can be said in prompts as it is.

        Raises:
            PersoError: not such a file, other than a plain LoRA (DoRA, LoKr and so on),
                or layers that the base does not have.
        """
        matrices = read_lora(path, base)
        ranks = {name: len(thin) for name, (thin, _) in matrices.items()}
        rank = max(ranks.values())
        usual = dict.fromkeys(attention_projections(base.unet), rank)
        method = cls(
            base,
            class_word,
            placeholder_token,
            identifier_token,
            rank,
            layer_ranks=None if ranks == usual else ranks,
        )
        learned = {}
        for name, pair in matrices.items():
            network, _, layer = name.partition(".")
            group = "matrices" if network == "unet" else "text_matrices"
            for part, matrix in zip("AB", pair, strict=True):
                learned[f"{group}.{layer.replace('.', '_')}.{part}.weight"] = matrix
        method.load_state_dict(learned)
        return method
