"""Textual Inversion: learn one new word.

Gal et al., "An Image is Worth One Word: Personalizing Text-to-Image Generation using
Textual Inversion", 2022 (arXiv:2208.01618).

The idea: everything the model can draw has an address in the space of its word
embeddings. So freeze the model, invent a word, and search for the one vector (or few)
that makes the frozen model draw our pictures when the word appears in a caption. The
search uses the loss the model was trained with, and its gradient with respect to that
vector alone:

    v* = argmin_v  E_{z, y, eps, t}  || eps - eps_theta(z_t, t, c_theta(y; v)) ||^2

where z is a picture's latent, z_t the latent with noise eps of timestep t, y a neutral
caption ("a photo of a <toy>") and c_theta(y; v) its text states with v for the word.
"""

import os
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save
from torch import Tensor, nn

from perso_lite.conditioning.words import noun_of, vector_of
from perso_lite.errors import PersoError
from perso_lite.files.public import WORD_FILES, PublicFormat, names_in, read_content
from perso_lite.files.reading import attributes_of
from perso_lite.files.tensors import check_numbers
from perso_lite.files.writing import write_atomically
from perso_lite.method import Method

PARAMETERS = "torch.nn.modules.container.ParameterDict"  # in the authors' own files


def is_word(content: Any) -> bool:
    """Whether a file holds one tensor under the name of a word, or a web UI's word."""
    if "string_to_param" in names_in(content):
        return True
    (value,) = content.values() if len(names_in(content)) == 1 else [None]
    return isinstance(value, Tensor) and value.ndim <= 2


class TextualInversion(Method):
    """One word, `num_vectors` vectors, nothing else learned.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept.
        placeholder_token: the new word; lower case, in angle brackets, no blanks.
        num_vectors: how many vectors the word is made of (paper: 1). Several hold
            more of the concept and bend worse to other words.
        initializer_token: the word whose vector the search starts from, one token;
            default: the (last) class word (paper).
        learning_rate: of AdamW (diffusers' documented command: 2e-3; with the 5e-3 of
            the authors' code the word of our small base forgets its sentence).

    Raises:
        PersoError: a placeholder the tokenizer would misread or already knows, or an
            initializer token that is not one token of this base.
    """

    name: ClassVar[str] = "textual_inversion"
    SETTINGS = ("num_vectors", "initializer_token", "learning_rate")
    SIZES = ("num_vectors",)
    PUBLIC_FORMATS = (
        PublicFormat(
            "a learned word",
            is_word,
            reader="from_learned_embeds",
            writer="to_learned_embeds",
            in_folder=WORD_FILES,
            stand_ins=(PARAMETERS,),
        ),
    )

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        num_vectors: int = 1,
        initializer_token: str | None = None,
        learning_rate: float = 2e-3,
    ):
        super().__init__(base, class_word, placeholder_token, num_vectors)
        self.initializer_token = initializer_token or noun_of(class_word)
        self.learning_rate = learning_rate

        # v starts as the class word: the concept is at least one of those.
        start = vector_of(base, self.initializer_token)
        vectors = start.repeat(num_vectors, 1)
        self.vectors = nn.Parameter(vectors)  # (num_vectors, dim)

    def attach(self, base: StableDiffusionPipeline) -> AbstractContextManager[None]:
        """Inside the `with` block, `base` knows the word.

        Raises:
            PersoError: the word is taken, or `base` has another text width.
        """
        # c(y; v): the text encoder reads v wherever the caption says the word
        return self.tokens.attached(base, lambda: self.vectors)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The vectors alone, without weight decay (ours; released code: 0.01)."""
        learned = [self.vectors]
        return [{"params": learned, "lr": self.learning_rate, "weight_decay": 0.0}]

    @property
    def num_vectors(self) -> int:
        """How many vectors the word is made of."""
        return len(self.vectors)

    # -- the file format the stock pipeline reads ------------------------------------

    def to_learned_embeds(self, path: str | Path) -> Path:
        """Write what `pipe.load_textual_inversion(path)` reads.

        Args:
            path: a `.safetensors` file, or a folder for `learned_embeds.safetensors`.

        Returns:
            The file written: one key, the placeholder; a tensor (num_vectors, dim).

        Raises:
            PersoError: the place cannot be written or the disk is full.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            path = path / "learned_embeds.safetensors"
        vectors = self.vectors.detach().cpu().contiguous()
        payload = save({self.placeholder_token: vectors}, metadata={"format": "pt"})
        write_atomically(path, payload)
        return path

    @classmethod
    def from_learned_embeds(
        cls,
        path: str | Path,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str | None = None,
    ) -> "TextualInversion":
        """Read a word that was learned elsewhere.

        `learned_embeds` as `.safetensors` or `.bin`, made here or by diffusers' script,
        or a `.pt` of AUTOMATIC1111's web UI or of the authors.

        Args:
            path: the file, or the folder that holds it.
            base: the pipeline it was learned on (the format cannot tell).
            class_word: the everyday word for the concept (the format leaves it out).
            placeholder_token: default: the name in the file.

        Raises:
            PersoError: not such a file, or another base's text width.
        """
        path = Path(path)
        if os.path.isdir(path):
            files = [path / f"learned_embeds.{end}" for end in ("safetensors", "bin")]
            path = next((file for file in files if os.path.isfile(file)), files[0])
        stored_token, vectors = _one_word(path)
        vectors = torch.atleast_2d(vectors)  # a single vector may come as (dim,)
        method = cls(base, class_word, placeholder_token or stored_token, len(vectors))
        if vectors.shape != method.vectors.shape:
            raise PersoError(
                f"{path} holds vectors of width {vectors.shape[-1]}, but this base has "
                f"{method.vectors.shape[-1]}; it was learned on another base."
            )
        method.load_state_dict({"vectors": vectors})
        return method


def _one_word(path: Path) -> tuple[str, Tensor]:
    """The name and the vectors (count, dim) or (dim,) of the word in a file."""
    content, _ = read_content(path, [PARAMETERS])
    words = content if isinstance(content, dict) else {}
    if "string_to_param" in words:  # of the web UI, or of the authors
        named = re.sub(r"[\s<>]", "", str(words.get("name") or path.stem)).lower()
        found = attributes_of(words["string_to_param"]).values()
        vectors = [value for value in found if isinstance(value, Tensor)]
        words = {f"<{named}>": vectors[0]} if len(vectors) == 1 else {}
    name, vectors = next(iter(words.items()), (None, None))
    if len(words) != 1 or not isinstance(vectors, Tensor) or vectors.ndim > 2:
        raise PersoError(
            f"{path} does not hold one word: a learned_embeds file has one tensor, "
            "named like its word. Files of perso_lite go through load_method."
        )
    check_numbers(path, {name: vectors})
    return name, vectors.detach().float()
