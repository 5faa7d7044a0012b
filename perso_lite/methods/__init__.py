"""The methods by name, and the reader of the files they save."""

import inspect
import warnings
from itertools import chain
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.base import base_name, fingerprint
from perso_lite.conditioning.architecture import check_parts
from perso_lite.errors import PersoError, shortened
from perso_lite.files.public import PublicFormat, format_of
from perso_lite.files.reading import parse_json
from perso_lite.files.tensors import check_numbers, is_ours, read_tensors
from perso_lite.method import FORMAT_VERSION, Method
from perso_lite.methods.baselines.custom_diffusion import CustomDiffusion
from perso_lite.methods.baselines.dreambooth_lora import DreamBoothLoRA
from perso_lite.methods.catversion.catversion import CatVersion
from perso_lite.methods.celeb_basis.celeb_basis import CelebBasis
from perso_lite.methods.perfusion.perfusion import Perfusion
from perso_lite.methods.space_time.neti import NeTI
from perso_lite.methods.space_time.xti import ExtendedTextualInversion
from perso_lite.methods.textboost.textboost import TextBoost
from perso_lite.methods.textual_inversion import TextualInversion

METHODS: dict[str, type[Method]] = {
    kind.name: kind
    for kind in (
        TextualInversion,
        DreamBoothLoRA,
        CustomDiffusion,
        Perfusion,
        ExtendedTextualInversion,
        NeTI,
        CatVersion,
        TextBoost,
        CelebBasis,
    )
}


HEADER_KEYS = tuple(
    f"perso_lite.{key}"
    for key in ("method", "format_version", "placeholder_token", "class_word", "base",
                "base_fingerprint", "settings", "training")
)  # fmt: skip
ALIASES = {"xti": "extended_textual_inversion"}  # the usual name of the paper's method
USUAL_WORDS = ("object", "thing", "person")  # for whatever a base has no other word


def method_named(name: str) -> type[Method]:
    """The class of a method, by its name or alias, with hyphens or underscores.

    Raises:
        PersoError: there is no such method.
    """
    key = name.replace("-", "_")
    key = ALIASES.get(key, key)
    if key not in METHODS:
        known = ", ".join([*METHODS, *ALIASES]).replace("_", "-")
        raise PersoError(f"There is no method {name}; choose from: {known}.")
    return METHODS[key]


def load_method(
    path: str | Path,
    base: StableDiffusionPipeline,
    placeholder_token: str | None = None,
    transfer: bool = False,
    class_word: str | None = None,
    **of_one_format: Any,
) -> Method:
    """Read a concept file onto the base it was trained on, or onto a relative of it.

    Args:
        path: a file of `Method.save`, or a checkpoint of `fit`; or what another tool
            wrote (the table in `methods/README.md`), known by what it holds.
        base: the pipeline to attach it to later.
        placeholder_token: another name for the concept, for example when two files
            use the same; default: the name in the file.
        transfer: open it although `base` is another one, of the same architecture:
            what was learned is used there as it is. How well that works depends on how
            near the two are, for example a base and what was fine-tuned from it.
        class_word: the everyday word of another tool's concept; default: what its file
            says, or, with a warning, "object".
        of_one_format: other keyword arguments of that file's reader, for example
            `identifier_token`.

    Raises:
        PersoError: unreadable, altered, of no known kind, of an unknown method or
            version, of another base, or, with `transfer`, of another architecture.
    """
    check_parts(base)
    if not is_ours(path):
        return load_public(path, base, placeholder_token, class_word, **of_one_format)
    tensors, header = read_tensors(path)
    missing = [key for key in HEADER_KEYS if key not in header]
    if missing:
        raise PersoError(
            f"The header of {path} lacks {', '.join(missing)}, so it is no concept "
            "file of perso_lite. Take an untouched copy or train the concept again."
        )
    name = header["perso_lite.method"]
    if name not in METHODS or header["perso_lite.format_version"] != FORMAT_VERSION:
        raise PersoError(
            f"{path} holds the method {name} in format version "
            f"{header['perso_lite.format_version']}; this perso_lite reads version "
            f"{FORMAT_VERSION} of {', '.join(METHODS)}. Install a newer perso_lite."
        )
    if not transfer and header["perso_lite.base_fingerprint"] != fingerprint(base):
        raise PersoError(
            f"{path} was trained on the base {header['perso_lite.base']} "
            f"({header['perso_lite.base_fingerprint']}), not on {base_name(base)} "
            f"({fingerprint(base)}). Load that base, train the concept again on this "
            "one, or, if this one was fine-tuned from that, say transfer=True."
        )
    token = placeholder_token or header["perso_lite.placeholder_token"]
    settings = _entries(header, "settings", path)
    record = _entries(header, "training", path)
    method = _built(METHODS[name], base, token, header, settings, tensors, path)
    _fill(method, tensors, path)
    if not transfer:
        method.check_header(header, path)
    method.training_record = record
    return method.to(base.device)


