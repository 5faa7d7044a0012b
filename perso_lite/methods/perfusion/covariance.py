"""The covariance of text states: what "has nothing to do with it" means for an edit.

Text states of all words share large common directions, so a plain dot product finds
every word similar to every other. Perfusion and ROME measure in the inverse of the
uncentred covariance C = E[e e^T] of text states instead, estimated once for a text
encoder from many captions (paper: 100,000 of LAION; our base: its own world's; another
base: 20,000 that the library makes, once for each user).
"""

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.base import text_fingerprint
from perso_lite.conditioning.architecture import check_parts
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError
from perso_lite.files import DATA_FOLDER
from perso_lite.files.tensors import read_tensors, write_tensors
from perso_lite.methods.perfusion.common_captions import common_captions

COVARIANCE_FOLDER = DATA_FOLDER / "covariance"
SMALLEST = 1e-6  # of the largest eigenvalue: below it a ridge is needed (ours)


@dataclass(frozen=True, eq=False)
class TextCovariance:
    """C^-1 of a text encoder.

    Attributes:
        inverse: C^-1, (dim, dim) float32, inverted in float64.
        text_fingerprint: of the text encoder it belongs to.
        captions: how many it was estimated from; 0: not known.
        source: which captions these were, if anybody can have the same; "": not known.
    """

    inverse: Tensor
    text_fingerprint: str
    captions: int = 0
    source: str = ""

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell one C from another.

        Of the same captions and text encoder it is one C, however a machine rounds.
        """
        content = self.inverse.cpu().contiguous().numpy().tobytes()
        if self.source:
            content = f"{self.source} {self.text_fingerprint}".encode()
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
        header |= {"source": self.source} if self.source else {}
        write_tensors(path, {"inverse": self.inverse}, header)
        return path


@torch.no_grad()
def estimate_covariance(
    base: StableDiffusionPipeline,
    captions: Sequence[str],
    batch_size: int = 64,
    progress: bool = False,
) -> TextCovariance:
    """Estimate C from captions and invert it.

    Every position counts but the padding, start and end included (ours: the paper does
    not say which do). Sums and inverse are in float64; only if C is all but singular,
    a ridge is added.

    Args:
        base: a pipeline whose text encoder is meant, with nothing attached.
        captions: the more, the better; together at least as many tokens as `dim`.
        batch_size: captions encoded at once.
        progress: whether a bar shows how far it is.

    Raises:
        PersoError: too few tokens to tell all directions, or a base of another
            architecture.
    """
    check_parts(base)
    dim = base.text_encoder.get_input_embeddings().embedding_dim
    total, count = torch.zeros(dim, dim, dtype=torch.float64), 0
    starts = range(0, len(captions), batch_size)
    for start in tqdm(starts, "text states for Perfusion", disable=not progress):
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


def user_folder() -> Path:
    """Where what was estimated on first use is kept, for each user.

    `PERSO_LITE_CACHE`, or `perso_lite` in the user's cache folder.
    """
    usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("PERSO_LITE_CACHE") or Path(usual) / "perso_lite")


def covariance_of(
    base: StableDiffusionPipeline, folder: str | Path | None = None
) -> TextCovariance:
    """The covariance kept for this base's text encoder, or a new one.

    It is looked for in `data/covariance` and then in `user_folder()`. If there is none,
    it is estimated from `common_captions()`, with a progress bar, and kept there.

    Args:
        base: the pipeline, with nothing attached.
        folder: to look in this one only, and to estimate nothing.

    Raises:
        PersoError: none is kept in `folder`, or its file is damaged.
    """
    fingerprint = text_fingerprint(base)
    own = user_folder() / "covariance"
    for place in [folder] if folder else [COVARIANCE_FOLDER, own]:
        path = Path(place) / f"{fingerprint}.safetensors"
        if os.path.isfile(path):
            tensors, header = read_tensors(path)
            facts = header["text"], int(header["captions"]), header.get("source", "")
            return TextCovariance(tensors["inverse"], *facts)
    if folder:
        raise PersoError(
            f"No covariance is kept for this text encoder ({fingerprint}) in {folder}. "
            "Estimate it once: `estimate_covariance(base, captions).save(folder)`, "
            "with as many captions as you can get, or leave the folder out."
        )
    return _estimated_on_first_use(base, own)


def _estimated_on_first_use(
    base: StableDiffusionPipeline, folder: Path
) -> TextCovariance:
    """From the captions that the library makes; kept in the folder."""
    captions = common_captions()
    estimated = estimate_covariance(base, captions, progress=True)
    listed = hashlib.sha256("\n".join(captions).encode()).hexdigest()[:16]
    estimated = replace(estimated, source=f"common captions {listed}")
    try:
        estimated.save(folder)
    except PersoError as reason:
        warnings.warn(
            f"The covariance of this text encoder will be estimated again next time: "
            f"{reason}",
            stacklevel=4,
        )
    return estimated
