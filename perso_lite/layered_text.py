"""A text of its own for every cross-attention layer, at every timestep.

While words with a vector for each timestep and layer are attached (`space_time.py`),
the U-Net is still given one tensor of text states. Before its layers run, we recognise
the texts behind those states, encode them once more with every layer's own vectors, all
layers in one batch, and each layer then reads its part, found by the layer's fixed
position. What was encoded for a timestep is kept for the next picture.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import chain
from typing import Protocol

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn import functional as F

from perso_lite.errors import PersoError
from perso_lite.layers import CrossAttentionLayer, call_argument, rewritten_text
from perso_lite.remembered import RememberedTexts

AT_ONCE = 4  # texts encoded together for all layers, while drawing (ours, for CPUs)
KEPT_BYTES = 2**30  # of encodings, before the oldest are dropped (ours)

Said = tuple[tuple[int, ...], float]  # token ids of a prompt, timestep
States = tuple[Tensor, Tensor]  # for keys and for values


class Word(Protocol):
    """What has to be known of a word (see `space_time.py`)."""

    placeholder_token: str
    over_time: bool
    bypass_alpha: float
    num_train_timesteps: int
    written: Tensor | None  # set here, read by the hook on the token embedding

    def vectors(self, timesteps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Word and bypass, each (batch, layers or 1, dim)."""

    def dials(self) -> object:
        """Differs whenever a dial stands otherwise."""


