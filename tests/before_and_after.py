"""What a method has learned, and what it leaves on the base that it borrowed."""

import copy

import torch
from tiny_pipeline import weights_hash

from perso_lite.base import parts
from perso_lite.files.tensors import content_hash


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
