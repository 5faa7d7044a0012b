"""Words to try things with, what the layers read, and what is left on a base."""

import copy
from contextlib import contextmanager

import torch
from tiny_pipeline import weights_hash
from torch import nn
from torch.nn import functional as F

from perso_lite.base import parts
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.files import content_hash
from perso_lite.methods.space_time.word import SpaceTimeWord

PROMPT = "a <toy> on a beach"
OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}


# -- words -----------------------------------------------------------------------------


class GivenWord(SpaceTimeWord):
    """Random vectors that drift with time, for each layer others."""

    name = "given"
    SETTINGS = ("bypass_alpha",)

    def __init__(self, base, token="<toy>", seed=0, bypass=True, alpha=0.2):
        super().__init__(base, "teddy", token)
        generator = torch.Generator().manual_seed(seed)
        shape = (3, self.num_layers, self.width)
        word, drift, bypass_table = torch.randn(shape, generator=generator)
        self.table, self.drift = nn.Parameter(word), nn.Parameter(drift)
        self.bypass_table = nn.Parameter(bypass_table) if bypass else None
        self.bypass_alpha = alpha

    def vectors(self, timesteps):
        word = self.table + self.drift * timesteps[:, None, None] / 1000
        if self.bypass_table is None or self.bypass_alpha == 0:
            return word, None
        step = self.bypass_alpha * F.normalize(self.bypass_table, dim=-1)
        return word, step.expand_as(word)


@torch.no_grad()
def disturbed(method, noise, seed=0):
    """The method, as if it had learned something: noise on all that it can learn."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in method.parameters():
        if parameter.requires_grad:
            parameter += noise * torch.randn(parameter.shape, generator=generator)
    return method


def state_hash(method):
    """Differs if anything does that the method has learned."""
    return content_hash(method.state_dict(), {})


# -- what the layers read --------------------------------------------------------------


@contextmanager
def read_by_layers(base):
    """Yields two lists, one a layer, of what `to_k` and `to_v` are given."""
    layers = cross_attention_layers(base.unet)
    read, hooks = ([[] for _ in layers], [[] for _ in layers]), []
    for layer in layers:
        attention = base.unet.get_submodule(layer.name)
        for kind, projection in enumerate((attention.to_k, attention.to_v)):
            kept = read[kind][layer.position]
            hooks.append(
                projection.register_forward_pre_hook(
                    lambda _, args, kept=kept: kept.append(args[0])
                )
            )
    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def encodings_of(base):
    """Yields a list of how many texts each call of the text encoder has."""
    sizes = []
    hook = base.text_encoder.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(
            len(args[0] if args else kwargs["input_ids"])
        ),
        with_kwargs=True,
    )
    try:
        yield sizes
    finally:
        hook.remove()


# -- what is left on a base ------------------------------------------------------------


def hooks_of(base):
    """All hooks in the three networks."""
    kinds = ("_forward_hooks", "_forward_pre_hooks")
    kinds += ("_backward_hooks", "_backward_pre_hooks")
    return [
        hook
        for part in parts(base)
        for module in part.modules()
        for kind in kinds
        for hook in getattr(module, kind).values()
    ]


def snapshot_of(base):
    """All that whoever borrows a base has to leave as it was."""
    networks = dict(zip(("text_encoder", "unet", "vae"), parts(base), strict=True))
    modules = {
        f"{network}.{name}": module
        for network, whole in networks.items()
        for name, module in whole.named_modules()
    }
    parameters = [each for part in parts(base) for each in part.parameters()]
    return {
        "tokenizer": (id(base.tokenizer), len(base.tokenizer)),
        "components": {name: id(part) for name, part in base.components.items()},
        "config": copy.deepcopy(dict(base.config)),
        "attributes": {name: list(vars(module)) for name, module in modules.items()},
        "modules": modules,
        "modes": [module.training for module in modules.values()],
        "hooks": hooks_of(base),
        "processors": base.unet.attn_processors,
        "weights": weights_hash(base),
        "requires_grad": [parameter.requires_grad for parameter in parameters],
        "gradients": [parameter.grad is not None for parameter in parameters],
    }


def changes(base, before):
    """What is no longer as it was in a `snapshot_of` the base: nothing, let us hope."""
    after = snapshot_of(base)
    return [name for name in before if after[name] != before[name]]
