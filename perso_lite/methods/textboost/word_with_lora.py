"""A new word, and LoRA for the text encoder that reads it.

This is what TextBoost learns and draws with; how it learns is in `textboost.py`.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from torch import Tensor, nn

from perso_lite.base import base_name
from perso_lite.conditioning.lora import LoraLayers
from perso_lite.conditioning.new_words import token_names, words_of
from perso_lite.conditioning.tokens import check_placeholder
from perso_lite.conditioning.words import noun_of, vector_of, vectors_of
from perso_lite.errors import PersoError, check_finite, check_whole
from perso_lite.method import Method
from perso_lite.methods.textboost.causality import watched_words
from perso_lite.methods.textboost.peft_files import write_peft_folder
from perso_lite.sampling import InferenceParameter

TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")  # of every layer


def _set_scale(method: "WordWithLora", scale: float) -> float:
    check_finite("lora_scale", scale)
    method.lora.set_scale(scale)
    return scale


class WordWithLora(Method):
    """A word, more tokens, and thin matrices for the text encoder.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept.
        placeholder_token: the new word.
        num_vectors: how many vectors it is made of.
        initializer_token: the word whose vector it starts from; default: the (last)
            class word.
        with_class_word: whether the class word is read behind it.
        targets: layers of the text encoder to change, of `TARGETS`.
        rank: r of LoRA.
        causality_preserved: whether LoRA acts from the new word on only.
        learning_rate: of LoRA.
        embedding_learning_rate: of all vectors, falling to 0 at the last step.
        seed: of A.
        others: more tokens, and the words whose vectors they start from.

    Raises:
        PersoError: a token the tokenizer would misread or already knows, an initializer
            token that is not one token, a number or layer that cannot be.
    """

    lora_scale = InferenceParameter(
        "how much of LoRA is drawn; 0: the base's text encoder with the word; not "
        "saved (default 1)",
        _set_scale,
    )

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str,
        num_vectors: int,
        initializer_token: str | None,
        with_class_word: bool,
        targets: Sequence[str],
        rank: int,
        causality_preserved: bool,
        learning_rate: float,
        embedding_learning_rate: float,
        seed: int,
        others: Mapping[str, str],
    ):
        check_whole("num_vectors", num_vectors, 1)
        check_whole("rank", rank, 1)
        check_whole("seed", seed, 0)
        if not targets or not {*targets} <= {*TARGETS}:
            raise PersoError(
                f"targets is {targets!r}; give one or more of {', '.join(TARGETS)}."
            )
        of_class = vectors_of(base, class_word if with_class_word else "")
        super().__init__(
            base, class_word, placeholder_token, num_vectors + len(of_class)
        )
        self.num_vectors, self.with_class_word = num_vectors, with_class_word
        self.initializer_token = initializer_token or noun_of(class_word)
        self.targets, self.rank, self.seed = list(targets), rank, seed
        self.causality_preserved = causality_preserved
        self.learning_rate = learning_rate
        self.embedding_learning_rate = embedding_learning_rate

        # the word, with the class word behind it; then the other tokens
        start = vector_of(base, self.initializer_token)
        starts = [start.repeat(num_vectors, 1)]
        for token, words in others.items():
            starts.append(vectors_of_words(base, words))
            check_placeholder(base.tokenizer, token, len(starts[-1]))
            self.tokens.tokens += token_names(token, len(starts[-1]))
        self.vectors = nn.Parameter(torch.cat(starts))  # (rows, dim)
        self.register_buffer("class_vectors", of_class, persistent=False)

        # A from N(0, 1/r^2) and B zero (released code): E is E_0 at first
        encoder = base.text_encoder
        layers = [name for name, _ in encoder.named_modules()]
        layers = [name for name in layers if name.rpartition(".")[2] in targets]
        self.lora = LoraLayers(encoder, layers, rank)
        self.matrices = self.lora.matrices
        generator = torch.Generator().manual_seed(seed)
        for pair in self.matrices.values():
            nn.init.normal_(pair["A"].weight, std=1 / rank, generator=generator)
        self.lora_scale = 1.0
        self.to(base.device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Vectors, without weight decay (ours) and falling; and LoRA (0.01)."""
        vectors = {"params": [self.vectors], "lr": self.embedding_learning_rate}
        matrices = {"params": [*self.matrices.parameters()], "lr": self.learning_rate}
        return [
            vectors | {"weight_decay": 0.0, "learning_rate_schedule": "linear"},
            matrices | {"weight_decay": 0.01},
        ]

    def all_vectors(self) -> Tensor:
        """What the text encoder reads for all tokens, in their order: (tokens, dim)."""
        word, others = self.vectors.tensor_split([self.num_vectors])
        return torch.cat([word, self.class_vectors, others])

    @contextmanager
    def attach(self, base: StableDiffusionPipeline) -> Iterator[None]:
        """Inside the `with` block, `base` knows the words and reads with LoRA.

        LoRA of several concepts adds up. Unless causality is preserved, it changes
        every prompt. At words of other concepts it is left out (see `causality.py`).

        Raises:
            PersoError: a word is taken, or the text encoder is built differently.
        """
        with (
            self.tokens.attached(base, self.all_vectors),
            watched_words(base, self.tokens, self.causality_preserved) as where,
            self.lora.attached(base.text_encoder, where),
        ):
            yield

    # -- the folders that stock libraries read ---------------------------------------

    def to_peft(self, folder: str | Path) -> Path:
        """Write a folder for stock libraries, which then encode prompts as we do.

        For `peft.PeftModel.from_pretrained(text_encoder, folder)` or the text encoder's
        `load_adapter(folder)`, of the same version of transformers, which names the
        layers; and a file of each word for `pipe.load_textual_inversion`.

        Args:
            folder: an earlier one of that name is replaced.

        Raises:
            PersoError: causality is preserved, which peft cannot, or the place cannot
                be written.
        """
        if self.causality_preserved:
            raise PersoError(
                f"The LoRA of {self.placeholder_token} acts from the new word on only, "
                "which peft cannot do. Save it with save(), or train with "
                "causality_preserved=False."
            )
        words = words_of(self.tokens.tokens)
        vectors = self.all_vectors().split([len(tokens) for tokens in words])
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.rank,
            target_modules=self.targets,
            base_model_name_or_path=base_name(self.base),
            inference_mode=True,
        )
        named = {tokens[0]: v for tokens, v in zip(words, vectors, strict=True)}
        return write_peft_folder(folder, self.lora.weights(), config, named)

    def fill(
        self,
        weights: Mapping[str, Tensor],
        words: Mapping[str, Tensor],
        tokens: Mapping[str, str],
    ) -> None:
        """Take over what was learned elsewhere; a word that has no token is named.

        Args:
            weights: A and B of every layer, by peft's names without "text_model.".
            words: vectors (count, dim) by word.
            tokens: which token of ours a word is.

        Raises:
            PersoError: layers or widths are not those of the base.
        """
        mine, own = self.lora.weights(), self.own_vectors()
        mine = {name.removeprefix("text_model."): value for name, value in mine.items()}
        shapes, others = ({k: v.shape for k, v in w.items()} for w in (mine, weights))
        widths = {vectors.shape[-1] for vectors in words.values()}
        if shapes != others or widths != {self.vectors.shape[-1]}:
            raise PersoError(
                "This LoRA and its words do not fit the text encoder of this base; "
                "read them onto the base they were trained on."
            )
        for name, value in weights.items():
            mine[name].copy_(value)
        rows = {word: own.get(tokens.get(word, "")) for word in words}
        left = [w for w, r in rows.items() if r is None or len(r) != len(words[w])]
        for word in rows.keys() - left:
            rows[word].copy_(words[word])
        if left:
            warnings.warn(
                f"Not read, as no transformation here is like that: {', '.join(left)}.",
                stacklevel=3,
            )

    def own_vectors(self) -> dict[str, Tensor]:
        """The rows of `vectors` (count, dim) by the word that they are of."""
        words = [tokens[0] for tokens in words_of(self.tokens.tokens)]
        counts = [len(tokens) for tokens in words_of(self.tokens.tokens)]
        counts[0] = self.num_vectors  # without the class word
        return dict(zip(words, self.vectors.detach().split(counts), strict=True))


# -- where it starts -------------------------------------------------------------------


def vectors_of_words(base: StableDiffusionPipeline, text: str) -> Tensor:
    """A vector for each word of a text, (words, dim) float32.

    A word's row, or the mean of its pieces' (ours; for CLIP, all of the released code's
    words are whole).
    """
    return torch.stack([vectors_of(base, word).mean(0) for word in text.split()])
