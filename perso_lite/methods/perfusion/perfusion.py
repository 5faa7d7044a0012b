"""Perfusion: a gated rank-one edit of cross-attention, with its keys locked.

Tewel, Gal, Chechik and Atzmon, "Key-Locked Rank One Editing for Text-to-Image
Personalization", SIGGRAPH 2023 (arXiv:2305.01644).

The idea: in cross-attention a word's key says where it is drawn and its value what is
drawn there. So let the new word keep the keys of its class word, which already knows
where a thing of its kind belongs, and learn only one value vector for every layer. A
gate, open where a text state resembles the concept's own (i*), puts them in:

    h_m = W e'_m + sigmoid((s_m - beta) / tau) o*                                (Eq. 3)

where s_m is the share of i* in text state e_m and e'_m what is left without it
(`rank_one.py`), for the keys o*_K = W_K e_class, locked, for the values o*_V, learned.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.base import base_name, text_fingerprint
from perso_lite.conditioning.words import noun_of, vector_of
from perso_lite.errors import PersoError, check_whole
from perso_lite.method import Method
from perso_lite.methods.perfusion.beside_others import shut_gate_noticed
from perso_lite.methods.perfusion.covariance import TextCovariance, covariance_of
from perso_lite.methods.perfusion.joint_edit import joined_edit
from perso_lite.methods.perfusion.rank_one import check_gate
from perso_lite.methods.perfusion.released import (
    CHECKPOINT_FORMAT,
    RELEASED_SETTINGS,
    read_released_checkpoint,
)
from perso_lite.methods.perfusion.start import projected_text, state_in_sentences
from perso_lite.sampling import InferenceParameter

COVARIANCE_KEY = "perso_lite.covariance_fingerprint"  # in the header of files


class Perfusion(Method):
    """One word, and one value vector for each cross-attention layer.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept.
        placeholder_token: the new word; lower case, in angle brackets, no blanks.
        initializer_token: the word whose keys are kept and whose vector the new word
            starts from, one token; default: the (last) class word.
        key_locking: what keys are made of. "local": the text without i*, and the class
            word's key through the gate (paper); "trained": the same with keys that are
            trained along (the paper's ablation); for drawing only, "global": the whole
            prompt with the class word in the concept's place, ungated, so that only
            values know the concept (for prompts encoded in the same `with` block).
        learning_rate: of the outputs o* (paper, as its readers report: 0.03).
        embedding_learning_rate: of the word's vector (as reported: 0.006; ours: 0.0005,
            chosen on development toys: with more the word's shape blurs).
        training_beta: the gate's bias while training (as reported: 0.75).
        training_tau: the gate's temperature while training (as reported: 0.1).
        beta: the bias for drawing (ours: 0.65; as reported 0.6 to 0.75, with global
            locking 0.4 to 0.6).
        tau: the temperature for drawing (as reported: 0.15).
        decay: of the moving average i* (as reported: 0.99).
        masked_loss: whether the loss is weighted with the masks (paper: yes).
        target_positions: of texts, if each position has an o* of its own (as in the
            files of a re-implementation); None: one for all (paper).
        covariance_in_file: whether a file holds C^-1, too (the re-implementation's do);
            if not, it is that kept for the base.
        covariance: C^-1 of the base's text encoder; default: `covariance_of(base)`.
            `save` one of your own, or files made with it cannot be read later.

    Raises:
        PersoError: a placeholder the tokenizer would misread or already knows, an
            initializer token that is not one token, a number out of range, a covariance
            of another text encoder, or none.
    """

    name: ClassVar[str] = "perfusion"
    SETTINGS = (
        "initializer_token", "key_locking", "learning_rate", "embedding_learning_rate",
        "training_beta", "training_tau", "beta", "tau", "decay", "masked_loss",
        "target_positions", "covariance_in_file",
    )  # fmt: skip
    SIZES = ("target_positions",)
    PUBLIC_FORMATS = (CHECKPOINT_FORMAT,)

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        initializer_token: str | None = None,
        key_locking: str = "local",
        learning_rate: float = 0.03,
        embedding_learning_rate: float = 0.0005,
        training_beta: float = 0.75,
        training_tau: float = 0.1,
        beta: float = 0.65,
        tau: float = 0.15,
        decay: float = 0.99,
        masked_loss: bool = True,
        target_positions: int | None = None,
        covariance_in_file: bool = False,
        covariance: TextCovariance | None = None,
    ):
        super().__init__(base, class_word, placeholder_token)
        self.initializer_token = initializer_token or noun_of(class_word)
        self.trained_keys = key_locking == "trained"
        self.key_locking, self.beta, self.tau = key_locking, beta, tau
        self.training_beta, self.training_tau = training_beta, training_tau
        self.learning_rate = learning_rate
        self.embedding_learning_rate = embedding_learning_rate
        self.decay, self.masked_loss = decay, masked_loss
        check_gate(training_beta, training_tau)
        if not 0 <= decay < 1:
            raise PersoError(
                f"decay is {decay}, but it is the part of i* that a step leaves: from "
                "0 to less than 1, for example 0.99."
            )
        check_whole("target_positions", target_positions or 1, 1)
        self.target_positions = target_positions
        self.covariance_in_file = covariance_in_file

        # v*, the word's own vector, starts as the class word's.
        start = vector_of(base, self.initializer_token)[None]
        if covariance is None and covariance_in_file:  # load_method fills it in
            nothing = torch.eye(start.shape[1])
            covariance = TextCovariance(nothing, text_fingerprint(base))
        self._covariance = (covariance or covariance_of(base)).checked(base)
        inverse = self._covariance.inverse.to(base.device)  # (dim, dim)
        self.register_buffer("inverse_covariance", inverse, covariance_in_file)
        self.embedding = nn.Parameter(start)  # (1, dim)
        # i*: the text state that the gate looks for; it follows the word as it learns.
        class_state = state_in_sentences(base, self.initializer_token)  # (dim,)
        self.register_buffer("target_input", class_state)

        # o*: what keys and values answer i* with, layer after layer in one vector each.
        keys, values = (
            projected_text(base.unet, class_state, kind) for kind in ("to_k", "to_v")
        )
        if target_positions:
            keys, values = (o.repeat(target_positions, 1) for o in (keys, values))
        self.target_keys = nn.Parameter(keys, requires_grad=self.trained_keys)
        self.target_values = nn.Parameter(values)  # (sum of the layers' widths,)

    # -- training --------------------------------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Values (and keys, if not locked), and the word's vector; no weight decay."""
        targets = [self.target_values]
        targets += [self.target_keys] if self.trained_keys else []
        word, fixed = [self.embedding], {"weight_decay": 0.0}
        return [
            {"params": targets, "lr": self.learning_rate, **fixed},
            {"params": word, "lr": self.embedding_learning_rate, **fixed},
        ]

    def after_step(self, index: int, captions: list[str], states: Tensor) -> None:
        """i* <- decay i* + (1 - decay) mean e, without gradient (ours)."""
        tokenizer = self.base.tokenizer
        ids = tokenizer(captions, padding="max_length", truncation=True).input_ids
        places = self.tokens.places(tokenizer, torch.tensor(ids))  # (batch, tokens)
        first = places.int().argmax(1)  # if it is said twice
        own = states[range(len(captions)), first]  # (batch, dim)
        self.target_input.lerp_(own.float().mean(0), 1 - self.decay)

    def loss_weights(self, masks: Tensor) -> Tensor | None:
        """Soft masks, each divided by its own maximum."""
        if not self.masked_loss:
            return None
        largest = masks.amax((1, 2, 3), keepdim=True)
        return torch.where(largest > 0, masks / largest.clamp(min=1e-6), 1.0)

    # -- drawing ---------------------------------------------------------------------

    @contextmanager
    def attach(self, base: StableDiffusionPipeline) -> Iterator[None]:
        """Inside the `with` block, `base` knows the word and its layers are edited.

        Several concepts on one base are edited jointly; their order does not matter.
        A prompt beside whose other new words the gate stays shut gets a warning.

        Raises:
            PersoError: the word is taken, `base` is of another shape, or a concept is
                there already whose i* is the same.
        """
        with (
            self.tokens.attached(base, lambda: self.embedding),
            joined_edit(base, self),
            shut_gate_noticed(base, self),
        ):
            yield

    beta = InferenceParameter(
        "the share of i* at which the gate is half open, in [0, 1]",
        lambda _, beta: check_gate(beta=beta)[0],
    )
    tau = InferenceParameter(
        "how soft the gate is", lambda _, tau: check_gate(tau=tau)[1]
    )

    def _check_key_locking(self, value: str) -> str:
        possible = ("trained" if self.trained_keys else "local", "global")
        if value not in possible:
            raise PersoError(
                f'key_locking is "{value}", but this concept can be drawn with '
                f'{" or ".join(possible)} only: keys are locked ("local") or "trained" '
                "from the start of training on."
            )
        return value

    key_locking = InferenceParameter("what the keys are made of", _check_key_locking)

    @property
    def covariance(self) -> TextCovariance:
        """C^-1, with what is known of it."""
        if not self.covariance_in_file:
            return self._covariance
        return replace(self._covariance, inverse=self.inverse_covariance.cpu())

    def targets(self, kind: str) -> Tensor:
        """o* of all layers in one vector, or one for each position, see `GatedConcept`.

        Args:
            kind: "to_k" or "to_v".
        """
        return self.target_keys if kind == "to_k" else self.target_values

    @property
    def keys_of_class(self) -> bool:
        """Whether keys come from the prompt with the class word: never in training."""
        return self.key_locking == "global" and not self.training

    @property
    def gate_settings(self) -> tuple[float, float]:
        """Beta and tau as they hold now: those of training in a training step."""
        if self.training:
            return self.training_beta, self.training_tau
        return self.beta, self.tau

    # -- files -----------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build this method again."""
        # how keys were made outlasts how they are drawn just now
        trained = {"key_locking": "trained"} if self.trained_keys else {}
        return super().settings() | trained

    def header(self) -> dict[str, str]:
        """With the fingerprint of C, which is not in the file."""
        return super().header() | {COVARIANCE_KEY: self.covariance.fingerprint}

    def check_header(self, header: dict[str, str], path: str | Path) -> None:
        """Refuse a file that was trained with another covariance.

        Raises:
            PersoError: it was.
        """
        written, kept = header.get(COVARIANCE_KEY), self.covariance.fingerprint
        if kept != written:
            raise PersoError(
                f"{path} was trained with the covariance {written}, but the one kept "
                f"for {base_name(self.base)} is {kept}, and gates would open "
                "elsewhere. Put the former back, or train the concept again."
            )

    @classmethod
    def from_released(
        cls,
        path: str | Path,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
    ) -> "Perfusion":
        """Read a checkpoint of the re-implementation (see `released.py`).

        Args:
            path: the file; it holds C^-1, too, and so will ours.
            base: the pipeline it was learned on (the format cannot tell).
            class_word: the everyday word, which the format leaves out.
            placeholder_token: a name for the concept, which is "*" there.

        Raises:
            PersoError: not such a file, or of another base.
        """
        found = read_released_checkpoint(path, base)
        covariance = TextCovariance(found["inverse_covariance"], text_fingerprint(base))
        word = class_word, placeholder_token
        positions = len(found["target_values"])
        options = {"target_positions": positions, "covariance": covariance}
        method = cls(base, *word, **options, **RELEASED_SETTINGS)
        method.load_state_dict(found)
        return method
