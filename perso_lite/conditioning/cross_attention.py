"""The cross-attention layers of a U-Net, and what reaches them at each call.

Text enters Stable Diffusion's U-Net in its cross-attention layers and nowhere else:
sixteen in version 1.x. Here they are listed in the order in which they are called, each
with a fixed position, so that nobody has to count calls. The rest of this module gives
them other text for the length of a `with` block, reads the arguments of a call, and
keeps what several concepts share on one U-Net.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import FusedAttnProcessor2_0
from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from perso_lite.conditioning.restored import restored
from perso_lite.errors import PersoError

# where somebody who decides what text the keys are made of leaves its name
KEYS_DECIDED_BY = "keys_decided_by"


# -- which layers there are ------------------------------------------------------------


@dataclass(frozen=True)
class CrossAttentionLayer:
    """One cross-attention layer.

    Attributes:
        position: its place in the order of calls, from 0.
        name: of the module, for `unet.get_submodule`.
        side: "down", "mid" or "up".
        shrink: how many latent pixels a side of its own pixels covers: 1, 2, 4 or 8.
    """

    position: int
    name: str
    side: str
    shrink: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of its map for latents of this height and width."""
        return -(-height // self.shrink), -(-width // self.shrink)  # odd sizes round up


def cross_attention_layers(unet: UNet2DConditionModel) -> list[CrossAttentionLayer]:
    """The cross-attention layers, in the order in which the U-Net calls them.

    For SD 1.x: two in each of down blocks 0 to 2, one in the middle, three in each of
    up blocks 1 to 3. (The keys of `unet.attn_processors` come in another order: the
    middle last.)

    Raises:
        PersoError: the U-Net has none, or is fused or compiled, so that its calls would
            pass what is attached to them.
    """
    places = [
        (f"{name}.attentions.{i}.transformer_blocks.{j}.attn2", side, shrink)
        for name, block, side, shrink in _blocks_in_call_order(unet)
        for i, transformer in enumerate(getattr(block, "attentions", ()))
        for j in range(len(transformer.transformer_blocks))
    ]
    if not places:
        raise PersoError(
            "This U-Net has no cross-attention layers, but text reaches a U-Net only "
            "through them. Use a Stable Diffusion 1.x or 2.x."
        )
    layers = [CrossAttentionLayer(i, *place) for i, place in enumerate(places)]
    _check_calls(unet, layers[0])
    return layers


def _check_calls(unet: UNet2DConditionModel, layer: CrossAttentionLayer) -> None:
    """Refuse a U-Net that would silently pass what is attached to its projections.

    It is asked at every training step, so it looks at one layer: all are fused at once.
    """
    if isinstance(unet.get_submodule(layer.name).processor, FusedAttnProcessor2_0):
        raise PersoError(
            "The projections of this U-Net are fused, so what is attached to single "
            "ones would have no effect: call unfuse_qkv_projections() first."
        )
    if isinstance(unet, OptimizedModule) or unet._compiled_call_impl is not None:
        raise PersoError(
            "This U-Net is compiled and may not notice what is attached to it: load "
            "the base again, and compile nothing while concepts come and go."
        )


def _blocks_in_call_order(
    unet: UNet2DConditionModel,
) -> Iterator[tuple[str, nn.Module, str, int]]:
    shrink = 1
    for i, block in enumerate(unet.down_blocks):
        yield f"down_blocks.{i}", block, "down", shrink
        shrink *= 2 if block.downsamplers else 1
    yield "mid_block", unet.mid_block, "mid", shrink
    for i, block in enumerate(unet.up_blocks):
        yield f"up_blocks.{i}", block, "up", shrink
        shrink //= 2 if block.upsamplers else 1


# -- giving them other text ------------------------------------------------------------


Rewrite = Callable[[CrossAttentionLayer, Tensor], Tensor]


@contextmanager
def rewritten_text(
    unet: UNet2DConditionModel,
    keys: Rewrite | None = None,
    values: Rewrite | None = None,
) -> Iterator[None]:
    """Inside, every cross-attention layer reads the text that the functions give it.

    Works with every processor, and gradients flow through what the functions return.
    If two are nested, the outer rewrite is applied last.

    Args:
        unet: the U-Net.
        keys: given a layer and its text states (batch, tokens, dim), returns those to
            make keys of (where to look); None: unchanged.
        values: the same for values (what to put there).
    """

    def hook_of(layer: CrossAttentionLayer, rewrite: Rewrite) -> Callable:
        return lambda _, args: (rewrite(layer, args[0]), *args[1:])

    with restored() as at_exit:
        for layer in cross_attention_layers(unet):
            attention = unet.get_submodule(layer.name)
            rewrites = ((attention.to_k, keys), (attention.to_v, values))
            for projection, rewrite in rewrites:
                if rewrite is not None:
                    # before the hooks of a concept, which edits what it is given
                    before = hook_of(layer, rewrite)
                    register = projection.register_forward_pre_hook
                    at_exit(register(before, prepend=True).remove)
        yield


# -- reading a call --------------------------------------------------------------------


@dataclass(frozen=True)
class UNetInputs:
    """What one call of the U-Net was given.

    Attributes:
        latents: (batch, channels, height, width).
        timestep: () or (batch,).
        encoder_hidden_states: text states, (batch, tokens, dim).
    """

    latents: Tensor
    timestep: Tensor
    encoder_hidden_states: Any

    @property
    def timesteps(self) -> Tensor:
        """One for each row, (batch,), on the device of the latents."""
        timesteps = self.timestep.to(self.latents.device)
        return timesteps.reshape(-1).expand(len(self.latents))


def unet_inputs(args: tuple, kwargs: dict) -> UNetInputs:
    """Read the arguments of a U-Net call, as a hook is given them."""
    latents = call_argument(args, kwargs, 0, "sample")
    timestep = torch.as_tensor(call_argument(args, kwargs, 1, "timestep"))
    states = call_argument(args, kwargs, 2, "encoder_hidden_states")
    return UNetInputs(latents, timestep, states)


def call_argument(args: tuple, kwargs: dict, index: int, name: str) -> Any:
    """An argument that a hook was given by position or by name; None if neither."""
    return args[index] if len(args) > index else kwargs.get(name)


# -- what several concepts share -------------------------------------------------------


@contextmanager
def shared_on(
    unet: UNet2DConditionModel, key: str, make: Callable[[], AbstractContextManager]
) -> Iterator[Any]:
    """Inside, the object that all concepts of one kind share on a U-Net.

    The first to come enters `make()` and leaves the result (no module, not None) on the
    U-Net under `key`, where `shared_by` finds it; those who come later get the same. It
    is left when the last one goes, whoever that is.
    """
    shared, user = vars(unet).get(key) or _Shared(), object()
    with restored() as at_exit:
        at_exit(partial(_leave, unet, key, shared, user))
        shared.users.add(user)
        setattr(unet, key, shared)
        if shared.thing is None:
            shared.context = make()
            shared.thing = shared.context.__enter__()
        yield shared.thing


def shared_by(unet: UNet2DConditionModel, key: str) -> Any:
    """What is shared under `key` on a U-Net; None if nothing is."""
    shared = vars(unet).get(key)
    return None if shared is None else shared.thing


@dataclass
class _Shared:
    """What is shared, who uses it, and the context that it comes from."""

    thing: Any = None
    users: set[object] = field(default_factory=set)
    context: AbstractContextManager | None = None


def _leave(unet: UNet2DConditionModel, key: str, shared: _Shared, user: object) -> None:
    shared.users.discard(user)
    if not shared.users:
        if shared.thing is not None:  # after an interruption perhaps a second time
            shared.context.__exit__(None, None, None)
        vars(unet).pop(key, None)
