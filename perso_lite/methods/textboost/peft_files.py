"""Folders that stock libraries read, and the folders that the released code wrote.

Both hold LoRA as peft keeps it (`adapter_model.safetensors`, `adapter_config.json`) and
a file of vectors for each new word. The released code puts LoRA into a folder
`text_encoder` and writes a `.bin` for each vector: "<zoom-in_0>" and "<zoom-in_1>" for
the two of "<zoom-in>".
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.files.public import PublicFormat, names_in
from perso_lite.files.reading import read_json, read_pickled
from perso_lite.files.tensors import check_numbers, read_safetensors
from perso_lite.files.writing import folder_written_whole, write_atomically

ADAPTER_FILE = "adapter_model.safetensors"
WORD_FILE = "learned_embeds.safetensors"
PREFIX = "base_model.model."  # of peft's names
OF_TRAINING = ("optimizer.bin", "scheduler.bin")  # no words
FOLDER_FORMAT = PublicFormat(
    "TextBoost's folder",
    lambda content: any(".lora_A." in name for name in names_in(content)),
    reader="from_released",
    writer="to_peft",
    in_folder=(f"text_encoder/{ADAPTER_FILE}", ADAPTER_FILE),
    only_in_folder=True,
)


def write_peft_folder(
    folder: str | Path,
    weights: Mapping[str, Tensor],
    config: LoraConfig,
    words: Mapping[str, Tensor],
) -> Path:
    """Write what peft and stock pipelines read, whole or not at all.

    Args:
        folder: an earlier one of that name is replaced.
        weights: A and B, by peft's names for a text encoder.
        config: says their rank, scale and layers.
        words: vectors (count, dim) by the name of the word. The first one's file is
            `learned_embeds.safetensors`, that of "<toy-crop>" `toy-crop.safetensors`.

    Raises:
        PersoError: the place cannot be written or the disk is full.
    """
    named = {f"{PREFIX}{name}": value for name, value in weights.items()}
    with folder_written_whole(folder) as partial:
        _write(partial / ADAPTER_FILE, named)
        config.save_pretrained(partial)
        for index, (word, vectors) in enumerate(words.items()):
            file = f"{word.strip('<>')}.safetensors" if index else WORD_FILE
            _write(partial / file, {word: vectors})
    return Path(folder)


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, save(plain, metadata={"format": "pt"}))


@dataclass
class ReleasedFolder:
    """What a folder of the released code holds.

    Attributes:
        weights: A and B by names such as "encoder.layers.0.mlp.fc1.lora_A.weight";
            B includes the scale.
        rank: r of all layers.
        targets: the last parts of the layers' names.
        words: vectors (count, dim) by the name of the word, brackets included.
    """

    weights: dict[str, Tensor]
    rank: int
    targets: list[str]
    words: dict[str, Tensor]

    def only_word(self, others: Collection[str]) -> str:
        """The name of the concept; `others` are transformations, without brackets.

        Raises:
            PersoError: there is none, or several.
        """
        concepts = [word for word in self.words if word[1:-1] not in others]
        if len(concepts) != 1:
            raise PersoError(
                f"The folder holds {len(concepts)} words that are no transformations "
                f"({', '.join(concepts) or 'none'}); a folder of one concept is read."
            )
        return concepts[0]


def read_released_folder(folder: str | Path) -> ReleasedFolder:
    """Read LoRA and words; no code in the files is run.

    Raises:
        PersoError: a file is missing or damaged, LoRA is not a plain one of one rank,
            or there is no word.
    """
    folder = Path(folder)
    inside = folder / "text_encoder"
    adapter = inside if (inside / ADAPTER_FILE).is_file() else folder
    tensors, _ = read_safetensors(adapter / ADAPTER_FILE)
    scale = _scale(adapter / "adapter_config.json")
    weights = {}
    for name, value in tensors.items():
        layer = name.removeprefix(PREFIX).removeprefix("text_model.")
        factor = scale if ".lora_B." in layer else 1.0
        weights[layer] = value.detach().float() * factor
    ranks = {len(v) for name, v in weights.items() if ".lora_A." in name}
    if len(ranks) != 1 or not all(
        re.search(r"\.lora_[AB]\.", name) for name in weights
    ):
        raise PersoError(
            f"{adapter / ADAPTER_FILE} is no plain LoRA of one rank, as TextBoost "
            "writes it; LoRA files of other tools go through DreamBoothLoRA."
        )
    layers = {name.rpartition(".lora_")[0] for name in weights}
    targets = sorted({layer.rpartition(".")[2] for layer in layers})
    files = [f for f in sorted(folder.glob("*.bin")) if f.name not in OF_TRAINING]
    words = _grouped(read_pickled(file) for file in files)
    if not words:
        raise PersoError(
            f"There is no file of a word in {folder}: the released code writes one "
            "such as dog.bin for <dog> beside the folder text_encoder. (What to_peft "
            "writes is for stock libraries; load_method reads what save writes.)"
        )
    check_numbers(folder, weights | words)
    return ReleasedFolder(weights, ranks.pop(), targets, words)


def _scale(path: Path) -> float:
    """What peft would multiply B A with."""
    try:
        stated = read_json(path, dict)
        rank = stated["r"]
        if stated.get("alpha_pattern") or stated.get("use_dora"):
            raise ValueError("it is no plain LoRA")
        return stated["lora_alpha"] / (rank**0.5 if stated.get("use_rslora") else rank)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as reason:
        raise PersoError(
            f"{path} does not say the scale of a plain LoRA ({str(reason)[:80]}); take "
            "an untouched copy of the folder."
        ) from reason


def _grouped(contents: Iterable[object]) -> dict[str, Tensor]:
    """Vectors (count, dim) of each word, those of "<dog_0>", "<dog_1>" as "<dog>"."""
    vectors: dict[tuple[str, int], Tensor] = {}
    for content in contents:
        for token, vector in content.items() if isinstance(content, dict) else ():
            if isinstance(vector, Tensor) and re.fullmatch(r"<[^\s<>]+>", str(token)):
                stem, index = re.fullmatch(r"(.+?)(?:_(\d+))?>", token).groups()
                vectors[f"{stem}>", int(index or 0)] = vector.detach().float()
    return {
        word: torch.cat([torch.atleast_2d(vectors[k]) for k in sorted(vectors)
                         if k[0] == word])
        for word, _ in vectors
    }  # fmt: skip
