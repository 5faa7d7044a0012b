"""python -m perso_lite generate: draw prompts with one or several learned concepts."""

from collections.abc import Sequence
from pathlib import Path

from perso_lite.base import load_base
from perso_lite.conditioning.new_words import as_read
from perso_lite.errors import PersoError, shortened
from perso_lite.figures.pictures import save_picture
from perso_lite.files.writing import check_writable
from perso_lite.method import attached
from perso_lite.methods import load_method
from perso_lite.sampling import generate


def draw(
    concept: Sequence[str | Path],
    prompt: Sequence[str],
    out: Path,
    placeholder_token: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    steps: int = 25,
    guidance: float = 5.0,
    base: str | None = None,
) -> None:
    """Draw every prompt with every seed, and write the pictures into a folder.

    Args:
        concept: files of `Method.save`.
        prompt: several, each with the word of at least one concept.
        out: folder for the pictures.
        placeholder_token: another name for each concept; default: those in the files.
        seeds: one picture per prompt and seed.
        steps: denoising steps (ours: 25).
        guidance: weight of classifier-free guidance (ours: 5).
        base: folder or hub id; default: the shipped base.

    Raises:
        PersoError: there are not as many names as concepts, a prompt has no concept's
            word or is too long, or a file cannot be read or written.
    """
    names = placeholder_token or [None] * len(concept)
    if len(names) != len(concept):
        raise PersoError(
            f"There are {len(concept)} concepts but {len(names)} placeholder "
            "tokens; give one --placeholder-token for each --concept, or none."
        )
    check_writable(out / f"00_seed{seeds[0]}.png")
    pipeline = load_base(base)
    methods = [
        load_method(path, pipeline, name)
        for path, name in zip(concept, names, strict=True)
    ]
    tokens = [method.placeholder_token for method in methods]
    words = " or ".join(tokens)
    for text in prompt:
        if not any(token in as_read(text) for token in tokens):
            raise PersoError(
                f'The prompt "{shortened(text)}" does not mention {words}, so the '
                f'concept would not show. Write for example "a photo of a {tokens[0]}".'
            )
    with attached(pipeline, *methods):
        pictures = generate(
            pipeline, list(prompt), tuple(seeds), steps, guidance, progress=True
        )
    seed_of = [*seeds] * len(prompt)
    for index, (picture, seed) in enumerate(zip(pictures, seed_of, strict=True)):
        path = out / f"{index // len(seeds):02d}_seed{seed}.png"
        save_picture(picture, path)
        print(path)
