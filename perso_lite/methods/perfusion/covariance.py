"""The covariance of text states: what "has nothing to do with it" means for an edit.

Text states of all words share large common directions, so a plain dot product finds
every word similar to every other. Perfusion and ROME measure in the inverse of the
uncentred covariance C = E[e e^T] of text states instead, estimated once for a text
encoder from many captions (paper: 100,000 of LAION; our base: its own world's).
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.base import text_fingerprint
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError
from perso_lite.files import DATA_FOLDER
from perso_lite.files.tensors import read_tensors, write_tensors

COVARIANCE_FOLDER = DATA_FOLDER / "covariance"
SMALLEST = 1e-6  # of the largest eigenvalue: below it a ridge is needed (ours)


@dataclass(frozen=True, eq=False)
class TextCovariance:
    """C^-1 of a text encoder.

    Attributes:
        inverse: C^-1, (dim, dim) float32, inverted in float64.
        text_fingerprint: of the text encoder it belongs to.
        captions: how many it was estimated from; 0: not known.
    """

    inverse: Tensor
    text_fingerprint: str
    captions: int = 0

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell one C from another."""
        content = self.inverse.cpu().contiguous().numpy().tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    def checked(self, base: StableDiffusionPipeline) -> "TextCovariance":
        """Itself, if it is of this base's text encoder.

        Raises:
            PersoError: it is of another one.
        """
        if self.text_fingerprint != text_fingerprint(base):
            raise PersoError(
                f"The covariance is of the text encoder {self.text_fingerprint}, but "
                f"this base has {text_fingerprint(base)}. Leave it out, or make one "
                "for this base with estimate_covariance."
            )
        return self

    def save(self, folder: str | Path | None = None) -> Path:
        """Keep it where `covariance_of` looks, in `data/covariance`; returns the file.

        Raises:
            PersoError: the place cannot be written or the disk is full.
        """
        path = (
            Path(folder or COVARIANCE_FOLDER) / f"{self.text_fingerprint}.safetensors"
        )
        header = {"text": self.text_fingerprint, "captions": str(self.captions)}
        write_tensors(path, {"inverse": self.inverse}, header)
        return path


@torch.no_grad()
def estimate_covariance(
    base: StableDiffusionPipeline, captions: Sequence[str], batch_size: int = 64
) -> TextCovariance:
    """Estimate C from captions and invert it.

    Every position counts but the padding, start and end included (ours: the paper does
    not say which do). Sums and inverse are in float64; only if C is all but singular,
    a ridge is added.

    Args:
        base: a pipeline whose text encoder is meant, with nothing attached.
        captions: the more, the better; together at least as many tokens as `dim`.
        batch_size: captions encoded at once.

    Raises:
        PersoError: too few tokens to tell all directions.
    """
    dim = base.text_encoder.get_input_embeddings().embedding_dim
    total, count = torch.zeros(dim, dim, dtype=torch.float64), 0
    for start in range(0, len(captions), batch_size):
        some = list(captions[start : start + batch_size])
        states = encode_prompts(base, some).double().cpu()  # (batch, tokens, dim)
        ids = base.tokenizer(some, truncation=True).input_ids
        kept = torch.cat([row[: len(i)] for row, i in zip(states, ids, strict=True)])
        total += kept.T @ kept
        count += len(kept)
    if count < dim:
        raise PersoError(
            f"{len(captions)} captions have {count} tokens, too few for a covariance "
            f"of {dim} directions; give many more, tens of thousands if you can."
        )
    covariance = total / count
    eigenvalues = torch.linalg.eigvalsh(covariance)
    if eigenvalues[0] < SMALLEST * eigenvalues[-1]:
        covariance += SMALLEST * eigenvalues[-1] * torch.eye(dim, dtype=torch.float64)
    inverse = torch.linalg.inv(covariance)
    inverse = (inverse + inverse.T) / 2  # symmetric to the last bit
    inverse = inverse.float().contiguous()  # in memory as from a file: equal sums
    return TextCovariance(inverse, text_fingerprint(base), len(captions))


def covariance_of(
    base: StableDiffusionPipeline, folder: str | Path | None = None
) -> TextCovariance:
    """The covariance kept for this base's text encoder (in `data/covariance`).

    Raises:
        PersoError: none is kept, or its file is damaged.
    """
    fingerprint = text_fingerprint(base)
    path = Path(folder or COVARIANCE_FOLDER) / f"{fingerprint}.safetensors"
    if not os.path.isfile(path):
        raise PersoError(
            f"No covariance is kept for this text encoder ({fingerprint}). Estimate it "
            "once, with as many captions as you can get (the paper's authors took "
            "100,000): `python -m perso_lite covariance captions.txt --base ...`, or "
            "`estimate_covariance(base, captions).save()`. Or choose another method."
        )
    tensors, header = read_tensors(path)
    return TextCovariance(tensors["inverse"], header["text"], int(header["captions"]))
