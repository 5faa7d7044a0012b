"""What every personalization method is to the rest of the library.

A method is a module that holds only what it learns. `fit` asks it for captions,
parameter groups, and optionally for weights and extra terms of the loss; `attach`
lends what was learned to a stock pipeline for the length of a `with` block.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.base import base_name, fingerprint
from perso_lite.concepts import Concept
from perso_lite.conditioning.tokens import TEMPLATES, encode_prompts
from perso_lite.files import write_tensors

FORMAT_VERSION = "1"


class Method(nn.Module):
    """The common shape; a subclass sets `name` and learns its own parameters.

    Args:
        base: the pipeline to learn on; it is used, never owned or changed.
        class_word: the everyday word for the concept, for example "teddy".
        placeholder_token: the new word, lower case in angle brackets.
    """

    name: ClassVar[str]

    def __init__(
        self, base: StableDiffusionPipeline, class_word: str, placeholder_token: str
    ):
        super().__init__()
        self.base = base
        self.class_word = class_word
        self.placeholder_token = placeholder_token
        self.base_fingerprint = fingerprint(base)
        self.training_record: dict[str, Any] = {}  # written by fit, kept in the file
        self.eval()  # `fit` puts a method into training mode for the length of a step

    # -- what fit asks for -----------------------------------------------------------

    def captions(self, concept: Concept) -> list[list[str]]:
        """For every picture, the captions to draw from at each step.

        A picture's own caption if it says the placeholder, otherwise the 27 neutral
        ones of Textual Inversion.
        """
        neutral = [template.format(self.placeholder_token) for template in TEMPLATES]
        own = concept.captions or [""] * len(concept.images)
        return [[text] if self.placeholder_token in text else neutral for text in own]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for AdamW: parameters, learning rate, weight decay."""
        raise NotImplementedError

    def encoder_hidden_states(self, captions: list[str], timesteps: Tensor) -> Tensor:
        """What the U-Net's cross-attention reads, (batch, tokens, dim).

        Every distinct caption goes through the text encoder once.
        """
        distinct = list(dict.fromkeys(captions))
        states = encode_prompts(self.base, distinct)  # (distinct, tokens, dim)
        return states[[distinct.index(caption) for caption in captions]]

    def draw_timesteps(
        self, count: int, num_train_timesteps: int, generator: torch.Generator
    ) -> Tensor:
        """Timesteps to train on, (count,); uniform unless a method knows better."""
        return torch.randint(num_train_timesteps, (count,), generator=generator)

    def loss_weights(self, masks: Tensor) -> Tensor | None:
        """Weights of the squared error from masks (batch, 1, height, width), or None.

        Masks are 1 on the concept, at latent resolution.
        """
        return None

    def extra_loss(self) -> Tensor | None:
        """A term to add to the denoising loss, or None."""
        return None

    def after_step(self, index: int) -> None:
        """Run after each optimizer step; `index` counts from 0."""

    # -- what everyone else asks for -------------------------------------------------

    def attach(self, base: StableDiffusionPipeline) -> AbstractContextManager[None]:
        """Lend what was learned to `base` inside a `with` block."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build this method again, as JSON can hold them."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """What was learned, by the names it has in a file."""
        return {f"{self.name}.{key}": value for key, value in self.state_dict().items()}

    def header(self) -> dict[str, str]:
        """What a file says about this concept, as strings."""
        libraries = ("torch", "diffusers", "transformers", "perso_lite")
        table = self.base.text_encoder.get_input_embeddings()
        return {
            "perso_lite.format_version": FORMAT_VERSION,
            "perso_lite.method": self.name,
            "perso_lite.placeholder_token": self.placeholder_token,
            "perso_lite.class_word": self.class_word,
            "perso_lite.base": base_name(self.base),
            "perso_lite.base_fingerprint": self.base_fingerprint,
            "perso_lite.text_width": str(table.embedding_dim),
            "perso_lite.settings": json.dumps(self.settings()),
            "perso_lite.training": json.dumps(self.training_record),
            "perso_lite.libraries": json.dumps({k: version(k) for k in libraries}),
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.title": f"{self.placeholder_token} ({self.class_word})",
            "modelspec.architecture": f"stable-diffusion-v1/{self.name}",
            "modelspec.implementation": "perso_lite",
            "modelspec.trigger_phrase": self.placeholder_token,
        }

    def save(self, path: str | Path) -> None:
        """Write one `.safetensors` file that `load_method` reads.

        Raises:
            PersoError: the place cannot be written or the disk is full.
        """
        write_tensors(path, self.tensors(), self.header())


@contextmanager
def attached(base: StableDiffusionPipeline, *methods: Method) -> Iterator[None]:
    """Attach several concepts at once; their placeholders must differ.

    Raises:
        PersoError: two of them claim one placeholder.
    """
    with ExitStack() as stack:
        for method in methods:
            stack.enter_context(method.attach(base))
        yield


@contextmanager
def inference_parameters(method: Method, **given: Any) -> Iterator[None]:
    """Set inference parameters for the length of the `with` block.

    Raises:
        PersoError: a value is out of range.
    """
    before = {name: getattr(method, name) for name in given}
    try:
        for name, value in given.items():
            setattr(method, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(method, name, value)


def parameters_of(method: Method) -> dict[str, bool | int | float | str | None]:
    """Whatever about a method is a plain number, word or switch."""
    plain = (bool, int, float, str, type(None))
    return {key: v for key, v in vars(method).items() if isinstance(v, plain)}


def state_of(method: Method) -> str:
    """Differs wherever a method has learned more or its dials stand otherwise."""
    digest = hashlib.sha256(repr(parameters_of(method)).encode())
    for tensor in method.state_dict().values():
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