class LayeredText:
    """The words attached to one U-Net, and the hooks that give each layer its text."""

    def __init__(self, base: StableDiffusionPipeline):
        self.words: list[Word] = []
        self._base = base
        self._texts = RememberedTexts(base)
        self._kept: dict[Said, States] = {}
        self._made_of: object = None  # the state of everything when they were kept
        self._timesteps = torch.zeros(0)  # of the present call of the U-Net, (batch,)
        self._recognised: tuple = (None, None, None)  # states, rows, ids
        self._read: tuple = (None, None, None)  # states, rows, what is read there

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Inside, the layers read texts of their own."""
        keys, values = (partial(self._text_of, kind) for kind in (0, 1))
        unet, entered = self._base.unet, self._unet_entered
        with (
            self._texts.remembering(),
            rewritten_text(unet, keys, values),
            ExitStack() as stack,
        ):
            hook = unet.register_forward_pre_hook(entered, with_kwargs=True)
            stack.callback(hook.remove)
            yield

    def forget(self) -> None:
        """Know no text that was encoded until now."""
        self._texts.forget()
        self._kept = {}
        self._recognised = self._read = (None, None, None)

    # -- a call of the U-Net ---------------------------------------------------------

    def _unet_entered(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        latents = call_argument(args, kwargs, 0, "sample")
        timestep = call_argument(args, kwargs, 1, "timestep")
        timesteps = torch.as_tensor(timestep, device=latents.device).reshape(-1)
        self._timesteps = timesteps.expand(len(latents))
        self._read = (None, None, None)

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

        All layers are given the same states, so the last answers are kept: which texts
        they are from step to step, what is read for the length of a call (and of the
        backward pass after it, where gradient checkpointing asks again).
        """
        if self._recognised[0] is not states:
            self._recognised = (states, *self._texts.recognised(states))
        _, rows, ids = self._recognised
        if self._read[0] is not states:
            encoded = self.encoded(ids, self._timesteps[rows]) if len(rows) else None
            self._read = (states, rows, encoded)
        return self._read[1:]

    # -- texts -----------------------------------------------------------------------

    def encoded(self, ids: Tensor, timesteps: Tensor) -> States:
        """What the layers read of texts (batch, tokens) at timesteps (batch,).

        Every text is encoded once for each timestep, and, where no gradient is asked
        for, kept until a word, a dial or the text encoder changes.

        Raises:
            PersoError: a text says a word twice, or a timestep is not one of training.
        """
        for word, number in self._numbers():
            check_once(ids, number, word.placeholder_token)
            _check_timesteps(timesteps, word)
        if not any(word.over_time for word in self.words):
            timesteps = torch.zeros_like(timesteps)
        said = list(zip(map(tuple, ids.tolist()), timesteps.tolist(), strict=True))
        first = {text: said.index(text) for text in said}  # a row for each
        if torch.is_grad_enabled():
            rows = list(first.values())
            keys, values = self._encode(ids[rows], timesteps[rows])
            index = [list(first).index(text) for text in said]
            return keys[index], values[index]
        self._keep(first, ids, timesteps)
        keys, values = zip(*(self._kept[text] for text in said), strict=True)
        return torch.stack(keys), torch.stack(values)

    def _keep(self, first: dict[Said, int], ids: Tensor, timesteps: Tensor) -> None:
        """Encode what is missing, and drop the oldest of what is too much."""
        if (made_of := self._state()) != self._made_of:
            self._kept, self._made_of = {}, made_of
        # what is in use goes to the young end
        self._kept |= {
            text: self._kept.pop(text) for text in first if text in self._kept
        }
        missing = [row for text, row in first.items() if text not in self._kept]
        for start in range(0, len(missing), AT_ONCE):
            rows = missing[start : start + AT_ONCE]
            states = zip(*self._encode(ids[rows], timesteps[rows]), strict=True)
            texts = zip(
                map(tuple, ids[rows].tolist()), timesteps[rows].tolist(), strict=True
            )
            self._kept |= zip(texts, states, strict=True)
        size = sum(states.nbytes for states in next(iter(self._kept.values())))
        too_many = len(self._kept) - max(len(first), KEPT_BYTES // size)
        for text in list(self._kept)[: max(0, too_many)]:
            del self._kept[text]

    def _encode(self, ids: Tensor, timesteps: Tensor) -> States:
        """Texts (batch, tokens), in one call for all layers: (batch, layers, ...)."""
        vectors = [word.vectors(timesteps) for word in self.words]
        layers = max(word.shape[1] for word, _ in vectors)

        def of_texts(parts: Tensor) -> Tensor:  # (batch * layers, 1, dim)
            return parts.expand(-1, layers, -1).flatten(0, 1)[:, None]

        ids = ids.repeat_interleave(layers, 0)
        try:
            self._texts.paused = True
            for owner, (word, _) in zip(self.words, vectors, strict=True):
                owner.written = of_texts(word)
            output = self._base.text_encoder(ids, output_hidden_states=True)
        finally:
            self._texts.paused = False
            for owner in self.words:
                owner.written = None

        # the bypass is a step from the word's own state, before the last LayerNorm
        keys, state = (
            output[0],
            output.hidden_states[-1],
        )  # (batch * layers, tokens, dim)
        moved = state
        for (owner, number), (_, bypass) in zip(self._numbers(), vectors, strict=True):
            if bypass is not None and owner.bypass_alpha > 0:
                length = owner.bypass_alpha * state.norm(dim=-1, keepdim=True)
                step = length * F.normalize(of_texts(bypass), dim=-1)
                moved = torch.where((ids == number)[..., None], moved + step, moved)
        values = keys if moved is state else self._last_norm(moved.to(state.dtype))
        return tuple(kind.unflatten(0, (-1, layers)) for kind in (keys, values))

    def _last_norm(self, state: Tensor) -> Tensor:
        encoder = self._base.text_encoder
        return getattr(encoder, "text_model", encoder).final_layer_norm(state)

    def _numbers(self) -> list[tuple[Word, int]]:
        """The words with their token ids."""
        number = self._base.tokenizer.convert_tokens_to_ids
        return [(word, number(word.placeholder_token)) for word in self.words]

    def _state(self) -> object:
        """Differs whenever texts would be encoded otherwise."""
        parts = (self._base.text_encoder, *self.words)
        tensors = chain(*(chain(part.parameters(), part.buffers()) for part in parts))
        # in-place changes count up _version; whoever attaches changes the tokenizer
        written = [(id(t), t.data_ptr(), t._version) for t in tensors]
        return id(self._base.tokenizer), written, [word.dials() for word in self.words]


def check_once(ids: Tensor, number: int, token: str, optional: bool = True) -> None:
    """Refuse texts (batch, tokens) that say a word more than once (or not at all)."""
    count = (ids == number).sum(1)
    if (count > 1).any():
        raise PersoError(
            f"A prompt says {token} {int(count.max())} times, but a word with a vector "
            "for each layer and timestep can be said only once. Say the class word "
            "where it is meant again."
        )
    if not optional and not count.all():
        raise PersoError(
            f"A prompt does not say {token}, or so late that it is cut off after "
            f"{ids.shape[1]} tokens, so no layer would read it. Write for example "
            f'"a photo of a {token}".'
        )


def _check_timesteps(timesteps: Tensor, word: Word) -> None:
    """Refuse times that training never saw."""
    last = word.num_train_timesteps - 1
    wrong = timesteps[~((timesteps >= 0) & (timesteps <= last))]
    if len(wrong):
        raise PersoError(
            f"The scheduler asks for timestep {float(wrong[0]):.4g}, but "
            f"{word.placeholder_token} was learned for 0 to {last}. Use a scheduler "
            "with the base's own schedule: DDIM, DPM-Solver, Euler and the like."
        )


# -- several words on one base ---------------------------------------------------------


def present_text(base: StableDiffusionPipeline) -> LayeredText | None:
    """What the layers of `base` read, if a word of this kind is attached."""
    return vars(base.unet).get("layered_text")


@contextmanager
def join_text(base: StableDiffusionPipeline, word: Word) -> Iterator[None]:
    """Inside, a word takes part in what the layers of `base` read."""
    present = present_text(base)
    with _layered(base) if present is None else nullcontext(present) as layered:
        layered.words.append(word)
        try:
            yield
        finally:
            layered.words.remove(word)
            layered.forget()


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
