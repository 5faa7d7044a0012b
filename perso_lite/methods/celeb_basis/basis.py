"""A basis of names: the space in which a new person is looked for.

A name is two tokens, so two vectors of the text encoder's embedding table. For each of
the two slots k, a principal component analysis of the tokens that stand there:

    C_k = one row for each token,   m_k = their mean,   C_k - m_k = U S B_k

The rows of B_k are orthonormal. A pair of vectors v has the coefficients a = (v - m)
B^T, and coefficients give a pair back, v = m + a B. (No whitening; S is kept only as
the standard deviation of the names along each direction.)

n different tokens have at most n - 1 directions, and never more than the table is wide:
that is the rank. Asked for more, an SVD returns directions that no name has anything to
do with, and other ones on another machine. The released code asks for 512 directions of
409 first tokens; here it is refused.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.base import text_fingerprint
from perso_lite.conditioning.architecture import check_parts
from perso_lite.errors import PersoError, check_whole
from perso_lite.files import DATA_FOLDER
from perso_lite.files.reading import parse_json
from perso_lite.files.tensors import read_tensors, write_tensors
from perso_lite.methods.celeb_basis.names import SLOTS, token_slots

BASIS_FOLDER = DATA_FOLDER / "celeb_basis"
SMALLEST = 1e-6  # of the rows' own size: a smaller one is no direction (ours)


@dataclass(frozen=True, eq=False)
class NameBasis:
    """Means and principal directions of both slots; float32.

    Attributes:
        mean: m, (2, dim).
        vectors: B, (2, components, dim), orthonormal rows, the most important first.
        deviations: of the names along each direction, (2, components).
        lengths: how far from the mean half of the names are, in the first 1, 2, ...
            directions: (2, components).
        ranks: of both slots, whatever the number of components.
        text_fingerprint: of the text encoder it belongs to.
        names: of which it was made.
        rejected: why others were left out, by name.
    """

    mean: Tensor
    vectors: Tensor
    deviations: Tensor
    lengths: Tensor
    ranks: tuple[int, ...]
    text_fingerprint: str
    names: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_components(self) -> int:
        """Directions of each slot."""
        return self.vectors.shape[1]

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell one basis from another."""
        digest = hashlib.sha256()
        for tensor in (self.mean, self.vectors):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def encode(self, vectors: Tensor) -> Tensor:
        """Coefficients a (..., 2, components) of pairs of vectors (..., 2, dim)."""
        return torch.einsum("...kd,kpd->...kp", vectors - self.mean, self.vectors)

    def decode(self, coefficients: Tensor) -> Tensor:
        """Pairs of vectors (..., 2, dim) with coefficients (..., 2, components)."""
        along = torch.einsum("...kp,kpd->...kd", coefficients, self.vectors)
        return self.mean + along

    def first(self, num_components: int) -> "NameBasis":
        """The same with fewer directions.

        Raises:
            PersoError: there are not so many.
        """
        check_components(num_components, (self.num_components,) * SLOTS)
        return replace(
            self,
            vectors=self.vectors[:, :num_components].contiguous(),
            deviations=self.deviations[:, :num_components].contiguous(),
            lengths=self.lengths[:, :num_components].contiguous(),
        )

    def checked(self, base: StableDiffusionPipeline) -> "NameBasis":
        """Itself, if it is of this base's text encoder.

        Raises:
            PersoError: it is of another one.
        """
        if self.text_fingerprint != text_fingerprint(base):
            raise PersoError(
                f"The basis is of the text encoder {self.text_fingerprint}, but this "
                f"base has {text_fingerprint(base)}, where its vectors mean nothing. "
                "Leave it out, or make one for this base with build_basis."
            )
        return self

    def save(self, folder: str | Path | None = None) -> Path:
        """Keep it where `basis_of` looks, in `data/celeb_basis`; returns the file.

        Raises:
            PersoError: the place cannot be written or the disk is full.
        """
        path = Path(folder or BASIS_FOLDER) / f"{self.text_fingerprint}.safetensors"
        tensors = {name: getattr(self, name) for name in TENSORS}
        facts = {"names": self.names, "rejected": self.rejected, "ranks": self.ranks}
        header = {name: json.dumps(value) for name, value in facts.items()}
        write_tensors(path, tensors, header | {"text": self.text_fingerprint})
        return path


TENSORS = ("mean", "vectors", "deviations", "lengths")


