"""A word whose vectors are given, and what the layers read of it."""

from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.methods.space_time.neti import NeTI
from perso_lite.methods.space_time.word import SpaceTimeWord

PROMPT = "a <toy> on a beach"
OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}


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


def neti_anywhere(base, **options):
    """An untrained word of NeTI that differs over timesteps and layers."""
    return NeTI(base, "teddy", start_at_class=False, **options)
