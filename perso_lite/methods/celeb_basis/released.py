"""What the authors of Celeb Basis released code for: coefficients, and their basis.

A checkpoint holds the coefficients of ten people, (2, 1, p) each; those of people that
were never trained are all one and the same noise. A person's coefficients can also be a
file of their own. Neither holds the basis.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.base import text_fingerprint
from perso_lite.errors import PersoError, check_whole
from perso_lite.files.public import PublicFormat, names_in
from perso_lite.files.reading import read_pickled
from perso_lite.files.tensors import check_numbers
from perso_lite.methods.celeb_basis.basis import NameBasis
from perso_lite.methods.celeb_basis.names import SLOTS

KEY = "id_coefficients"
LONGEST = 5.0  # trained ones have about length 1, noise the square root of p (ours)


def is_people(content: Any) -> bool:
    """Whether a file holds the coefficients of ten people, or of one."""
    one = isinstance(content, Tensor) and content.ndim == 3
    return KEY in names_in(content) or (one and content.shape[:2] == (2, 1))


COEFFICIENTS_FORMAT = PublicFormat(
    "Celeb Basis's coefficients", is_people, reader="from_released"
)


def released_coefficients(path: str | Path, person: int = 0) -> Tensor:
    """Coefficients of one person, (2, p) float32.

    Args:
        path: a checkpoint, or the file of one person.
        person: which of a checkpoint, from 0.

    Raises:
        PersoError: it is no such file, or the person was never trained.
    """
    content = read_pickled(path)
    if isinstance(content, dict):
        people = content.get(KEY)
        people = list(people) if isinstance(people, list | tuple) else []
    else:
        people = [content]
    check_whole("person", person, 0, max(len(people) - 1, 0))
    found = people[person] if people else None
    if not isinstance(found, Tensor) or found.ndim != 3 or found.shape[:2] != (2, 1):
        raise PersoError(
            f"{path} holds no coefficients of Celeb Basis: {KEY}, or one person's, of "
            "shape (2, 1, p). Ask for a checkpoint of the mode coefficient; files of "
            "perso_lite go through load_method."
        )
    weights = found.detach().float()[:, 0]
    check_numbers(path, {KEY: weights})
    if weights.norm(dim=1).min() > LONGEST:
        raise PersoError(
            f"Person {person} of {path} was never trained: its coefficients are the "
            "noise that unused places are saved with. Choose another one."
        )
    return weights


def released_basis(path: str | Path, base: StableDiffusionPipeline) -> NameBasis:
    """Read a `celeb_basis.pt` of the released code, (2, 1 + p, dim).

    Args:
        path: the file.
        base: the pipeline whose text encoder it belongs to (the file cannot tell).

    Raises:
        PersoError: it is no such file, or of another text width.
    """
    content = read_pickled(path)
    dim = base.text_encoder.get_input_embeddings().embedding_dim
    if not isinstance(content, Tensor) or content.ndim != 3 or len(content) != SLOTS:
        raise PersoError(
            f"{path} is no celeb_basis.pt: it should hold one tensor (2, 1 + p, dim), "
            "the mean of each slot and then its directions."
        )
    if content.shape[2] != dim:
        raise PersoError(
            f"{path} has vectors of width {content.shape[2]}, but this base has {dim}: "
            "it was made for another text encoder."
        )
    check_numbers(path, {"the basis": content})
    content = content.detach().float()
    mean, vectors = content[:, 0].contiguous(), content[:, 1:].contiguous()
    p = vectors.shape[1]
    even = torch.full((SLOTS, p), p**-0.5)  # the released radius of 1, in all of them
    facts = ((p, p), text_fingerprint(base))
    return NameBasis(mean, vectors, even, torch.ones(SLOTS, p), *facts)
