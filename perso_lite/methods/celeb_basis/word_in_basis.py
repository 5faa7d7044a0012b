"""A placeholder that stands for a pair of vectors in the space of names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.base import base_name
from perso_lite.conditioning.words import vectors_of
from perso_lite.errors import PersoError, check_finite
from perso_lite.method import Method
from perso_lite.methods.celeb_basis.basis import NameBasis, basis_of
from perso_lite.methods.celeb_basis.beside_others import among_people
from perso_lite.methods.celeb_basis.coefficients import on_sphere
from perso_lite.methods.celeb_basis.names import SLOTS, name_ids
from perso_lite.sampling import InferenceParameter

BASIS_KEY = "perso_lite.name_basis_fingerprint"  # in the header of files


def _check_radius(_: Any, radius: Any) -> float | None:
    if radius is not None:
        check_finite("radius", radius, least=0)
    return radius if radius is None else float(radius)


class WordInBasis(Method):
    """v_k = m_k + a_k B_k, where a has a length that the radius gives.

    A subclass learns `learned()`.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept.
        placeholder_token: the new word, of two tokens.
        num_components: p; default: two thirds of the text width, or fewer if the names
            have fewer directions.
        training_radius: r while training; None: the length is learned, too.
        radius: r for drawing; None: as while training.
        basis: default: `basis_of(base)`.

    Raises:
        PersoError: a placeholder the tokenizer would misread or already knows, a basis
            of another text encoder, or none, p above its rank, a radius out of range.
    """

    SIZES = ("num_components",)
    radius = InferenceParameter(
        "how far from the mean person, 1: as half of the names; None: as trained",
        _check_radius,
    )

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str,
        num_components: int | None,
        training_radius: float | None,
        radius: float | None,
        basis: NameBasis | None,
    ):
        super().__init__(base, class_word, placeholder_token, num_vectors=SLOTS)
        whole = (basis or basis_of(base)).checked(base)
        if num_components is None:
            width = whole.mean.shape[1]
            num_components = min(round(2 / 3 * width), whole.num_components)
        self.basis, self.num_components = whole.first(num_components), num_components
        self.training_radius = _check_radius(self, training_radius)
        if training_radius == 0:
            raise PersoError(
                "training_radius is 0, so nothing but the mean person could be "
                "learned: give about 1, or None to learn the length, too."
            )
        self.radius = radius
        self.register_buffer("mean", self.basis.mean, persistent=False)
        self.register_buffer("directions", self.basis.vectors, persistent=False)
        self.register_buffer("lengths", self.basis.lengths[:, -1:], persistent=False)

    def start(self, initializer_name: str | None, seed: int) -> Tensor:
        """Coefficients of a name, or of a random person, (2, p).

        Raises:
            PersoError: the name is not two single tokens.
        """
        if initializer_name is not None:
            name_ids(self.base, initializer_name)
            return self.basis.encode(vectors_of(self.base, initializer_name).cpu())
        generator = torch.Generator().manual_seed(seed)
        shape = (SLOTS, self.num_components)
        return torch.randn(shape, generator=generator) * self.basis.deviations

    def learned(self) -> Tensor:
        """h, what a has the direction of, (2, p)."""
        raise NotImplementedError

    def coefficients(self) -> Tensor:
        """a, (2, p), as it holds now: in training, or for drawing."""
        as_trained = self.training or self.radius is None
        radius = self.training_radius if as_trained else self.radius
        return self.at_radius(self.learned(), radius)

    def at_radius(self, h: Tensor, radius: float | None) -> Tensor:
        """The coefficients in the direction of h, (2, p); without a radius, h."""
        return h if radius is None else on_sphere(h, radius * self.lengths)

    def vectors(self) -> Tensor:
        """v, what the text encoder reads for the placeholder, (2, dim)."""
        along = torch.einsum("kp,kpd->kd", self.coefficients(), self.directions)
        return self.mean + along

    @contextmanager
    def attach(self, base: StableDiffusionPipeline) -> Iterator[None]:
        """Inside the `with` block, `base` knows the person.

        A prompt with a concept of another method beside it gets a warning.

        Raises:
            PersoError: the word is taken, or `base` has another text width.
        """
        with self.tokens.attached(base, self.vectors), among_people(base, self.tokens):
            yield

    def header(self) -> dict[str, str]:
        """With the fingerprint of the basis, which is not in the file."""
        return super().header() | {BASIS_KEY: self.basis.fingerprint}

    def check_header(self, header: dict[str, str], path: str | Path) -> None:
        """Refuse a person with coefficients in another basis.

        Raises:
            PersoError: they are.
        """
        written, kept = header.get(BASIS_KEY), self.basis.fingerprint
        if kept != written:
            raise PersoError(
                f"{path} has coefficients in the basis {written}, but the one kept for "
                f"{base_name(self.base)} is {kept}, where they are another person. Put "
                "the former back, or learn the person again."
            )
