"""python -m perso_lite personalize: learn a concept from a folder of pictures."""

import argparse
import inspect
import time

from diffusers import StableDiffusionPipeline

from perso_lite.base import load_base
from perso_lite.concepts import Concept, load_concept
from perso_lite.errors import PersoError
from perso_lite.files import check_writable
from perso_lite.method import Method
from perso_lite.methods import METHODS
from perso_lite.training import fit_with_bar


def run_personalize(options: argparse.Namespace) -> None:
    """Learn a concept from the user's pictures and write its file."""
    concept = load_concept(options.pictures, options.class_word)
    method = learn(options, load_base(options.base), concept)
    token = method.placeholder_token
    print(
        f"\ndraw with  python -m perso_lite generate --concept {options.out} "
        f'--prompt "a photo of a {token}" --out pictures'
    )


def learn(
    options: argparse.Namespace, base: StableDiffusionPipeline, concept: Concept
) -> Method:
    """Train and save as the options say, and print what it took."""
    name = options.method.replace("-", "_")
    if name not in METHODS:
        known = ", ".join(METHODS).replace("_", "-")
        raise PersoError(f"There is no method {options.method}; choose from: {known}.")
    check_writable(options.out)
    file_name = "-".join(options.out.stem.lower().split())
    token = options.placeholder_token or concept.placeholder_token or f"<{file_name}>"
    chosen = {} if options.num_vectors is None else {"num_vectors": options.num_vectors}
    if chosen.keys() - inspect.signature(METHODS[name]).parameters.keys():
        raise PersoError(
            f"--num-vectors is not for {options.method}: how many vectors its word has "
            "is part of the method. Leave the option out."
        )
    method = METHODS[name](base, concept.class_word, token, **chosen)
    checkpoint = options.out.with_suffix(".checkpoint.safetensors")
    if options.resume and not checkpoint.is_file():
        raise PersoError(
            f"There is no checkpoint {checkpoint} to go on from; leave --resume out to "
            "start afresh."
        )
    started = time.perf_counter()
    try:
        fit_with_bar(
            method,
            concept,
            options.steps,
            seed=options.seed,
            checkpoint=checkpoint,
            resume=checkpoint if options.resume else None,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted; the last checkpoint is {checkpoint}, and the same command "
            "with --resume goes on from it."
            if checkpoint.exists()
            else "Interrupted before the first checkpoint; nothing was kept."
        ) from None
    seconds = time.perf_counter() - started
    method.save(options.out)
    checkpoint.unlink(missing_ok=True)
    bytes_on_disk = options.out.stat().st_size
    print(f"\n{'method':<20}{'steps':>7}{'seconds':>9}{'bytes':>9}   file")
    print(
        f"{options.method:<20}{options.steps:>7}{seconds:>9.1f}{bytes_on_disk:>9}   "
        f"{options.out}"
    )
    return method
