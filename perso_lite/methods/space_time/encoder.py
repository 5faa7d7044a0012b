"""Prompts encoded once for every layer and timestep, all layers in one batch.

    H = text encoder(prompt with word(t, l) in it), before its last LayerNorm
    keys of layer l   = LN(H)
    values of layer l = LN(H + |H| bypass(t, l))         at the word's own place

The text encoder never mixes the rows of a batch, so a batch of all layers gives what a
loop over them would. While pictures are drawn, what was encoded for a timestep is kept.
"""

from itertools import chain
from typing import Protocol

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.errors import PersoError

AT_ONCE = 4  # texts encoded together for all layers, while drawing (ours, for CPUs)
KEPT_BYTES = 2**30  # of encodings, before the oldest are dropped (ours)

Said = tuple[tuple[int, ...], float]  # token ids of a prompt, timestep
States = tuple[Tensor, Tensor]  # for keys and for values


class Word(Protocol):
    """What has to be known of a word (see `space_time.py`)."""

    placeholder_token: str
    over_time: bool
    num_train_timesteps: int
    written: Tensor | None  # set here, read by the hook on the token embedding

    def vectors(self, timesteps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Word and bypass, each (batch, layers or 1, dim); no bypass: None."""

    def dials(self) -> object:
        """Differs whenever a dial stands otherwise."""


def with_bypass(state: Tensor, bypass: Tensor, own: Tensor) -> Tensor:
    """States (texts, tokens, dim) with a step at the word's own place: H + |H| bypass.

    Args:
        state: H, before the last LayerNorm.
        bypass: the step in units of a state's length, (texts, 1, dim).
        own: where the word is, (texts, tokens).
    """
    step = state.norm(dim=-1, keepdim=True) * bypass
    return torch.where(own[..., None], state + step, state)


class LayeredEncoder:
    """Encodes texts with the words that are attached to a base.

    Attributes:
        base: the pipeline whose text encoder is used.
        words: in the order in which they were attached.
    """

    def __init__(self, base: StableDiffusionPipeline):
        self.words: list[Word] = []
        self.base = base
        self._kept: dict[Said, States] = {}
        self._made_of: object = None  # the state of everything when they were kept

    def encoded(self, ids: Tensor, timesteps: Tensor) -> States:
        """What the layers read of texts (batch, tokens) at timesteps (batch,).

        Every text is encoded once for each timestep, and, where no gradient is asked
        for, kept until a word, a dial or the text encoder changes.

        Returns:
            For keys and for values, (batch, layers, tokens, dim); one layer where all
            share it.

        Raises:
            PersoError: a timestep is not one of training.
        """
        for word in self.words:
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

    # -- the encoding ----------------------------------------------------------------

    def _encode(self, ids: Tensor, timesteps: Tensor) -> States:
        """Texts (batch, tokens), in one call for all layers: (batch, layers, ...)."""
        vectors = [word.vectors(timesteps) for word in self.words]
        layers = max(word.shape[1] for word, _ in vectors)

        def of_texts(parts: Tensor) -> Tensor:  # (batch * layers, 1, dim)
            return parts.expand(-1, layers, -1).flatten(0, 1)[:, None]

        ids = ids.repeat_interleave(layers, 0)
        try:
            for owner, (word, _) in zip(self.words, vectors, strict=True):
                owner.written = of_texts(word)
            keys, state = self._last_states(ids)  # (batch * layers, tokens, dim)
        finally:
            for owner in self.words:
                owner.written = None

        moved = state
        for (_, number), (_, bypass) in zip(self.numbers(), vectors, strict=True):
            if bypass is not None:
                moved = with_bypass(moved, of_texts(bypass), ids == number)
        changed = moved is not state
        values = self._last_norm()(moved.to(state.dtype)) if changed else keys
        return tuple(kind.unflatten(0, (-1, layers)) for kind in (keys, values))

    def _last_states(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """What the text encoder returns, and the same before its last LayerNorm."""
        seen: list[Tensor] = []
        hook = self._last_norm().register_forward_pre_hook(
            lambda _, args: seen.append(args[0])
        )
        try:
            return self.base.text_encoder(ids)[0], seen[0]
        finally:
            hook.remove()

    def _last_norm(self) -> nn.LayerNorm:
        encoder = self.base.text_encoder
        return getattr(encoder, "text_model", encoder).final_layer_norm

    def numbers(self) -> list[tuple[Word, int]]:
        """The words with their token ids."""
        number = self.base.tokenizer.convert_tokens_to_ids
        return [(word, number(word.placeholder_token)) for word in self.words]

    # -- keeping it ------------------------------------------------------------------

    def _keep(self, first: dict[Said, int], ids: Tensor, timesteps: Tensor) -> None:
        """Encode what is missing, and drop the oldest of what is too much."""
        if (made_of := self._state()) != self._made_of:
            self._kept, self._made_of = {}, made_of
        # what is in use goes to the young end
        used = [text for text in first if text in self._kept]
        self._kept |= {text: self._kept.pop(text) for text in used}
        missing = [text for text in first if text not in self._kept]
        for start in range(0, len(missing), AT_ONCE):
            texts = missing[start : start + AT_ONCE]
            rows = [first[text] for text in texts]
            states = zip(*self._encode(ids[rows], timesteps[rows]), strict=True)
            self._kept |= zip(texts, states, strict=True)
        size = sum(states.nbytes for states in next(iter(self._kept.values())))
        too_many = len(self._kept) - max(len(first), KEPT_BYTES // size)
        for text in list(self._kept)[: max(0, too_many)]:
            del self._kept[text]

    def _state(self) -> object:
        """Differs whenever texts would be encoded otherwise."""
        encoder, tokenizer = self.base.text_encoder, self.base.tokenizer
        parts = (encoder, *self.words)
        tensors = chain(*(chain(part.parameters(), part.buffers()) for part in parts))
        # a tensor counts how often it was changed in place (but not through .data)
        written = [(id(t), t.data_ptr(), t._version) for t in tensors]
        # words of other methods, as their hooks on the token embedding have them
        ours = {number for _, number in self.numbers()}
        others = [
            n for n in range(tokenizer.vocab_size, len(tokenizer)) if n not in ours
        ]
        ids = torch.tensor([others], dtype=torch.long, device=encoder.device)
        vectors = encoder.get_input_embeddings()(ids).tolist() if others else []
        return written, others, vectors, [word.dials() for word in self.words]


def check_once(ids: Tensor, number: int, token: str, optional: bool = True) -> None:
    """Refuse texts (batch, tokens) that say a word more than once (or not at all).

    Raises:
        PersoError: one does.
    """
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
