"""The checkpoint of the most complete re-implementation of Perfusion.

The authors released no code. The checkpoint (of `Key-Locked-Rank-One-Editing-for-Text-
to-Image-Personalization`) has the word's vector, i*, C^-1, and o* of every projection,
by its name in the code base of the first Stable Diffusion, such as
`input_blocks.1.1.transformer_blocks.0.attn2.to_k.target_output`. Its o* are not one
vector but one for each position of a text, (77, width).
"""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.errors import PersoError
from perso_lite.files.public import PublicFormat, names_in
from perso_lite.files.reading import attributes_of, read_pickled
from perso_lite.files.tensors import check_numbers

PARAMETERS = "torch.nn.modules.container.ParameterDict"  # which the word is in
ENTRIES = {"C_inv", "target_input", "target_output", "embedding"}
PLACE = r"(input|middle|output)_blocks?\.(\d+)\..*\.(to_k|to_v)\.target_output"
CHECKPOINT_FORMAT = PublicFormat(
    "Perfusion's checkpoint of a re-implementation",
    lambda content: set(names_in(content)) >= ENTRIES,
    reader="from_released",
    stand_ins=(PARAMETERS,),
)
# at which its command draws, and at which it trains
RELEASED_SETTINGS = {
    "beta": 0.7, "tau": 0.15, "training_beta": 0.75, "training_tau": 0.1,
    "covariance_in_file": True,
}  # fmt: skip


def read_released_checkpoint(
    path: str | Path, base: StableDiffusionPipeline
) -> dict[str, Tensor]:
    """Read a checkpoint; no code in the file is run.

    Returns:
        By the names that `Perfusion` has for them, float32: v* (1, dim), i* (dim,),
        C^-1 (dim, dim), o*_K and o*_V (positions, sum of the layers' widths).

    Raises:
        PersoError: it is no such file, holds several words, or is of another base.
    """
    content = read_pickled(path, [PARAMETERS])
    try:
        words = attributes_of(content["embedding"]["string_to_param"])
        (word,) = (value for value in words.values() if isinstance(value, Tensor))
        found = {"embedding": word, "target_input": content["target_input"]}
        found["inverse_covariance"] = content["C_inv"]
        found["target_keys"] = _in_order(content["target_output"], "to_k")
        found["target_values"] = _in_order(content["target_output"], "to_v")
        tensors = {name: value.detach().float() for name, value in found.items()}
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as reason:
        raise PersoError(
            f"{path} is no checkpoint of one concept of the re-implementation of "
            f"Perfusion ({type(reason).__name__}: {str(reason)[:120]}): it should hold "
            "C_inv, target_input, target_output, and an embedding with one word."
        ) from reason
    dim = base.text_encoder.get_input_embeddings().embedding_dim
    names = [layer.name for layer in cross_attention_layers(base.unet)]
    width = sum(base.unet.get_submodule(name).to_v.out_features for name in names)
    shape = (len(tensors["target_values"]), width)
    wanted = [(1, dim), (dim,), (dim, dim), shape, shape]
    shapes = [tuple(value.shape) for value in tensors.values()]
    if shapes != wanted:
        raise PersoError(
            f"{path} has tensors of the sizes {shapes}, but this base needs {wanted}: "
            "read it onto the base it was learned on."
        )
    check_numbers(path, tensors)
    return tensors


def _in_order(outputs: dict[str, Any], kind: str) -> Tensor:
    """o* of "to_k" or "to_v" as the U-Net calls its layers: (positions, widths)."""
    placed = {}
    for name, value in outputs.items():
        part, number, projection = re.search(PLACE, name).groups()
        if projection == kind:  # input, middle and output come in order of letters
            placed[part, int(number)] = value
    return torch.cat([placed[place] for place in sorted(placed)], dim=1)
