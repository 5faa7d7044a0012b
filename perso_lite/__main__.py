"""The command line: python -m perso_lite tour, personalize, generate and others."""

import argparse
import inspect
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from perso_lite import import_quietly
from perso_lite.errors import PersoError

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

    from perso_lite.concepts import Concept
    from perso_lite.method import Method

# commands with a parser of their own
FORWARDED = {"pretrain": "pretrain", "evaluate": "comparison"}
TOUR_PROMPTS = (
    "a photo of a {}",
    "a {} on a beach",
    "a {} in the snow",
    "a {} wearing a hat",
)
TOUR_SEEDS = (0, 1)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 after success, 2 after anything the user can put right, 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if arguments and arguments[0] in FORWARDED:
            import_quietly(FORWARDED[arguments[0]]).main(arguments[1:])
            return 0
        options = parser().parse_args(arguments)
        with warnings.catch_warnings():
            # a warning is for the user here: its sentence, not its place in the code
            warnings.showwarning = lambda message, *_, **__: tell(message)
            options.run(options)
    except PersoError as reason:
        tell(reason)
        return 2
    except KeyboardInterrupt as reason:
        tell(str(reason) or "Interrupted.")
        return 130
    return 0


def tell(message: object) -> None:
    """Say something to the user, beside what the command prints."""
    print(f"perso_lite: {message}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser("python -m perso_lite", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    tour = commands.add_parser("tour", help="teach the shipped model a shipped toy")
    tour.add_argument("--concept", help="a shipped concept; default: the first toy")
    tour.add_argument("--steps", type=positive, default=250)
    tour.add_argument("--out", type=Path, default=Path("tour"), help="folder")
    tour.set_defaults(run=run_tour)

    learn = commands.add_parser("personalize", help="teach it your own pictures")
    learn.add_argument("pictures", help="folder of pictures, or a shipped concept")
    learn.add_argument("--class-word", help="the everyday word, for example cat")
    learn.add_argument("--out", type=Path, required=True, help=".safetensors file")
    learn.add_argument("--steps", type=positive, default=300)
    learn.set_defaults(run=run_personalize)
    for command in (tour, learn):
        command.add_argument("--method", default="textual-inversion")
        command.add_argument(
            "--placeholder-token", help="the new word; default: like the file, <file>"
        )
        command.add_argument(
            "--num-vectors", type=positive, help="of the word (textual-inversion: 1)"
        )
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--resume", action="store_true", help="go on after Ctrl-C")
        command.add_argument("--base", help="folder or hub id; default: the shipped")

    draw = commands.add_parser("generate", help="draw prompts with learned concepts")
    draw.add_argument("--concept", action="append", required=True, metavar="FILE")
    draw.add_argument(
        "--placeholder-token",
        action="append",
        help="other names for the concepts, one for each --concept",
    )
    draw.add_argument("--prompt", action="append", required=True)
    draw.add_argument("--out", type=Path, required=True, help="folder")
    draw.add_argument("--seeds", type=int, nargs="+", default=[0])
    draw.add_argument("--steps", type=positive, default=25)
    draw.add_argument("--guidance", type=float, default=5.0)
    draw.add_argument("--base", help="folder or hub id; default: the shipped")
    draw.set_defaults(run=run_generate)

    commands.add_parser("pretrain", help="make the shipped base again (--help there)")
    commands.add_parser("evaluate", help="measure base or methods (--help there)")
    return top


def positive(text: str) -> int:
    """Parse a number of at least one."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def run_tour(options: argparse.Namespace) -> None:
    """Teach the base one shipped concept and lay the result out on one sheet."""
    from perso_lite import attached, generate, load_base, load_concept, shipped_concepts
    from perso_lite.plots import save_picture

    started = time.perf_counter()
    if options.concept is None and not shipped_concepts():
        raise PersoError("No concept is shipped in data/concepts; name a folder.")
    names = shipped_concepts()
    default = "dotty-teddy" if "dotty-teddy" in names else next(iter(names), None)
    concept = load_concept(options.concept or default)
    base = load_base(options.base)
    options.out = options.out / f"{concept.name}.safetensors"
    method = learn(options, base, concept)

    drawing = {"seeds": TOUR_SEEDS, "progress": True}
    words = {"before": concept.class_word, "after": method.placeholder_token}
    pictures = {"before": generate(base, fill(words["before"]), **drawing)}
    with attached(base, method):
        pictures["after"] = generate(base, fill(words["after"]), **drawing)
    sheet = options.out.with_suffix(".png")
    save_picture(tour_sheet(concept, words, pictures), sheet)
    print(f"\nlook at  {sheet}\nafter    {time.perf_counter() - started:.0f} s in all")


def fill(word: str) -> list[str]:
    """The tour's prompts with a word in their slots."""
    return [prompt.format(word) for prompt in TOUR_PROMPTS]


def tour_sheet(concept: "Concept", words: dict, pictures: dict) -> object:
    """References above; below, each prompt before and after learning."""
    from perso_lite.plots import SheetRow, contact_sheet

    count = len(TOUR_SEEDS)
    rows = [SheetRow("the pictures it learned from", concept.images)]
    for index, prompt in enumerate(TOUR_PROMPTS):
        here = slice(index * count, (index + 1) * count)
        pair = [*pictures["before"][here], None, *pictures["after"][here]]
        titles = [words["before"], "", "", words["after"]] if index == 0 else None
        rows.append(SheetRow(prompt.format("..."), pair, titles))
    seeds = " and ".join(map(str, TOUR_SEEDS))
    title = f"{words['before']} before, {words['after']} after learning, seeds {seeds}"
    return contact_sheet(rows, title)


def run_personalize(options: argparse.Namespace) -> None:
    """Learn a concept from the user's pictures and write its file."""
    from perso_lite import load_base, load_concept

    concept = load_concept(options.pictures, options.class_word)
    method = learn(options, load_base(options.base), concept)
    token = method.placeholder_token
    print(
        f"\ndraw with  python -m perso_lite generate --concept {options.out} "
        f'--prompt "a photo of a {token}" --out pictures'
    )


def learn(
    options: argparse.Namespace, base: "StableDiffusionPipeline", concept: "Concept"
) -> "Method":
    """Train and save as the options say, and print what it took."""
    from perso_lite import METHODS
    from perso_lite.files import check_writable
    from perso_lite.training import fit_with_bar

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


def run_generate(options: argparse.Namespace) -> None:
    """Draw prompts with one or several learned concepts."""
    from perso_lite import attached, generate, load_base, load_method
    from perso_lite.plots import save_picture

    names = options.placeholder_token or [None] * len(options.concept)
    if len(names) != len(options.concept):
        raise PersoError(
            f"There are {len(options.concept)} concepts but {len(names)} placeholder "
            "tokens; give one --placeholder-token for each --concept, or none."
        )
    base = load_base(options.base)
    methods = [
        load_method(path, base, name)
        for path, name in zip(options.concept, names, strict=True)
    ]
    tokens = [method.placeholder_token for method in methods]
    for prompt in options.prompt:
        if not any(token in prompt for token in tokens):
            raise PersoError(
                f'The prompt "{prompt}" does not mention {" or ".join(tokens)}, so the '
                f'concept would not show. Write for example "a photo of a {tokens[0]}".'
            )
    with attached(base, *methods):
        pictures = generate(
            base,
            options.prompt,
            tuple(options.seeds),
            options.steps,
            options.guidance,
            progress=True,
        )
    seeds = options.seeds * len(options.prompt)
    for index, (picture, seed) in enumerate(zip(pictures, seeds, strict=True)):
        path = options.out / f"{index // len(options.seeds):02d}_seed{seed}.png"
        save_picture(picture, path)
        print(path)


if __name__ == "__main__":
    sys.exit(main())