def reader_of(path: str | Path) -> tuple[type[Method], PublicFormat]:
    """Which method reads a file or folder of another tool, and as what.

    Raises:
        PersoError: none does, or it cannot be read without running code.
    """
    # the plainest formats come last: a folder of LoRA may hold a word, too
    kinds = [(kind, each) for kind in METHODS.values() for each in kind.PUBLIC_FORMATS]
    kinds.reverse()
    found = format_of(path, [each for _, each in kinds])
    if found is None:
        known = ", ".join(each.title for _, each in kinds)
        raise PersoError(
            f"{path} is of no known kind. What is read: files of perso_lite, and of "
            f"other tools {known}."
        )
    return next((kind, each) for kind, each in kinds if each is found)


def load_public(
    path: str | Path,
    base: StableDiffusionPipeline,
    placeholder_token: str | None = None,
    class_word: str | None = None,
    **of_one_format: Any,
) -> Method:
    """Read a concept that another tool wrote; see `load_method`.

    Raises:
        PersoError: the file is of no known kind or of another base, or its reader has
            no such argument.
    """
    kind, found = reader_of(path)
    read = getattr(kind, found.reader)
    known = inspect.signature(read).parameters
    for name in of_one_format.keys() - known.keys():
        raise PersoError(
            f"{name} is not for {path}, which {kind.__name__}.{found.reader} reads; "
            "leave it out."
        )
    if class_word is None and known["class_word"].default is inspect.Parameter.empty:
        class_word = _usual_word(path, base)
    given = {"class_word": class_word, "placeholder_token": placeholder_token}
    given = {name: value for name, value in given.items() if value is not None}
    return read(path, base, **given, **of_one_format)


def _usual_word(path: str | Path, base: StableDiffusionPipeline) -> str:
    """A class word for a file that says none, with a warning."""
    known = (w for w in USUAL_WORDS if len(base.tokenizer.tokenize(w)) == 1)
    word, said = next(known, None), f"{path} does not say the class word of its concept"
    if word is None:
        raise PersoError(f'{said}: give it, for example class_word="teddy".')
    warnings.warn(
        f'{said}; it is taken to be "{word}". If that is not what its captions said, '
        'give it: class_word="teddy", for example.',
        stacklevel=4,
    )
    return word


def _entries(header: dict[str, str], name: str, path: str | Path) -> dict[str, Any]:
    """A part of the header that is a JSON object."""
    text = header[f"perso_lite.{name}"]
    return parse_json(text, dict, f"The entry {name} in the header of {path}")


def _built(
    kind: type[Method],
    base: StableDiffusionPipeline,
    placeholder_token: str,
    header: dict[str, str],
    settings: dict[str, Any],
    tensors: dict[str, Tensor],
    path: str | Path,
) -> Method:
    """A method with a file's settings; sizes must be those of the file's tensors."""
    sizes = {size for tensor in tensors.values() for size in tensor.shape}
    stated = [settings[name] for name in kind.SIZES if settings.get(name) is not None]
    each = [list(s.values()) if isinstance(s, dict) else [s] for s in stated]
    try:
        if not set(chain(*each)) <= sizes:
            raise ValueError("its tensors have other sizes")
        return kind(
            base, header["perso_lite.class_word"], placeholder_token, **settings
        )
    except PersoError:
        raise
    except Exception as reason:  # whatever settings of wrong types may cause
        raise PersoError(
            f"{path} has settings that {kind.name} cannot be built with "
            f"({shortened(reason)}). Take an untouched copy or train the concept again."
        ) from reason


def _fill(method: Method, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Put what a file holds into the method, if it is of that shape."""
    prefix = f"{method.name}."
    learned = {
        key.removeprefix(prefix): value
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    mine = {key: value.shape for key, value in method.state_dict().items()}
    if mine != {key: value.shape for key, value in learned.items()}:
        raise PersoError(
            f"{path} holds tensors of other shapes than {method.name} has on "
            f"{base_name(method.base)}: it was trained on another architecture and "
            "cannot be carried over. Load a base of that kind, or train it again."
        )
    check_numbers(path, learned)
    method.load_state_dict(learned)
