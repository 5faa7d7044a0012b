"""Custom Diffusion's files, of diffusers' `train_custom_diffusion.py` and the authors'.

A folder holds `pytorch_custom_diffusion_weights` (`.safetensors` or `.bin`) and a file
for each new word, `<new1>.bin`. The first has W + Delta, the key and value projections
of every cross-attention layer, as `<layer>.processor.to_k_custom_diffusion.weight`; the
second has the word's vector under its name. `pipe.unet.load_attn_procs` wants every
attention layer named, and takes an empty entry for one that stays as it is, so we write
the self-attention layers as empty tensors. (The script leaves them out of a
`.safetensors` file, which stock pipelines then refuse; we read both.)

The authors' code on diffusers writes one file, `delta.bin`: under `unet` the same W +
Delta by its name in the U-Net, under `modifier_token` the vectors by their words.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save
from torch import Tensor, nn

from perso_lite.errors import PersoError
from perso_lite.files.public import (
    CUSTOM_DIFFUSION_FILES,
    PublicFormat,
    names_in,
    read_content,
    read_public_tensors,
    weights_file,
)
from perso_lite.files.tensors import check_numbers
from perso_lite.files.writing import write_atomically

DELTA_FILE = "delta.bin"  # of the authors


def is_delta(content: Any) -> bool:
    """Whether a file is the authors'."""
    return {"unet", "modifier_token"} <= set(names_in(content))


def _is_either(content: Any) -> bool:
    names = names_in(content)
    return is_delta(content) or any("_custom_diffusion." in name for name in names)


CUSTOM_DIFFUSION_FORMAT = PublicFormat(
    "Custom Diffusion's weights",
    _is_either,
    reader="from_custom_diffusion_weights",
    writer="to_custom_diffusion_weights",
    in_folder=(*CUSTOM_DIFFUSION_FILES, DELTA_FILE),
)


def key_of(projection: str) -> str:
    """The name in the file of "<layer>.to_k" or "<layer>.to_v"."""
    layer, _, name = projection.rpartition(".")
    return f"{layer}.processor.{name}_custom_diffusion.weight"


def write_weights(
    folder: Path, unet: UNet2DConditionModel, weights: Mapping[str, Tensor]
) -> Path:
    """Write the projections (out, in), by their names in the U-Net."""
    tensors = {key_of(name): value.contiguous() for name, value in weights.items()}
    changed = {name.rpartition(".to_")[0] for name in tensors}
    for processor in unet.attn_processors:
        if processor not in changed:
            tensors[processor] = torch.empty(0)
    path = folder / CUSTOM_DIFFUSION_FILES[0]
    write_atomically(path, save(tensors, metadata={"format": "pt"}))
    return path


def write_word(folder: Path, token: str, vector: Tensor) -> None:
    """Write a word's vector (dim,), which `pipe.load_textual_inversion` reads."""
    payload = save({token: vector.contiguous()}, metadata={"format": "pt"})
    write_atomically(folder / f"{token}.safetensors", payload)


def read_concept(
    path: Path, projections: Mapping[str, nn.Module], modifier_token: str | None
) -> tuple[dict[str, Tensor], str, Tensor]:
    """Delta of every projection (out, in), a new word and its vector (dim,), float32.

    Args:
        path: a file or folder of the script, or of the authors' code.
        projections: the base's, by their names.
        modifier_token: the word to take; None: the only one.

    Raises:
        PersoError: there is no such file, it cannot be read, changes other layers than
            `projections`, holds numbers that are not finite, or not the word.
    """
    delta = path / DELTA_FILE if os.path.isdir(path) else path
    content = read_content(delta)[0] if os.path.isfile(delta) else None
    if is_delta(content):
        weights, words = _tensors(content["unet"]), _tensors(content["modifier_token"])
        named = {key_of(name.removesuffix(".weight")): w for name, w in weights.items()}
        deltas = _less_the_base(delta, named, projections)
        return deltas, *_one_word(delta, words, modifier_token)
    folder = path if os.path.isdir(path) else path.parent
    path = weights_file(folder, CUSTOM_DIFFUSION_FILES)
    deltas = _less_the_base(path, read_public_tensors(path)[0], projections)
    return deltas, *read_word(folder, modifier_token)


def _tensors(named: Any) -> dict[str, Tensor]:
    """What is a tensor with a name; the rest is missed by whoever asks for it."""
    names = names_in(named)
    return {name: named[name] for name in names if isinstance(named[name], Tensor)}


def _less_the_base(
    path: Path, tensors: Mapping[str, Tensor], projections: Mapping[str, nn.Module]
) -> dict[str, Tensor]:
    """Delta: what a file holds, less W."""
    wanted = {key_of(name): module.weight for name, module in projections.items()}
    for key in [*tensors, *wanted]:
        if key not in wanted or key not in tensors:
            where = "changes" if key in tensors else "does not change"
            raise PersoError(
                f"{path} {where} {key}. Only files of --freeze_model crossattn_kv are "
                "read, which change the keys and values of every cross-attention layer "
                "and nothing else, onto the base they were trained on."
            )
        if tensors[key].shape != wanted[key].shape:
            raise PersoError(
                f"{path} has {key} in the size {tuple(tensors[key].shape)}, but this "
                f"base in {tuple(wanted[key].shape)}; read it onto the base it was "
                "trained on."
            )
    check_numbers(path, tensors)
    return {
        name: tensors[key_of(name)].detach().float()
        - module.weight.detach().float().cpu()
        for name, module in projections.items()
    }


def read_word(folder: Path, modifier_token: str | None) -> tuple[str, Tensor]:
    """A new word of the folder and its vector (dim,), float32.

    Raises:
        PersoError: there is none, there are several and none is named, or its file
            holds something else.
    """
    found = sorted(
        path
        for path in folder.glob("<*>.*" if modifier_token is None else "*")
        if path.suffix in (".safetensors", ".bin")
        and modifier_token in (None, path.stem)
    )
    names = list(dict.fromkeys(path.stem for path in found))
    if len(names) != 1:
        listed = f"the words {', '.join(names)}" if names else "no file of a new word"
        raise PersoError(
            f"{folder} holds {listed}, but one is needed: a file such as <new1>.bin "
            "beside the weights. If there are several, name one as modifier_token."
        )
    tensors, _ = read_public_tensors(found[-1])  # .safetensors rather than .bin
    (vector,) = tensors.values() if len(tensors) == 1 else [None]
    if vector is None or vector.ndim == 0 or vector.numel() != vector.shape[-1]:
        raise PersoError(
            f"{found[-1]} does not hold one vector of one new word, under its name."
        )
    check_numbers(found[-1], tensors)
    return names[0], vector.detach().float().reshape(-1)


def _one_word(
    path: Path, words: dict[str, Tensor], modifier_token: str | None
) -> tuple[str, Tensor]:
    """The word that is named, or the only one, and its vector (dim,)."""
    chosen = [word for word in words if modifier_token in (None, word)]
    if len(chosen) != 1 or words[chosen[0]].ndim != 1:
        listed = ", ".join(words) or "no new word"
        raise PersoError(
            f"{path} holds {listed}, but one word with one vector is needed. If there "
            "are several, name one as modifier_token."
        )
    check_numbers(path, words)
    return chosen[0], words[chosen[0]].detach().float()
