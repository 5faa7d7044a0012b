"""The files that NeTI's released code saves: a mapper, and a stand-in for its word.

`mapper-steps-250.pt` has three entries: the mapper's weights, the configuration, and
its Fourier features as a pickled object, because their random frequencies are not among
the weights. Of that object only the numbers are read: no code of it is imported. The
other file, `learned_embeds-steps-250.bin`, holds what the word started from and is not
needed.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.files.public import PublicFormat, names_in
from perso_lite.files.reading import attributes_of, existing_file, read_pickled
from perso_lite.files.tensors import check_numbers

ENCODERS = ("NeTIPositionalEncoding", "BasicEncoder")
CLASSES = tuple(f"models.positional_encoding.{name}" for name in ENCODERS)
PATTERN = "mapper*.pt"
OURS = {  # the released code's layers, and what they are called here
    "net.0": "encoding.1",
    "net.1": "hidden.0",
    "net.2": "hidden.1",
    "net.4": "hidden.3",
    "net.5": "hidden.4",
    "output_layer.0": "output",
}
MAPPER_FORMAT = PublicFormat(
    "NeTI's mapper",
    lambda content: {"state_dict", "cfg", "encoder"} <= set(names_in(content)),
    reader="from_released",
    in_folder=(PATTERN,),
    stand_ins=CLASSES,
)


@dataclass
class ReleasedMapper:
    """What a file of the released code holds.

    Attributes:
        weights: of the mapper, by our names, float32.
        target_norm: length of what it says, word and bypass together.
        settings: arguments of `NeTI`.
        placeholder_token: the word of the training.
        class_word: its class word.
    """

    weights: dict[str, Tensor]
    target_norm: float
    settings: dict[str, Any]
    placeholder_token: str
    class_word: str


def _newest(path: Path) -> Path:
    """The file itself, or the mapper of a folder that was saved last."""

    def steps(file: Path) -> float:
        number = re.search(r"(\d+)\.pt$", file.name)
        return int(number[1]) if number else float("inf")  # mapper-final.pt

    found = sorted(path.glob(PATTERN), key=steps) if path.is_dir() else []
    return found[-1] if found else existing_file(path)


def read_released_mapper(path: str | Path) -> ReleasedMapper:
    """Read a mapper; no code in the file is run.

    Args:
        path: the file, or the folder that holds it; of several the latest.

    Raises:
        PersoError: it is no such file, or its output is not rescaled, which ours is.
    """
    path = _newest(Path(path))
    content = read_pickled(path, CLASSES)
    try:
        state, stated = content["state_dict"], content["cfg"]
        options, data = stated["model"], stated["data"]
        weights = {
            name.replace(layer, mine, 1): value
            for name, value in state.items()
            for layer, mine in OURS.items()
            if name.startswith(f"{layer}.")
        }
        encoded = options.get("use_positional_encoding", True)
        if encoded:
            kept = attributes_of(content["encoder"])
            frequencies = kept["w"] if "w" in kept else state["encoder.w"]
            weights["encoding.0.frequencies"] = frequencies
        dropout = options.get("nested_dropout_prob", 0.5)
        settings = {
            "bypass": bool(options.get("output_bypass", True)),
            "nested_dropout": dropout if options.get("use_nested_dropout", 1) else 0.0,
            "positional_encoding": bool(encoded),
        }
        weights = {name: value.detach().float() for name, value in weights.items()}
        norm = float(options["target_norm"])
        word = str(data["placeholder_token"]), str(data["super_category_token"])
    except (KeyError, TypeError, AttributeError, ValueError) as reason:
        raise PersoError(
            f"{path} is no mapper of NeTI's released code, rescaled to the length of a "
            "class word: its entries state_dict, cfg and encoder do not say all that "
            f"is needed ({type(reason).__name__}: {reason})."
        ) from reason
    check_numbers(path, weights)
    return ReleasedMapper(weights, norm, settings, *word)
