"""What every personalization method is to the rest of the library.

A method is a module that holds only what it learns. `fit` asks it for views of the
pictures, parameter groups, and optionally for weights and extra terms of the loss;
`attach` lends what was learned to a stock pipeline for the length of a `with` block.
`methods/README.md` shows how to write one.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor, nn

from perso_lite import __version__
from perso_lite.base import base_name, fingerprint
from perso_lite.concepts import Concept
from perso_lite.conditioning.architecture import check_parts
from perso_lite.conditioning.neutral_captions import TEMPLATES, style_templates
from perso_lite.conditioning.new_words import as_read, token_names
from perso_lite.conditioning.restored import restored
from perso_lite.conditioning.tokens import LearnedTokens, check_placeholder
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError, check_whole
from perso_lite.files.public import PublicFormat
from perso_lite.files.tensors import write_tensors
from perso_lite.sampling import InferenceParameter

FORMAT_VERSION = "1"


@dataclass
class View:
    """A picture to train on, and what may be said of it.

    Attributes:
        image: square and RGB.
        mask: square, white on the concept, or None.
        captions: one of them is drawn at each step.
    """

    image: Image.Image
    mask: Image.Image | None
    captions: list[str]


class Method(nn.Module):
    """The common shape; a subclass sets `name` and learns its own parameters.

    Attributes:
        name: in files and on the command line.
        SETTINGS: names of the keyword arguments that build a method again; each is an
            attribute, too.
        SIZES: those of them that are sizes of its tensors.
        INFERENCE_PARAMETERS: by name, those that the class declares.
        PUBLIC_FORMATS: of other tools' files that `load_method` opens.

    Args:
        base: the pipeline to learn on; it is used, never owned or changed.
        class_word: the everyday word for the concept, for example "teddy".
        placeholder_token: the new word; lower case, in angle brackets, no blanks.
        num_vectors: how many token vectors the word is made of.

    Raises:
        PersoError: a base of another architecture, a placeholder the tokenizer would
            misread or already knows, no class word, or more vectors than the base reads
            of a prompt.
    """

    name: ClassVar[str]
    SETTINGS: ClassVar[tuple[str, ...]] = ()
    SIZES: ClassVar[tuple[str, ...]] = ()
    INFERENCE_PARAMETERS: ClassVar[dict[str, InferenceParameter]] = {}
    PUBLIC_FORMATS: ClassVar[tuple[PublicFormat, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = {k: v for k, v in vars(cls).items() if isinstance(v, InferenceParameter)}
        cls.INFERENCE_PARAMETERS = cls.INFERENCE_PARAMETERS | own

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str,
        num_vectors: int = 1,
    ):
        check_parts(base)
        read = base.tokenizer.model_max_length - 2  # beside the start and the end
        check_whole("num_vectors", num_vectors, 1)
        if num_vectors > read:
            raise PersoError(
                f"num_vectors is {num_vectors}, but this base reads {read} tokens of a "
                "prompt, and a word must fit into one: give a smaller number."
            )
        check_placeholder(base.tokenizer, placeholder_token, num_vectors)
        if not class_word.split():
            raise PersoError(
                "The class word is empty: give the everyday word for the concept, for "
                'example "teddy".'
            )
        super().__init__()
        self.base = base
        self.class_word = " ".join(class_word.split())  # as it stands in prompts
        self.placeholder_token = placeholder_token
        self.tokens = LearnedTokens(token_names(placeholder_token, num_vectors))
        self.base_fingerprint = fingerprint(base)
        self.training_record: dict[str, Any] = {}  # written by fit, kept in the file
        self.eval()  # `fit` puts a method into training mode for the length of a step

    # -- what fit asks for, in this order --------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for AdamW: parameters, learning rate, weight decay.

        A group's `learning_rate_schedule`, if it has one, is in place of that of `fit`.
        """
        raise NotImplementedError

    def before_training(self, concept: Concept) -> None:
        """Prepare what training needs, with nothing attached: class pictures, say."""

    def views(self, concept: Concept) -> list[View]:
        """What to train on: every picture with its captions, unless a method adds."""
        captions = self.captions(concept)
        pictures = zip(concept.images, concept.masks, captions, strict=True)
        return [View(*picture) for picture in pictures]

    def captions(self, concept: Concept) -> list[list[str]]:
        """For every picture, the captions to draw from at each step.

        A picture's own caption if it says the placeholder, otherwise the neutral ones
        of Textual Inversion: 27 for an object, 17 for a style.
        """
        templates = TEMPLATES
        if concept.learnable_property == "style":
            templates = style_templates(self.base)
        neutral = [template.format(self.placeholder_token) for template in templates]
        own = concept.captions or [""] * len(concept.images)
        token = self.placeholder_token
        return [[text] if token in as_read(text) else neutral for text in own]

    def draw_timesteps(
        self, count: int, num_train_timesteps: int, generator: torch.Generator
    ) -> Tensor:
        """Timesteps to train on, (count,); uniform unless a method knows better."""
        return torch.randint(num_train_timesteps, (count,), generator=generator)

    @contextmanager
    def training_step(self, generator: torch.Generator) -> Iterator[None]:
        """Inside, the method is attached to its own base and in training mode.

        Args:
            generator: of everything that is drawn at random in the step.
        """
        with restored() as at_exit:
            at_exit(self.eval)
            self.train()
            with self.attach(self.base):
                yield

    def encoder_hidden_states(self, captions: list[str], timesteps: Tensor) -> Tensor:
        """What the U-Net's cross-attention reads, (batch, tokens, dim).

        Every distinct caption goes through the text encoder once.
        """
        distinct = list(dict.fromkeys(captions))
        states = encode_prompts(self.base, distinct)  # (distinct, tokens, dim)
        return states[[distinct.index(caption) for caption in captions]]

    def loss_weights(self, masks: Tensor) -> Tensor | None:
        """Weights of the squared error from masks (batch, 1, height, width), or None.

        Masks are 1 on the concept, at latent resolution.
        """
        return None

    def extra_loss(self, generator: torch.Generator) -> Tensor | None:
        """A term to add to the denoising loss, (), or None.

        Args:
            generator: of everything that is drawn at random for it.
        """
        return None

    def after_step(self, index: int, captions: list[str], states: Tensor) -> None:
        """Run after each optimizer step, with the method still attached.

        Args:
            index: counts from 0.
            captions: of the step, one per sample.
            states: what `encoder_hidden_states` gave for them, without gradient.
        """

    # -- what everyone else asks for -------------------------------------------------

    def attach(self, base: StableDiffusionPipeline) -> AbstractContextManager[None]:
        """Lend what was learned to `base` inside a `with` block."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build this method again, as JSON can hold them."""
        return {name: getattr(self, name) for name in self.SETTINGS}

    def configuration(self) -> dict[str, Any]:
        """All that decides, beside what was learned, how the method draws."""
        chosen = {name: getattr(self, name) for name in self.INFERENCE_PARAMETERS}
        return {**self.settings(), **chosen, "training": self.training}

    def tensors(self) -> dict[str, Tensor]:
        """What was learned, by the names it has in a file."""
        return {f"{self.name}.{key}": value for key, value in self.state_dict().items()}

    def header(self) -> dict[str, str]:
        """What a file says about this concept, as strings."""
        versions = {k: version(k) for k in ("torch", "diffusers", "transformers")}
        versions["perso_lite"] = __version__
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
            "perso_lite.libraries": json.dumps(versions),
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.title": f"{self.placeholder_token} ({self.class_word})",
            "modelspec.architecture": f"stable-diffusion-v1/{self.name}",
            "modelspec.implementation": "perso_lite",
            "modelspec.trigger_phrase": self.placeholder_token,
        }

    def check_header(self, header: dict[str, str], path: str | Path) -> None:
        """Refuse a file that would not draw here as it did where it was written.

        Called by `load_method` for a file of this kind and base.

        Raises:
            PersoError: with the reason.
        """

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


def state_of(method: Method) -> str:
    """A hash of what was learned and of the configuration; changes if either does."""
    digest = hashlib.sha256(repr(method.configuration()).encode())
    for tensor in method.state_dict().values():
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
