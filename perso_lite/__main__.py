"""The command line: python -m perso_lite tour, personalize, generate and others."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perso_lite._lazy import import_quietly
from perso_lite.commands.options import LARGEST_SEED, Parser, finite, whole
from perso_lite.errors import PersoError, shortened

# commands with a parser of their own
FORWARDED = {"pretrain": "commands.pretrain", "evaluate": "commands.evaluate"}


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 after success, 2 after anything the user can put right, 130 after Ctrl-C.
    """
    try:
        with warnings.catch_warnings():
            # a warning is for the user here: its sentence, not its place in the code
            warnings.showwarning = lambda message, *_, **__: tell(message)
            _run(sys.argv[1:] if argv is None else argv)
        return 0
    except PersoError as reason:
        code, said = 2, str(reason)
    except OSError as reason:  # a full disk, say, or a file without permission
        way = "Check that it may be read or written, and that the disk has space."
        code, said = 2, f"{shortened(reason)}. {way}"
    except KeyboardInterrupt as reason:
        code, said = 130, str(reason) or "Interrupted."
    tell(said)  # not above: now progress bars are gone with what raised
    return code


def _run(arguments: list[str]) -> None:
    """Run one command, or a command with a parser of its own."""
    for text in arguments:
        if not text.isascii() and text != text.encode(errors="replace").decode():
            raise PersoError(
                f"The argument {shortened(ascii(text))} is not UTF-8 text: type it "
                "again, or rename the file, in letters that this system can read."
            )
    if arguments and arguments[0] in FORWARDED:
        import_quietly(FORWARDED[arguments[0]]).main(arguments[1:])
        return
    options = vars(parser().parse_args(arguments))
    run = options.pop("run")
    run(**options)


def tell(message: object) -> None:
    """Say something to the user, beside what the command prints."""
    print(f"perso_lite: {message}", file=sys.stderr)


def parser() -> Parser:
    """All commands and their options."""
    top = Parser("python -m perso_lite", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_learning, add_drawing, add_converting, add_covariance):
        add(commands)
    add_teaching(commands)
    commands.add_parser("pretrain", help="make the shipped base again (--help there)")
    commands.add_parser("evaluate", help="measure base or methods (--help there)")
    return top


def add_learning(commands: Any) -> None:
    """`tour` and `personalize`."""
    tour = commands.add_parser("tour", help="teach the shipped model a shipped toy")
    tour.add_argument("--concept", help="a shipped concept (dotty-teddy)")
    tour.add_argument("--steps", type=whole(1), default=100)
    tour.add_argument("--method", default="perfusion")
    tour.add_argument("--out", type=Path, default=Path("tour"), help="folder")
    tour.set_defaults(run=later("commands.tour", "tour"))

    learn = commands.add_parser("personalize", help="teach it your own pictures")
    learn.add_argument("pictures", help="folder of pictures, or a shipped concept")
    learn.add_argument("--class-word", help="the everyday word, for example cat")
    learn.add_argument("--out", type=Path, required=True, help=".safetensors file")
    learn.add_argument("--steps", type=whole(1), default=300)
    # the one that any base can do without preparation
    learn.add_argument("--method", default="textual-inversion")
    learn.set_defaults(run=later("commands.personalize", "personalize"))
    add_training_options(learn)
    for command in (tour, learn):
        command.add_argument(
            "--placeholder-token", help="the new word; default: like the file, <file>"
        )
        command.add_argument(
            "--initializer-token",
            help="the word to start from, one token; default: the (last) class word",
        )
        command.add_argument(
            "--num-vectors", type=whole(1), help="of the word (textual-inversion: 1)"
        )
        command.add_argument("--seed", type=whole(0, LARGEST_SEED), default=0)
        command.add_argument("--resume", action="store_true", help="go on after Ctrl-C")
        command.add_argument("--base", help="folder or hub id; default: the shipped")


def add_drawing(commands: Any) -> None:
    """`generate`."""
    draw = commands.add_parser("generate", help="draw prompts with learned concepts")
    draw.add_argument("--concept", action="append", required=True, metavar="FILE")
    draw.add_argument(
        "--placeholder-token",
        action="append",
        help="other names for the concepts, one for each --concept",
    )
    draw.add_argument("--prompt", action="append", required=True)
    draw.add_argument("--out", type=Path, required=True, help="folder")
    seed = whole(0, LARGEST_SEED)
    draw.add_argument("--seeds", type=seed, nargs="+", default=[0])
    draw.add_argument("--steps", type=whole(1), default=25)
    draw.add_argument("--guidance", type=finite(), default=5.0)
    draw.add_argument("--base", help="folder or hub id; default: the shipped")
    draw.set_defaults(run=later("commands.generate", "draw"))


def add_converting(commands: Any) -> None:
    """`convert`."""
    change = commands.add_parser(
        "convert", help="make a concept file of another tool's (methods/README.md)"
    )
    change.add_argument("file", type=Path, help="or its folder")
    change.add_argument("--class-word", required=True, help="for example dog")
    change.add_argument("--out", type=Path, required=True, help=".safetensors file")
    change.add_argument("--placeholder-token", help="default: as in the file, or <out>")
    change.add_argument("--identifier-token", help="rare word of a LoRA's captions")
    change.add_argument("--modifier-token", help="word to take, of Custom Diffusion's")
    change.add_argument("--person", type=whole(0), help="of Celeb Basis, from 0")
    change.add_argument("--base", help="folder or hub id; default: the shipped")
    change.set_defaults(run=later("commands.convert", "convert"))


def add_covariance(commands: Any) -> None:
    """`covariance`."""
    text = commands.add_parser(
        "covariance", help="Perfusion's covariance from captions of your own"
    )
    text.add_argument("captions", type=Path, help="text file, a caption a line")
    text.add_argument("--base", required=True, help="folder or hub id")
    text.set_defaults(run=later("commands.covariance", "estimate"))


def add_teaching(commands: Any) -> None:
    """`check` and `course`."""
    machine = commands.add_parser("check", help="is this machine ready for the course?")
    machine.set_defaults(run=later("teaching.course.machine", "check_machine"))
    course = commands.add_parser(
        "course", help="notebooks for learners and lecturers, and the source of a site"
    )
    course.add_argument("--out", type=Path, required=True, help="folder")
    course.set_defaults(run=later("teaching.course.folders", "make_course"))


def add_training_options(command: Parser) -> None:
    """Options of `fit`, and of the pictures it gets; all off by default."""
    add = command.add_argument
    add("--flips", action="store_true", help="train on mirrored pictures, too")
    add(
        "--crops", type=whole(0), default=0, help="random crops to add for each picture"
    )
    add(
        "--gradient-accumulation",
        type=whole(1),
        default=1,
        help="batches for each step",
    )
    add(
        "--learning-rate-schedule",
        choices=("constant", "linear", "cosine"),
        default="constant",
    )
    add("--warmup-steps", type=whole(0), default=0, help="of the learning rate, from 0")
    add("--learnable-property", choices=("object", "style"), default="object")
    add(
        "--auto-mask",
        action="store_true",
        help="make masks for pictures without one, from the base's cross-attention",
    )


def later(module: str, function: str) -> Callable[..., None]:
    """A command whose module is imported when it runs, so that --help is quick."""
    return lambda **options: getattr(import_quietly(module), function)(**options)


if __name__ == "__main__":
    sys.exit(main())
