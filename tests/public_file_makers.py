"""Files as public tools write them, for a tiny pipeline, filled with noise."""

import torch
from safetensors.torch import save_file


class Code:
    """Would leave a file if it was unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def layers_ending(network, *endings):
    return [name for name, _ in network.named_modules() if name.endswith(endings)]


def attention_layers(unet):
    return layers_ending(unet, ".to_q", ".to_k", ".to_v", ".to_out.0")


def thin_matrices(network, names, ranks=(4,), seed=0):
    """Down (r, in) and up (out, r) of each layer; ranks take turns."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for index, name in enumerate(names):
        shape = network.get_submodule(name).weight.shape
        rank, ones = ranks[index % len(ranks)], [1] * (len(shape) - 2)
        down = torch.randn(rank, *shape[1:], generator=generator) * 0.2
        up = torch.randn(shape[0], rank, *ones, generator=generator) * 0.2
        made[name] = (down, up)
    return made


def kohya_tensors(prefix, matrices, alphas=(4.0,)):
    """As kohya's scripts name them; alphas take turns, None leaves them out."""
    tensors = {}
    for index, (name, (down, up)) in enumerate(matrices.items()):
        layer = prefix + name.replace(".", "_")
        tensors[f"{layer}.lora_down.weight"] = down
        tensors[f"{layer}.lora_up.weight"] = up
        alpha = alphas[index % len(alphas)]
        if alpha is not None:
            tensors[f"{layer}.alpha"] = torch.tensor(alpha)
    return tensors


def kohya_file(path, base, unet_layers, ranks=(4,), alphas=(4.0,), text_layers=()):
    made = thin_matrices(base.unet, unet_layers, ranks)
    tensors = kohya_tensors("lora_unet_", made, alphas)
    made = thin_matrices(base.text_encoder, text_layers, ranks, seed=1)
    tensors |= kohya_tensors("lora_te_text_model_", made, alphas)
    save_file(tensors, path, metadata={"ss_network_module": "networks.lora"})
    return path
