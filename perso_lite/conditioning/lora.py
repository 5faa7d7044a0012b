"""LoRA layers through peft that are built apart from a network and lent to it.

    W x   becomes   W x + s (alpha / r) B A x,    A: (r, in),  B: (out, r)

with A random and B zero at the start, so that training begins at the base, and alpha =
r. s is the scale for drawing: 0 is the base, 1 what was learned.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021
(arXiv:2106.09685).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from perso_lite.conditioning.restored import restored
from perso_lite.errors import PersoError

ADAPTER = "default"  # peft can hold several in one layer; we use one


class LoraLayers:
    """A LoRA layer for each of some linear or convolutional layers of a network.

    This is no module: the layers come and go, and would bring the base's weights along.
    A method registers `matrices`, which is what it learns.

    Attributes:
        layers: peft's, by the names of the projections.
        matrices: A and B of each, by the same names with underscores.

    Args:
        network: a text encoder or a U-Net; it is read and not changed.
        names: of its layers.
        rank: r, the other side of A and B; of all, or of each by its name.
        seed: of A.

    Raises:
        PersoError: a name is not that of a linear or convolutional layer.
    """

    def __init__(
        self,
        network: nn.Module,
        names: Sequence[str],
        rank: int | Mapping[str, int],
        seed: int = 0,
    ):
        self.layers = _built_apart(network, names, rank, seed)
        self.matrices = nn.ModuleDict()
        for name, layer in self.layers.items():
            thin = {"A": layer.lora_A[ADAPTER], "B": layer.lora_B[ADAPTER]}
            self.matrices[name.replace(".", "_")] = nn.ModuleDict(thin)

    def set_scale(self, scale: float) -> None:
        """Set s, of all layers."""
        for layer in self.layers.values():
            layer.set_scale(ADAPTER, scale)

    def weights(self) -> dict[str, Tensor]:
        """A and B of every layer, by the names that diffusers and peft give them."""
        return {
            f"{name}.lora_{part}.weight": learned[ADAPTER].weight.detach()
            for name, layer in self.layers.items()
            for part, learned in (("A", layer.lora_A), ("B", layer.lora_B))
        }

    @contextmanager
    def attached(
        self, network: nn.Module, where: Callable[[], Tensor | None] | None = None
    ) -> Iterator[None]:
        """Inside, each layer adds s B A x to what the projection of its name returns.

        x is what the projection reads, after the pre-hooks of other methods, so several
        LoRA and other methods add up, in any order.

        Args:
            network: a text encoder or a U-Net.
            where: asked for at each call; what is added is multiplied with it: 0 where
                nothing is to change. Default, and if it answers None: it is added
                everywhere.

        Raises:
            PersoError: `network` is built differently.
        """
        with restored() as at_exit:
            for name, layer in self.layers.items():
                projection = _checked_projection(network, name, layer)
                added = partial(_added, layer, where)
                at_exit(projection.register_forward_hook(added).remove)
            yield


def _added(
    layer: LoraLayer,
    where: Callable[[], Tensor | None] | None,
    _: nn.Module,
    args: tuple,
    output: Tensor,
) -> Tensor:
    """W x + s B A x, for x (..., in), or (batch, in, height, width)."""
    thin, wide = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
    learned = wide(thin(args[0].to(thin.weight.dtype))) * layer.scaling[ADAPTER]
    places = where() if where is not None else None
    if places is not None:
        learned = learned * places.to(learned.dtype)
    return (output + learned).to(output.dtype)


def _built_apart(
    network: nn.Module, names: Sequence[str], rank: int | Mapping[str, int], seed: int
) -> Mapping[str, LoraLayer]:
    """A peft layer for each projection, by its name.

    peft builds them around stand-ins without weights, so that neither the network nor
    the global generator is touched; `attached` adds to the real projections.
    """
    ranks = rank if isinstance(rank, Mapping) else dict.fromkeys(names, rank)
    built: dict[str, LoraLayer] = {}
    for each in sorted({ranks[name] for name in names}):
        stand_ins = nn.ModuleDict(
            {
                name.replace(".", "/"): _stand_in(network, name)
                for name in names
                if ranks[name] == each
            }
        )
        config = LoraConfig(r=each, lora_alpha=each, target_modules=list(stand_ins))
        inject_adapter_in_model(config, stand_ins, ADAPTER, low_cpu_mem_usage=True)
        built |= stand_ins.items()

    generator = torch.Generator().manual_seed(seed)
    layers = {name: built[name.replace(".", "/")] for name in names}
    for layer in layers.values():
        layer.base_layer = None
        layer.to_empty(device="cpu")
        thin = layer.lora_A[ADAPTER].weight  # (rank, in)
        nn.init.kaiming_uniform_(thin, a=5**0.5, generator=generator)
        nn.init.zeros_(layer.lora_B[ADAPTER].weight)  # (out, rank)
    return layers


def _stand_in(network: nn.Module, name: str) -> nn.Module:
    """A layer without weights, of the kind and size that the network has at `name`."""
    try:
        real = network.get_submodule(name)
    except AttributeError:
        real = None
    if isinstance(real, BaseTunerLayer):  # of a LoRA that is attached
        real = real.get_base_layer()
    if isinstance(real, nn.Linear):
        return nn.Linear(real.in_features, real.out_features, False, device="meta")
    if isinstance(real, nn.Conv2d) and real.groups == 1:
        sizes = (real.in_channels, real.out_channels, real.kernel_size)
        steps = (real.stride, real.padding, real.dilation)
        return nn.Conv2d(*sizes, *steps, bias=False, device="meta")
    raise PersoError(
        f'This LoRA changes "{name}", which is no linear or convolutional layer of '
        "this base; open it on the base it was trained on."
    )


def _checked_projection(network: nn.Module, name: str, layer: LoraLayer) -> nn.Module:
    """The projection of a name, if a LoRA layer fits it."""
    thin, wide = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    try:
        projection = network.get_submodule(name)
        shape = projection.weight.shape
    except AttributeError:
        shape = None
    if shape != (len(wide), *thin.shape[1:]):  # (out, in), of a convolution longer
        raise PersoError(
            f"This LoRA changes {name}, from {layer.in_features} to "
            f"{layer.out_features} channels, which this base does not have; attach it "
            "to the base it was trained on."
        )
    return projection
