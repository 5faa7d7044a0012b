"""CatVersion: one key and one value before the tokens, deep in the text encoder.

Zhao, Zhu, Dong, Wang and Gao, "CatVersion: Concatenating Embeddings for Diffusion-Based
Text-to-Image Personalization", 2023 (arXiv:2311.14631).

The idea: a word learned at the text encoder's input has a long way to the U-Net, and
the encoder's last layers are where the features are dense that the U-Net reads. So
learn there: put one key P_K and one value P_V before those of the tokens, in the last
three self-attention layers, and leave the class word as it is, with all it knows. Each
token divides its attention anew, which adds a residual to what it found before:

    out = Attn + alpha (P_V - Attn),   alpha = e^(q P_K + b) / (e^(q P_K + b) + Z)

where q is its query and Z the sum of e^(q k) over the tokens it sees (`prefix.py`). The
prefix is never masked: all states of a text change, those of its start and end, too.

Here a placeholder turns it on: it is read as the class word, and the prefix acts in
those texts that say it (released code: in every prompt but the unconditional one).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

from perso_lite.concepts import Concept
from perso_lite.conditioning.words import vector_of, vectors_of
from perso_lite.errors import PersoError, check_finite, check_whole
from perso_lite.method import Method
from perso_lite.methods.catversion.prefix import (
    check_layers,
    joined_prefixes,
    last_layers,
    self_attention_layers,
)
from perso_lite.methods.catversion.released import ADAPTER_FORMAT, released_prefix
from perso_lite.sampling import InferenceParameter

CAPTIONS = ("word", "templates", "empty")
TRAINED = ("both", "keys", "values")
# of the released code: its base rate of 5e-3 times 1 GPU, a batch of 2, 1 accumulation
RELEASED_SETTINGS = {
    "learning_rate": 5e-3 * 1 * 2 * 1, "init_std": 1.0, "prefix_logit_bias": 1.0,
}  # fmt: skip


def _check_bias(_: "CatVersion", bias: Any) -> float:
    if bias != -math.inf:
        check_finite("prefix_logit_bias", bias)
    return float(bias)


class CatVersion(Method):
    """A prefix for the class word; the word itself is not learned.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept, of any number of tokens.
        placeholder_token: is read as the class word, and lets the prefix act.
        initializer_token: the word that the placeholder is read as, one token; default:
            the class word (paper). A rare word is the ablation.
        caption: what is said of every picture in training. "word": the placeholder
            alone (paper: the class word alone); "templates": the pictures' own captions
            or the neutral ones; "empty": nothing (released code, as it is given out).
        layers: in which layers of the text encoder, from 0; default: the last three
            (paper).
        prefix_length: keys and values in each layer (paper: 1).
        prefix_logit_bias: b, added to the prefix's logits. 0: as written above; 1.0:
            released code, as its mask makes it; the lower, the less of the concept, and
            -inf: the base.
        clean_unconditional: whether empty prompts, which guidance leads away from, are
            left alone (released code, when it draws). If not, the prefix acts there,
            too, and guidance cancels part of the concept.
        trained: what learns, "both" (paper), or "keys" or "values" alone; the others
            stay as they were drawn.
        init_std: standard deviation of the normal numbers it starts from (released
            code: 1).
        learning_rate: of AdamW (released code: 0.01, its 0.005 times the batch of 2;
            ours: 0.1, because we take 200 steps and not 1,000. Of 0.01, 0.1, 0.2 and
            0.4, tried on a development toy for 140 steps, the first learned nothing
            yet and the last forgot the prompt).
        seed: of those numbers.

    Raises:
        PersoError: a placeholder the tokenizer would misread or already knows, a word
            that it cannot read, layers that the text encoder does not have, or a number
            out of range.
    """

    name: ClassVar[str] = "catversion"
    SETTINGS = (
        "initializer_token", "caption", "layers", "prefix_length", "prefix_logit_bias",
        "clean_unconditional", "trained", "init_std", "learning_rate", "seed",
    )  # fmt: skip
    SIZES = ("prefix_length",)
    PUBLIC_FORMATS = (ADAPTER_FORMAT,)
    prefix_logit_bias = InferenceParameter(
        "b, how strongly the prefix is attended to; -inf for the base", _check_bias
    )

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        initializer_token: str | None = None,
        caption: str = "word",
        layers: list[int] | None = None,
        prefix_length: int = 1,
        prefix_logit_bias: float = 0.0,
        clean_unconditional: bool = True,
        trained: str = "both",
        init_std: float = 1.0,
        learning_rate: float = 0.1,
        seed: int = 0,
    ):
        # the placeholder's vectors are the class word's own: nothing is learned there
        vectors = vectors_of(base, class_word)  # (pieces, dim)
        if initializer_token is not None:
            vectors = vector_of(base, initializer_token)[None]
        super().__init__(base, class_word, placeholder_token, len(vectors))
        self.register_buffer("word", vectors, persistent=False)
        self.initializer_token, self.caption = initializer_token, caption
        count = len(self_attention_layers(base.text_encoder))
        self.layers = last_layers(count) if layers is None else list(layers)
        self.prefix_length = prefix_length
        self.prefix_logit_bias = prefix_logit_bias
        self.clean_unconditional = clean_unconditional
        self.trained, self.init_std = trained, init_std
        self.learning_rate, self.seed = learning_rate, seed
        self._check(count)

        # P_K and P_V, behind the layers' projections, all heads in one vector
        shape = (prefix_length, len(self.layers), 2, vectors.shape[1])
        generator = torch.Generator().manual_seed(seed)
        keys, values = (init_std * torch.randn(shape, generator=generator)).unbind(2)
        # both (prefix_length, layers, dim)
        self.prefix_keys = nn.Parameter(keys.contiguous(), trained != "values")
        self.prefix_values = nn.Parameter(values.contiguous(), trained != "keys")
        self.to(base.device)

    def _check(self, count: int) -> None:
        """Refuse settings out of range, for a text encoder of `count` layers."""
        check_layers(self.layers, count)
        check_whole("prefix_length", self.prefix_length, 1)
        check_whole("seed", self.seed, 0, 2**64 - 1)
        check_finite("init_std", self.init_std, least=0)
        for name, possible in (("caption", CAPTIONS), ("trained", TRAINED)):
            if (value := getattr(self, name)) not in possible:
                raise PersoError(
                    f'{name} is "{value}"; choose from {", ".join(possible)}.'
                )

    @contextmanager
    def attach(self, base: StableDiffusionPipeline) -> Iterator[None]:
        """Inside the `with` block, the prefix acts where `base` reads the word.

        Raises:
            PersoError: the word is taken, or `base` has another text encoder.
        """
        with (
            self.tokens.attached(base, lambda: self.word),
            joined_prefixes(base, self),
        ):
            yield

    def acts_in(self, tokenizer: CLIPTokenizer, ids: Tensor) -> Tensor:
        """Which texts (texts, tokens) the prefix acts in: (texts,) and boolean."""
        texts = self.tokens.places(tokenizer, ids).any(1)
        training_on_empty = self.training and self.caption == "empty"
        if training_on_empty or not self.clean_unconditional:
            # the start of an empty text is followed by its end
            texts = texts | (ids[:, 1:2] == tokenizer.eos_token_id).any(1)
        return texts

    def captions(self, concept: Concept) -> list[list[str]]:
        """For every picture, the captions to draw from; see `caption`."""
        if self.caption == "templates":
            return super().captions(concept)
        text = self.placeholder_token if self.caption == "word" else ""
        return [[text]] * len(concept.images)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Keys and values, with AdamW's usual weight decay (released code: 0.01)."""
        learned = [p for p in self.parameters() if p.requires_grad]
        return [{"params": learned, "lr": self.learning_rate, "weight_decay": 0.01}]

    @classmethod
    def from_released(
        cls,
        path: str | Path,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
    ) -> "CatVersion":
        """Read a `pytorch_adapter.bin` of the released code.

        Args:
            path: the file, or the folder that holds it.
            base: Stable Diffusion 1.5, on which such files were learned (the format
                cannot tell).
            class_word: the word that it was trained with, for example "teddybear".
            placeholder_token: a name for the concept.

        Raises:
            PersoError: not such a file, or another text width.
        """
        prefix = released_prefix(path)
        method = cls(base, class_word, placeholder_token, **RELEASED_SETTINGS)
        shape = (-1, len(method.layers), 2, method.word.shape[1])
        if prefix.numel() != method.prefix_keys.numel() + method.prefix_values.numel():
            raise PersoError(
                f"{path} holds {prefix.numel()} numbers, but a key and a value in "
                f"each of {shape[1]} layers of width {shape[3]} are "
                f"{2 * method.prefix_keys.numel()}: it was learned on another base."
            )
        keys, values = prefix.view(shape).unbind(2)
        method.load_state_dict({"prefix_keys": keys, "prefix_values": values})
        return method
