"""python -m perso_lite personalize: learn a concept from a folder of pictures."""

import inspect
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline

from perso_lite.attention.masks import with_automatic_masks
from perso_lite.base import load_base
from perso_lite.concepts import Concept, load_concept
from perso_lite.errors import PersoError
from perso_lite.files.writing import check_writable
from perso_lite.method import Method
from perso_lite.methods import method_named
from perso_lite.training import fit_with_bar


def personalize(
    pictures: str | Path,
    out: Path,
    class_word: str | None = None,
    base: str | None = None,
    learnable_property: str = "object",
    auto_mask: bool = False,
    **training: Any,
) -> None:
    """Learn a concept from the user's pictures and write its file.

    Args:
        pictures: a folder, or the name of a shipped concept.
        out: the file to write.
        class_word: the everyday word for what the pictures show.
        base: folder or hub id; default: the shipped base.
        learnable_property: "object" or "style".
        auto_mask: whether to make masks for pictures that have none.
        training: more keyword arguments of `learn`.

    Raises:
        PersoError: pictures or base cannot be read, as for `learn`, or the file cannot
            be written.
    """
    concept = load_concept(pictures, class_word)
    concept = replace(concept, learnable_property=learnable_property)
    pipeline = load_base(base)
    if auto_mask:
        concept = masked(pipeline, concept)
    method = learn(pipeline, concept, out, **training)
    token = method.placeholder_token
    print(
        f"\ndraw with  python -m perso_lite generate --concept {out} "
        f'--prompt "a photo of a {token}" --out pictures'
    )


def masked(base: StableDiffusionPipeline, concept: Concept) -> Concept:
    """Make the masks that are missing, and say how."""
    missing = [index for index, mask in enumerate(concept.masks) if mask is None]
    if not missing:
        print("all pictures have masks; none was made")
        return concept
    concept = with_automatic_masks(base, concept)
    covered = concept.mask_tensor(64, 64)[missing].mean().item()
    print(
        f"{len(missing)} of {len(concept.images)} pictures had no mask: made one where "
        f'"{concept.class_word}" gets at least half of its highest cross-attention in '
        f"the base; {covered:.0%} of the picture on average"
    )
    return concept


def learn(
    base: StableDiffusionPipeline,
    concept: Concept,
    out: Path,
    method: str = "textual-inversion",
    steps: int = 300,
    placeholder_token: str | None = None,
    initializer_token: str | None = None,
    num_vectors: int | None = None,
    seed: int = 0,
    resume: bool = False,
    **options: Any,
) -> Method:
    """Train a method, save it, and print time and size.

    Args:
        base: the pipeline to learn on.
        concept: its pictures and class word.
        out: the file to write; a checkpoint is kept beside it during training.
        method: a name of `METHODS` or an alias, also with hyphens.
        steps: training steps in total (ours: 300).
        placeholder_token: default: the shipped concept's, or the file's name.
        initializer_token: the word to start from; default: the method's.
        num_vectors: of the word, for methods with this option.
        seed: of everything random.
        resume: whether to continue from the checkpoint.
        options: more of `fit`, such as flips.

    Returns:
        The trained method.

    Raises:
        PersoError: no such method, an option that it does not have, no checkpoint, or
            a file that cannot be written.
        KeyboardInterrupt: its message names the last checkpoint.
    """
    kind = method_named(method)
    check_writable(out)
    file_name = "-".join(out.stem.lower().split())
    token = concept.placeholder_token or f"<{file_name}>"
    token = token if placeholder_token is None else placeholder_token
    chosen = {"initializer_token": initializer_token, "num_vectors": num_vectors}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    for name in chosen.keys() - inspect.signature(kind).parameters.keys():
        raise PersoError(
            f"--{name.replace('_', '-')} is not for {method}: what its word is made of "
            "is part of the method. Leave the option out."
        )
    learned = kind(base, concept.class_word, token, **chosen)
    checkpoint = out.with_suffix(".checkpoint.safetensors")
    if resume and not os.path.isfile(checkpoint):
        raise PersoError(
            f"There is no checkpoint {checkpoint} to go on from; leave --resume out to "
            "start afresh."
        )
    started = time.perf_counter()
    try:
        fit_with_bar(
            learned,
            concept,
            steps,
            seed=seed,
            checkpoint=checkpoint,
            resume=checkpoint if resume else None,
            **options,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted; the last checkpoint is {checkpoint}, and the same command "
            "with --resume goes on from it."
            if checkpoint.exists()
            else "Interrupted before the first checkpoint; nothing was kept."
        ) from None
    seconds = time.perf_counter() - started
    learned.save(out)
    checkpoint.unlink(missing_ok=True)
    bytes_on_disk = out.stat().st_size
    print(f"\n{'method':<20}{'steps':>7}{'seconds':>9}{'bytes':>9}   file")
    print(f"{method:<20}{steps:>7}{seconds:>9.1f}{bytes_on_disk:>9}   {out}")
    return learned
