"""LoRA files of other tools: what they name, and which layer of the base it is.

A LoRA file holds two thin matrices per layer, A (r, in) and B (out, r), under names
that differ by tool and year: `unet.<layer>.lora_A.weight` (diffusers and peft),
`unet.<layer>.processor.to_q_lora.down.weight` (older), `lora_unet_<layer>.lora_down.
weight` with an alpha (kohya's scripts and most web UIs). diffusers knows how the names
translate, so we ask it, and check what it says against the base. Two things are done
here: a layer's scale, alpha / r, is multiplied into its B, for each layer its own
(diffusers 0.42 takes the commonest alpha for every attention layer of a kohya file),
and what would be dropped or ignored there is refused.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from torch import Tensor, nn

from perso_lite.errors import PersoError, check_whole
from perso_lite.files.public import (
    LORA_FILES,
    PublicFormat,
    names_in,
    read_public_tensors,
    weights_file,
)
from perso_lite.files.tensors import check_numbers

PARTS = (".lora_A.", ".lora_down.", ".lora.down.", "_lora.down.", "_layer.down.")
LORA_FORMAT = PublicFormat(
    "a LoRA",
    lambda content: any(part in name for name in names_in(content) for part in PARTS),
    reader="from_lora_weights",
    writer="to_lora_weights",
    in_folder=LORA_FILES,
)
NETWORKS = ("unet", "text_encoder")
Matrices = tuple[Tensor, Tensor]  # A (r, in) and B (out, r); of convolutions longer


def file_to_write(path: str | Path) -> Path:
    """The file itself, or in a folder the one that stock pipelines look for."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / LORA_FILES[0]


