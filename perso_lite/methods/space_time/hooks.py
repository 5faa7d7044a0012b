"""A text of its own for every cross-attention layer, at every timestep.

While words with a vector for each timestep and layer are attached (`word.py`), the
U-Net is still given one tensor of text states. When it is called, the prompts behind
those states are found (`prompt_lookup.py`) and encoded for all layers (`encoder.py`),
and each layer reads its own part, by the layer's fixed position: nobody counts calls.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import (
    KEYS_DECIDED_BY,
    CrossAttentionLayer,
    UNetInputs,
    call_argument,
    rewritten_text,
    shared_on,
    unet_inputs,
)
from perso_lite.conditioning.prompt_lookup import PromptLookup
from perso_lite.conditioning.restored import restored, take_out
from perso_lite.methods.space_time.encoder import States
from perso_lite.methods.space_time.encoding_cache import EncodingCache

if TYPE_CHECKING:
    from perso_lite.methods.space_time.word import SpaceTimeWord

KEY = "per_layer_conditioning"  # under which the U-Net keeps it
WHO = "a word with a vector for each layer (NeTI or XTI)"


class PerLayerConditioning:
    """The hooks on one U-Net that give each layer its text.

    Attributes:
        cache: knows the words that are attached, and encodes.
        prompts: which were encoded, and their states.
    """

    def __init__(self, base: StableDiffusionPipeline):
        self.cache = EncodingCache(base)
        self._base = base
        self.prompts = PromptLookup(base)
        self._call: UNetInputs | None = None  # the present one
        self._read: tuple = (None, None, None)  # states, rows, what is read there

    @contextmanager
    def installed(self) -> Iterator["PerLayerConditioning"]:
        """Inside, the layers read texts of their own; yields itself."""
        keys, values = (partial(self._text_of, kind) for kind in (0, 1))
        unet, encoder = self._base.unet, self._base.text_encoder
        given, entered = self._text_given, self._unet_entered
        with (
            self.prompts.recording(),
            rewritten_text(unet, keys, values),
            shared_on(unet, KEYS_DECIDED_BY, lambda: nullcontext(WHO)),
            restored() as at_exit,
        ):
            at_exit(encoder.register_forward_pre_hook(given, with_kwargs=True).remove)
            at_exit(unet.register_forward_pre_hook(entered, with_kwargs=True).remove)
            at_exit(unet.conv_in.register_forward_pre_hook(self._unet_started).remove)
            yield self

    def encoded(self, ids: Tensor, timesteps: Tensor) -> States:
        """As `EncodingCache.encoded`; these are no prompts to be recorded.

        Raises:
            PersoError: a timestep is not one of training.
        """
        for word in self.cache.words:
            word.check_timesteps(timesteps)
        self.prompts.paused = True
        try:
            return self.cache.encoded(ids, timesteps)
        finally:
            self.prompts.paused = False

    def _text_given(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        """Refuse a prompt at once, and not when the first pictures have been drawn."""
        ids = call_argument(args, kwargs, 0, "input_ids")
        for word in () if self.prompts.paused else self.cache.words:
            word.check_once(ids, self._base.tokenizer)

    # -- a call of the U-Net ---------------------------------------------------------

    def _unet_entered(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        self._call, self._read = unet_inputs(args, kwargs), (None, None, None)

    def _unet_started(self, _: nn.Module, args: tuple) -> None:
        """Encode, in the U-Net's first layer.

        By then all hooks on the U-Net itself have run, some of which tell a method's
        encodings from the user's; and gradient checkpointing does not run it again.
        """
        if self._call and isinstance(self._call.encoder_hidden_states, Tensor):
            self._read_instead_of(self._call.encoder_hidden_states)

    def _text_of(self, kind: int, layer: CrossAttentionLayer, states: Tensor) -> Tensor:
        """What a layer makes keys (kind 0) or values (kind 1) of."""
        rows, encoded = self._read_instead_of(states)
        if encoded is None:
            return states
        of_layers = encoded[kind]  # (rows, layers, tokens, dim), or one for all layers
        position = layer.position if of_layers.shape[1] > 1 else 0
        return states.index_copy(0, rows, of_layers[:, position].to(states))

    def _read_instead_of(self, states: Tensor) -> tuple[Tensor, States | None]:
        """Which rows of states are of texts with our words, and what layers read there.

        The layers are given the U-Net's states, unless somebody swaps them. So the last
        answer is kept, for the length of a call (and of the backward pass after it).
        """
        if self._read[0] is not states:
            rows, ids = self.prompts.find(states)
            ours = torch.isin(ids, ids.new_tensor(self.cache.token_ids())).any(1)
            rows, ids, encoded = rows[ours], ids[ours], None
            if self._call and len(rows):  # else a layer runs by itself, before any call
                encoded = self.encoded(ids, self._call.timesteps[rows])
            self._read = (states, rows, encoded)
        return self._read[1:]


@contextmanager
def joined_conditioning(
    base: StableDiffusionPipeline, word: "SpaceTimeWord"
) -> Iterator[None]:
    """Inside, a `SpaceTimeWord` takes part in what the layers of `base` read."""
    installed = PerLayerConditioning(base).installed
    with shared_on(base.unet, KEY, installed) as present, restored() as at_exit:
        at_exit(partial(take_out, present.cache.words, word))
        present.cache.words.append(word)
        for encoding in word.encodings:  # a prompt may have been encoded in them
            present.prompts.record(encoding)
        yield
        if not word.training:
            word.encodings = present.prompts.recorded()