def build_basis(
    base: StableDiffusionPipeline,
    names: Sequence[str],
    num_components: int | None = None,
    as_released: bool = False,
    flatten: bool = False,
    rejected: Mapping[str, str] | None = None,
) -> NameBasis:
    """Make a basis of names, in less than a second.

    Args:
        base: a pipeline whose embedding table is meant, with nothing attached.
        names: of people whom it knows; their order and repetitions do not matter.
        num_components: p, directions of each slot; default: all that both have
            (released code: 512).
        as_released: names of any number of tokens, of which the first two count; a
            token counts as often as names have it; a warning where p is above the rank;
            and a radius of 1 for everybody. Ours: two words, one token each, every
            token once, p at most the rank, and a radius taken from the names.
        flatten: whether both slots share one basis, of all tokens (an ablation of the
            released code).
        rejected: names that were left out, and why, to be kept with it.

    Raises:
        PersoError: a name that is not two single tokens, too few names, p above the
            rank, or a base of another architecture.
    """
    check_parts(base)
    names = sorted({" ".join(name.split()) for name in names})
    table = base.text_encoder.get_input_embeddings().weight.detach().double().cpu()
    slots = token_slots(base, names, as_released)
    if flatten:
        slots = [[*slots[0], *slots[1]]] * SLOTS
    rows = [table[ids if as_released else sorted({*ids})] for ids in slots]
    ranks = tuple(rank_of(part) for part in rows)
    p = min(ranks) if num_components is None else num_components
    check_components(p, (table.shape[1],) * SLOTS if as_released else ranks)
    if p > min(ranks):
        warnings.warn(
            f"{p} directions of names of ranks {ranks}: those above the rank are of no "
            "name, and other ones on another machine.",
            stacklevel=2,
        )
    found = [principal_directions(part, p) for part in rows]
    mean, vectors, deviations, lengths = map(torch.stack, zip(*found, strict=True))
    if as_released:
        lengths = torch.ones_like(lengths)
        deviations = torch.full_like(deviations, p**-0.5)
    tensors = [t.float().contiguous() for t in (mean, vectors, deviations, lengths)]
    facts = (text_fingerprint(base), tuple(names), dict(rejected or {}))
    return NameBasis(*tensors, ranks, *facts)


def rank_of(rows: Tensor) -> int:
    """How many directions rows (count, dim) have around their mean."""
    singular = torch.linalg.svdvals(rows - rows.mean(0))
    return int((singular > SMALLEST * rows.norm()).sum())


def principal_directions(rows: Tensor, p: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The principal component analysis of rows (count, dim), in their precision.

    Signs, which an SVD leaves open, are such that the largest entry of each direction
    is positive.

    Returns:
        The mean (dim,), p orthonormal directions (p, dim), the rows' standard
        deviation along each (p,), and the median length of their first 1, 2, ...
        coefficients (p,).
    """
    mean = rows.mean(0)
    _, singular, directions = torch.linalg.svd(rows - mean, full_matrices=True)
    directions = directions[:p]
    largest = directions.abs().argmax(1, keepdim=True)
    directions = directions * directions.gather(1, largest).sign()
    deviations = singular.new_zeros(p)
    deviations[: len(singular)] = singular[:p] / max(len(rows) - 1, 1) ** 0.5
    squares = ((rows - mean) @ directions.T).square()  # (count, p)
    lengths = squares.cumsum(1).sqrt().median(0).values
    return mean, directions, deviations, lengths


def check_components(p: int, ranks: Sequence[int]) -> None:
    """Refuse more directions than names have.

    Raises:
        PersoError: p is above the rank of a slot.
    """
    check_whole("num_components", p, 1)
    if p > min(ranks):
        raise PersoError(
            f"num_components is {p}, but the names have only {ranks[0]} directions in "
            f"their first slot and {ranks[1]} in their second: the others would be of "
            f"no name. Give at most {min(ranks)}, or take more names."
        )


# -- files -----------------------------------------------------------------------------


def basis_of(
    base: StableDiffusionPipeline, folder: str | Path | None = None
) -> NameBasis:
    """The basis kept for this base's text encoder (in `data/celeb_basis`).

    Raises:
        PersoError: none is kept, or its file is damaged.
    """
    fingerprint = text_fingerprint(base)
    path = Path(folder or BASIS_FOLDER) / f"{fingerprint}.safetensors"
    if not os.path.isfile(path):
        raise PersoError(
            f"No basis of names is kept for this text encoder ({fingerprint}). Make it "
            "of some hundred names that this base draws well, two words of one token "
            "each: `build_basis(base, names).save()`. Or choose another method."
        )
    tensors, header = read_tensors(path)
    names, ranks = (parse_json(header[n], list, path) for n in ("names", "ranks"))
    rejected = parse_json(header["rejected"], dict, path)
    parts = [tensors[name] for name in TENSORS]
    return NameBasis(*parts, tuple(ranks), header["text"], tuple(names), rejected)