def stock_names(
    of_unet: Mapping[str, Tensor], of_text: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """By the names that stock pipelines of every year read."""
    named = {f"unet.{name}": value for name, value in of_unet.items()}
    for name, value in of_text.items():
        # text encoders of transformers 5 leave "text_model." out, earlier ones need it
        layer = f"text_encoder.text_model.{name.removeprefix('text_model.')}"
        layer = layer.replace(".lora_A.", ".lora_linear_layer.down.")
        named[layer.replace(".lora_B.", ".lora_linear_layer.up.")] = value
    return named


def by_network(ranks: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Ranks of layers of the U-Net and of the text encoder, by their names there.

    Raises:
        PersoError: a rank that is no whole number of at least 1, or another network.
    """
    networks: dict[str, dict[str, int]] = {network: {} for network in NETWORKS}
    for name, rank in ranks.items():
        check_whole(f"The rank of {name}", rank, least=1)
        network, _, layer = name.partition(".")
        if network not in networks:
            raise PersoError(
                f'layer_ranks names "{name}", but names begin with "unet." or '
                '"text_encoder.".'
            )
        networks[network][layer] = rank
    return networks["unet"], networks["text_encoder"]


def read_lora(path: str | Path, base: StableDiffusionPipeline) -> dict[str, Matrices]:
    """A and B of every layer in a file, by "unet.<layer>" or "text_encoder.<layer>".

    Both are float32, and B includes the layer's scale.

    Raises:
        PersoError: the file cannot be read, is no plain LoRA, holds numbers that are
            not finite, or changes layers that `base` does not have.
    """
    path = weights_file(path, LORA_FILES)
    tensors, header = read_public_tensors(path)
    tensors = {name: value.detach().float() for name, value in tensors.items()}
    try:
        pairs = _pairs(_peft_names(_alpha_in_up(tensors), base))
        pairs = _scaled(pairs, header)
    except Exception as reason:  # whatever strange names or shapes may cause
        why = " ".join(str(reason).split())[:120]
        raise PersoError(
            f"{path} is no plain LoRA for Stable Diffusion 1.x or 2.x ({why}): a "
            "layer has two matrices, lora_A and lora_B or lora_down and lora_up, and "
            "perhaps an alpha."
        ) from reason
    if not pairs:
        raise PersoError(f"{path} holds no LoRA layer: there is nothing to read.")
    for name, pair in pairs.items():
        _check_layer(name, pair, base, path)
    return pairs


def _alpha_in_up(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without kohya's alphas: alpha / r is multiplied into the up matrices."""
    alphas = {name for name in tensors if name.endswith(".alpha")}
    rest = {name: value for name, value in tensors.items() if name not in alphas}
    for name in alphas:
        layer = name.removesuffix(".alpha")
        scale = tensors[name].item() / len(rest[f"{layer}.lora_down.weight"])
        rest[f"{layer}.lora_up.weight"] = rest[f"{layer}.lora_up.weight"] * scale
    return rest


def _peft_names(
    tensors: dict[str, Tensor], base: StableDiffusionPipeline
) -> dict[str, Tensor]:
    """By "<network>.<layer>.lora_A.weight" and "... lora_B.weight"."""
    dora = [name for name in tensors if "dora_scale" in name]
    if dora:
        raise ValueError(f"{dora[0]}: DoRA")  # diffusers would leave it out
    named, _ = StableDiffusionPipeline.lora_state_dict(
        tensors, unet_config=base.unet.config
    )
    if not any(name.startswith(NETWORKS) for name in named):
        named = {f"unet.{name}": value for name, value in named.items()}

    networks = {network: {} for network in NETWORKS}
    for name, value in named.items():
        network, _, layer = name.partition(".")
        networks[network][layer] = value
    of_unet = convert_unet_state_dict_to_peft(networks["unet"])
    of_text = networks["text_encoder"]
    if any(".lora_A." not in k and ".lora_B." not in k for k in of_text):
        of_text = convert_state_dict_to_peft(convert_state_dict_to_diffusers(of_text))
    if not hasattr(base.text_encoder, "text_model"):
        of_text = {k.removeprefix("text_model."): v for k, v in of_text.items()}
    return {f"unet.{name}": value for name, value in of_unet.items()} | {
        f"text_encoder.{name}": value for name, value in of_text.items()
    }


def _pairs(named: Mapping[str, Tensor]) -> dict[str, Matrices]:
    """A and B, by layer; nothing else may be there."""
    endings = (".lora_A.weight", ".lora_B.weight")
    others = [name for name in named if not name.endswith(endings)]
    if others:
        raise ValueError(f"it holds {others[0]}")
    layers = sorted({name.rpartition(".lora_")[0] for name in named})
    return {layer: tuple(named[layer + end] for end in endings) for layer in layers}


def _scaled(
    pairs: Mapping[str, Matrices], header: Mapping[str, str]
) -> dict[str, Matrices]:
    """With the scale in B that the header states, as diffusers writes it with peft."""
    stated = json.loads(header.get(LORA_ADAPTER_METADATA_KEY, "{}"))
    configs = {network: _stated_config(stated, network) for network in NETWORKS}
    scaled = {}
    for name, (thin, wide) in pairs.items():
        network, _, layer = name.partition(".")
        scaled[name] = (thin, wide * _scale(configs[network], layer, len(thin)))
    return scaled


def _stated_config(stated: Mapping[str, Any], network: str) -> LoraConfig | None:
    start = f"{network}."
    own = {k.removeprefix(start): v for k, v in stated.items() if k.startswith(start)}
    config = LoraConfig(**own) if own else None
    for pattern in config.alpha_pattern if config else ():
        if not re.fullmatch(r"\^?[\w.]+", pattern):  # peft takes it for an expression
            raise ValueError(f"its alpha_pattern has {pattern}, which is no name")
    return config


def _scale(config: LoraConfig | None, layer: str, rank: int) -> float:
    """What peft would multiply B A with."""
    if config is None:
        return 1.0
    key = get_pattern_key(config.alpha_pattern, layer)
    alpha = config.alpha_pattern.get(key, config.lora_alpha)
    return alpha / (rank**0.5 if config.use_rslora else rank)


def _check_layer(
    name: str, pair: Matrices, base: StableDiffusionPipeline, path: Path
) -> None:
    """Refuse a layer that the base lacks or has in another size, and bad numbers."""
    thin, wide = pair
    network, _, layer = name.partition(".")
    try:
        module = getattr(base, network).get_submodule(layer)
    except AttributeError:
        module = nn.Identity()
    present = getattr(module, "weight", torch.empty(0)).shape
    of_pair = (len(wide), *thin.shape[1:])  # (out, in), of a convolution longer
    ranks_agree = wide.shape[1:] == (len(thin), *[1] * (thin.ndim - 2))
    if present != of_pair or thin.ndim < 2 or not ranks_agree:
        raise PersoError(
            f"{path} changes {name} by matrices of the shapes {tuple(thin.shape)} and "
            f"{tuple(wide.shape)}, which does not fit this base; read it onto the base "
            "it was trained on."
        )
    check_numbers(path, {name: thin, f"{name}, up": wide})
