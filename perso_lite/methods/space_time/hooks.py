"""A text of its own for every cross-attention layer, at every timestep.

While words with a vector for each timestep and layer are attached (`space_time.py`),
the U-Net is still given one tensor of text states. When it is called, we recognise the
texts behind those states, have them encoded for all layers (`layered_encoder.py`), and
each layer reads its own part, found by the layer's fixed position: nobody counts calls.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import (
    CrossAttentionLayer,
    call_argument,
    rewritten_text,
)
from perso_lite.conditioning.prompt_lookup import PromptLookup
from perso_lite.methods.space_time.encoder import (
    LayeredEncoder,
    States,
    Word,
    check_once,
)


class LayeredText:
    """The hooks on one U-Net that give each layer its text.

    Attributes:
        encoder: knows the words that are attached.
    """

    def __init__(self, base: StableDiffusionPipeline):
        self.encoder = LayeredEncoder(base)
        self._unet = base.unet
        self._texts = PromptLookup(base)
        # of the present call of the U-Net: (batch,) and (batch, tokens, dim)
        self._timesteps, self._states = torch.zeros(0), None
        self._recognised: tuple = (None,) * 4  # states, tokenizer, rows, ids
        self._read: tuple = (None, None, None)  # states, rows, what is read there

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Inside, the layers read texts of their own."""
        keys, values = (partial(self._text_of, kind) for kind in (0, 1))
        unet, text_encoder = self._unet, self.encoder.base.text_encoder
        given, entered = self._text_given, self._unet_entered
        with ExitStack() as stack:
            stack.enter_context(self._texts.remembering())
            stack.enter_context(rewritten_text(unet, keys, values))
            for hook in (
                text_encoder.register_forward_pre_hook(given, with_kwargs=True),
                unet.register_forward_pre_hook(entered, with_kwargs=True),
                unet.conv_in.register_forward_pre_hook(self._unet_started),
            ):
                stack.callback(hook.remove)
            yield

    def encoded(self, ids: Tensor, timesteps: Tensor) -> States:
        """As `LayeredEncoder.encoded`; these are no prompts to be remembered."""
        self._texts.paused = True
        try:
            return self.encoder.encoded(ids, timesteps)
        finally:
            self._texts.paused = False

    def _text_given(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        """Refuse a prompt at once, and not when the first pictures have been drawn."""
        ids = call_argument(args, kwargs, 0, "input_ids")
        for word, number in () if self._texts.paused else self.encoder.numbers():
            check_once(ids, number, word.placeholder_token)

    # -- a call of the U-Net ---------------------------------------------------------

    def _unet_entered(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        latents = call_argument(args, kwargs, 0, "sample")
        timestep = call_argument(args, kwargs, 1, "timestep")
        timesteps = torch.as_tensor(timestep, device=latents.device).reshape(-1)
        self._timesteps = timesteps.expand(len(latents))
        self._states = call_argument(args, kwargs, 2, "encoder_hidden_states")
        self._read = (None, None, None)

    def _unet_started(self, _: nn.Module, args: tuple) -> None:
        """Encode, in the U-Net's first layer.

        By then all hooks on the U-Net itself have run, some of which tell a method's
        encodings from the user's; and gradient checkpointing does not run it again.
        """
        if isinstance(self._states, Tensor):
            self._read_instead_of(self._states)

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

        The layers are given the U-Net's states, unless somebody exchanges them. So the
        last answers are kept: which texts they are from step to step, what is read for
        the length of a call (and of the backward pass after it).
        """
        tokenizer = self.encoder.base.tokenizer  # another one if a word came or left
        known, known_tokenizer, *_ = self._recognised
        if known is not states or known_tokenizer is not tokenizer:
            rows, ids = self._texts.recognised(states)
            numbers = [number for _, number in self.encoder.numbers()]
            ours = torch.isin(ids, ids.new_tensor(numbers)).any(1)
            self._recognised = (states, tokenizer, rows[ours], ids[ours])
        *_, rows, ids = self._recognised
        if self._read[0] is not states:
            encoded = self.encoded(ids, self._timesteps[rows]) if len(rows) else None
            self._read = (states, rows, encoded)
        return self._read[1:]


# -- several words on one base ---------------------------------------------------------


def present_text(base: StableDiffusionPipeline) -> LayeredText | None:
    """What the layers of `base` read, if a word of this kind is attached."""
    return vars(base.unet).get("layered_text")


@contextmanager
def join_text(base: StableDiffusionPipeline, word: Word) -> Iterator[None]:
    """Inside, a word takes part in what the layers of `base` read."""
    present = present_text(base)
    with _layered(base) if present is None else nullcontext(present) as layered:
        layered.encoder.words.append(word)
        try:
            yield
        finally:
            layered.encoder.words.remove(word)


@contextmanager
def _layered(base: StableDiffusionPipeline) -> Iterator[LayeredText]:
    created = LayeredText(base)
    with created.installed():
        # the U-Net itself remembers it, so that the next word finds it
        base.unet.layered_text = created
        try:
            yield created
        finally:
            del base.unet.layered_text
