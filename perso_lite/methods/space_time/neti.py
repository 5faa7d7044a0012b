"""NeTI: a small network that writes the new word, for each timestep and layer anew.

Alaluf, Richardson, Metzer and Cohen-Or, "A Neural Space-Time Representation for
Text-to-Image Personalization", ACM TOG 42(6), 2023 (arXiv:2305.15391).

The idea: early denoising steps lay a picture out and late ones finish it, coarse
layers draw shapes and fine ones textures, so one vector for all is a compromise. Learn
instead a mapper M (`mapper.py`) from timestep t and layer l to the word, and to a
second vector, the textual bypass, added behind the text encoder to the word's own
state and read by the values alone:

    word, bypass = M(t, l)            H = the text encoder's last state, word put in
    keys of layer l   = LN(H)
    values of layer l = LN(H + |H| alpha bypass / |bypass|)      at the word's place

While M trains, its hidden units are cut off behind a random k (nested dropout), so that
the first ones learn what matters most; for drawing, k is chosen: `truncation_idx`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional as F

from perso_lite.conditioning.words import noun_of, vector_of
from perso_lite.errors import PersoError
from perso_lite.methods.space_time.mapper import HIDDEN, SpaceTimeMapper
from perso_lite.methods.space_time.released import MAPPER_FORMAT, read_released_mapper
from perso_lite.methods.space_time.word import SpaceTimeWord
from perso_lite.sampling import InferenceParameter

NORM_MODES = ("joint", "word")


class NeTI(SpaceTimeWord):
    """One word, written by a mapper.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept.
        placeholder_token: the new word; lower case, in angle brackets, no blanks.
        initializer_token: the word whose vector's length the mapper's outputs are
            given, one token; default: the (last) class word.
        bypass: whether there is a textual bypass (paper: yes).
        bypass_alpha: see the equation above (released code: 0.2).
        truncation_idx: how many of the 128 hidden units to draw with; None: all.
        norm_mode: what has that length: word and bypass "joint" (released code), or the
            "word" alone.
        over_time: whether the mapper knows the timestep.
        over_layers: whether the mapper knows the layer.
        nested_dropout: how often units are cut off in training (released code: 0.5).
        positional_encoding: False for the ablation without Fourier features.
        start_at_class: whether the word is nearly the initializer's vector at first
            (ours), or something else at every point, at random (released code).
        learning_rate: of AdamW (released code: 8e-3, its 1e-3 scaled with the batch;
            ours: 3e-3).
        seed: of the mapper's frequencies and first weights.

    Raises:
        PersoError: a placeholder the tokenizer would misread or already knows, an
            initializer token that is not one token, a number out of range.
    """

    name: ClassVar[str] = "neti"
    SETTINGS = (
        "initializer_token", "bypass", "bypass_alpha", "truncation_idx", "norm_mode",
        "seed", "over_time", "over_layers", "nested_dropout", "positional_encoding",
        "start_at_class", "learning_rate",
    )  # fmt: skip
    PUBLIC_FORMATS = (MAPPER_FORMAT,)

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        initializer_token: str | None = None,
        bypass: bool = True,
        bypass_alpha: float = 0.2,
        truncation_idx: int | None = None,
        norm_mode: str = "joint",
        over_time: bool = True,
        over_layers: bool = True,
        nested_dropout: float = 0.5,
        positional_encoding: bool = True,
        start_at_class: bool = True,
        learning_rate: float = 3e-3,
        seed: int = 0,
    ):
        super().__init__(base, class_word, placeholder_token)
        self.initializer_token = initializer_token or noun_of(class_word)
        self.bypass, self.bypass_alpha = bypass, bypass_alpha
        self.truncation_idx, self.norm_mode = truncation_idx, norm_mode
        self.over_time, self.over_layers = over_time, over_layers
        self.positional_encoding = positional_encoding
        self.learning_rate, self.seed = learning_rate, seed
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            self.mapper = SpaceTimeMapper(
                self.num_layers,
                self.width * (2 if bypass else 1),
                self.num_train_timesteps,
                nested_dropout=nested_dropout,
                positional_encoding=positional_encoding,
            )
        start = vector_of(base, self.initializer_token).cpu()
        self.register_buffer("target_norm", start.norm())
        self.start_at_class = start_at_class
        if start_at_class:
            # of the bypass only the direction counts: it starts anywhere
            anywhere = torch.zeros(self.width if bypass else 0)
            self.mapper.start_at(torch.cat([start, anywhere]))
        self.to(base.device)
        self.eval()  # the mapper, too: no nested dropout outside of training

    def vectors(self, timesteps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Word and bypass at timesteps (batch,): (batch, layers or 1, dim) each.

        The bypass as the step that it makes: alpha bypass / |bypass|.
        """
        layers = torch.arange(self.num_layers, device=timesteps.device)
        if not self.over_layers:
            layers = layers[self.num_layers // 2].reshape(1)
        if not self.over_time:
            timesteps = torch.full_like(timesteps, self.num_train_timesteps // 2)
        points = torch.cartesian_prod(timesteps.float(), layers.float())
        kept = None if self.training else self.truncation_idx  # for drawing only
        with torch.autocast(points.device.type, enabled=False):
            output = self.mapper(points, kept)
        output = output.unflatten(0, (len(timesteps), len(layers)))
        word, bypass = self.rescaled(output)
        if bypass is None or self.bypass_alpha == 0:
            return word, None
        return word, self.bypass_alpha * F.normalize(bypass, dim=-1)

    def rescaled(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give what M returns the length of a word, and take it apart."""
        if self.norm_mode == "joint":
            output = F.normalize(output, dim=-1) * self.target_norm
        if not self.bypass:
            word, bypass = output, None
        else:
            word, bypass = output.chunk(2, dim=-1)
        if self.norm_mode == "word":
            word = F.normalize(word, dim=-1) * self.target_norm
        return word, bypass

    # -- training --------------------------------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The whole mapper, with AdamW's usual weight decay (released code: 0.01)."""
        return [{"params": list(self.mapper.parameters()), "lr": self.learning_rate}]

    def draw_timesteps(
        self, count: int, num_train_timesteps: int, generator: torch.Generator
    ) -> Tensor:
        """Timesteps of which every two pictures share one, (count,) (ours).

        Each has its own layers to encode the text for, so this halves the text
        encoder's work; that they come from equal parts of time makes up for it.
        """
        distinct = math.ceil(count / 2)
        parts = torch.arange(distinct) + torch.rand(distinct, generator=generator)
        timesteps = (parts / distinct * num_train_timesteps).long()
        timesteps = timesteps.clamp(max=num_train_timesteps - 1)  # it may round up
        return timesteps.repeat_interleave(2)[:count]

    @contextmanager
    def training_step(self, generator: torch.Generator) -> Iterator[None]:
        """As every method's; nested dropout draws from the generator, too."""
        with self.mapper.drawing_from(generator), super().training_step(generator):
            yield

    @property
    def norm_mode(self) -> str:
        """What has the class word's length: word and bypass "joint", or the "word"."""
        return self._norm_mode

    @norm_mode.setter
    def norm_mode(self, value: str) -> None:
        if value not in NORM_MODES:
            raise PersoError(
                f'norm_mode is "{value}"; choose from {", ".join(NORM_MODES)}.'
            )
        self._norm_mode = value

    @classmethod
    def from_released(
        cls,
        path: str | Path,
        base: StableDiffusionPipeline,
        class_word: str | None = None,
        placeholder_token: str | None = None,
    ) -> "NeTI":
        """Read a `mapper-steps-250.pt` of the released code.

        Args:
            path: the file, or the folder that holds it.
            base: the pipeline it was learned on, Stable Diffusion 1.4.
            class_word: the everyday word, one token; default: that of its training.
            placeholder_token: default: the word of its training.

        Raises:
            PersoError: not such a file, of another base, or with other anchors.
        """
        found = read_released_mapper(path)
        word = class_word or found.class_word
        token = placeholder_token or found.placeholder_token
        method = cls(base, word, token, start_at_class=False, **found.settings)
        learned = {f"mapper.{name}": value for name, value in found.weights.items()}
        learned["target_norm"] = torch.tensor(found.target_norm)
        shapes = {name: value.shape for name, value in method.state_dict().items()}
        if shapes != {name: value.shape for name, value in learned.items()}:
            raise PersoError(
                f"{path} holds a mapper of other sizes than one for "
                f"{method.num_layers} layers and text of width {method.width} with 10 "
                "anchors in time: read it onto the base it was learned on."
            )
        method.load_state_dict(learned)
        return method

    # -- drawing ---------------------------------------------------------------------

    @property
    def nested_dropout(self) -> float:
        """How often units are cut off in training."""
        return self.mapper.nested_dropout

    def _check_truncation_idx(self, value: int | None) -> int | None:
        if value is not None and not (type(value) is int and 0 <= value <= HIDDEN):
            raise PersoError(
                f"truncation_idx is {value}, but the mapper has {HIDDEN} hidden units "
                f"to keep the first of: give 0 to {HIDDEN}, or None for all."
            )
        return value

    def _check_bypass_alpha(self, value: float) -> float:
        if not (value >= 0 and math.isfinite(value)):
            raise PersoError(
                f"bypass_alpha is {value}, but it is the length of a step: 0 for none, "
                "0.2 as in training."
            )
        return float(value)

    truncation_idx = InferenceParameter(
        "how many hidden units to draw with, from 0 to 128; None: all",
        _check_truncation_idx,
    )
    bypass_alpha = InferenceParameter(
        "the bypass's step, as a share of the length of the word's text state",
        _check_bypass_alpha,
    )
