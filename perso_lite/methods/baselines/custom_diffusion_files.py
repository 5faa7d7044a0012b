"""Custom Diffusion's files, as diffusers' `train_custom_diffusion.py` lays them out.

A folder holds `pytorch_custom_diffusion_weights` (`.safetensors` or `.bin`) and a file
for each new word, `<new1>.bin`. The first has W + Delta, the key and value projections
of every cross-attention layer, as `<layer>.processor.to_k_custom_diffusion.weight`; the
second has the word's vector under its name. `pipe.unet.load_attn_procs` wants every
attention layer named, and takes an empty entry for one that stays as it is, so we write
the self-attention layers as empty tensors. (The script leaves them out of a
`.safetensors` file, which stock pipelines then refuse; we read both.)
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save
from torch import Tensor, nn

from perso_lite.errors import PersoError
from perso_lite.files.public import (
    CUSTOM_DIFFUSION_FILES,
    PublicFormat,
    names_in,
    read_public_tensors,
    weights_file,
)
from perso_lite.files.tensors import check_numbers
from perso_lite.files.writing import write_atomically

CUSTOM_DIFFUSION_FORMAT = PublicFormat(
    "Custom Diffusion's weights",
    lambda content: any("_custom_diffusion." in name for name in names_in(content)),
    reader="from_custom_diffusion_weights",
    writer="to_custom_diffusion_weights",
    in_folder=CUSTOM_DIFFUSION_FILES,
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


def read_deltas(
    folder: Path, projections: Mapping[str, nn.Module]
) -> dict[str, Tensor]:
    """Delta of every projection (out, in), float32: what the file holds, less W.

    Raises:
        PersoError: there is no such file, it cannot be read, changes other layers than
            `projections`, or holds numbers that are not finite.
    """
    path = weights_file(folder, CUSTOM_DIFFUSION_FILES)
    tensors, _ = read_public_tensors(path)
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
        name: tensors[key_of(name)].float() - module.weight.detach().float().cpu()
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
