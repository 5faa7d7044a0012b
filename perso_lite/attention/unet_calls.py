"""Which rows of a U-Net call belong to the prompts, and which denoising step it is.

Under classifier-free guidance half of a batch has negative prompts, and a U-Net call
says neither that nor how far the picture has come. `tracked_unet_calls` finds out, for
the stock call of a pipeline and for our own loops alike, without changing either.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import call_argument
from perso_lite.errors import PersoError

REMEMBERED = 16  # encodings of text; drawing needs two: prompts and negative prompts


@dataclass
class UNetCall:
    """One call of the U-Net.

    Attributes:
        height, width: of the latents.
        rows: the part of the batch that has the prompt: its second half under
            classifier-free guidance, otherwise all of it.
        ids: for each of these rows its prompt's token ids (tokens,); None where the
            text was not encoded while we watched.
        step: how many calls for the same pictures came before.
    """

    height: int
    width: int
    rows: slice
    ids: list[Tensor | None]
    step: int = 0


class UNetCallTracker:
    """Follows text from the encoder into the calls of the U-Net.

    Guidance doubles the batch: negative prompts, then prompts. The U-Net does not know,
    and what the pipeline knows (`guidance_scale`) is left from its last call. So we
    remember the texts that are encoded and recognise them, to the last bit, when they
    arrive. A call is guided if the two halves of its latents are equal and its texts

    * are a pair that `pipe.encode_prompt` just returned (the stock call), or
    * were encoded apart, the first half after the second (our `generate`).

    It is not if the halves differ, as in training, or if its texts were encoded
    together. Where neither can be said, we ask instead of guessing.

    Attributes:
        call: the present or the last call; None before the first.
        running: whether the U-Net is at work.
    """

    def __init__(self, pipe: StableDiffusionPipeline, guided: bool | None):
        self.call: UNetCall | None = None
        self.running = False
        self._pipe, self._guided = pipe, guided
        self._encodings: deque[tuple[Tensor, Tensor]] = deque(maxlen=REMEMBERED)
        self._pair: tuple[Tensor, Tensor | None] | None = None
        self._states: Any = None  # of the last call
        self._shape: torch.Size | None = None  # of its latents
        self._ahead: list[float] = []  # what its schedule has left

    # Within a U-Net call, a method may encode text of its own: that is none of ours.

    def text_encoded(
        self, _: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> None:
        """Runs after the text encoder."""
        if not self.running:
            ids = call_argument(args, kwargs, 0, "input_ids")
            self._encodings.append((ids.cpu(), output[0].detach()))

    def pair_returned(self, prompted: Tensor, unprompted: Tensor | None) -> None:
        """Runs after `pipe.encode_prompt`."""
        if not self.running:
            self._pair = prompted, unprompted

    def unet_entered(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        """Runs before the U-Net."""
        latents = call_argument(args, kwargs, 0, "sample")
        timestep = torch.as_tensor(call_argument(args, kwargs, 1, "timestep"))
        states = call_argument(args, kwargs, 2, "encoder_hidden_states")
        # training's timesteps, one for each row, follow no schedule
        time = float(timestep) if timestep.ndim == 0 else None
        # Pictures go on with the same text at the schedule's next timestep. That times
        # fall would not do: PNDM repeats one, and one-step schedules never fall.
        same = self._shape == latents.shape and _equal(self._states, states)
        if same and time is not None and self._ahead[:1] == [time]:
            self.call.step += 1
            del self._ahead[0]
        else:
            self.call = self._first_call(latents, states)
            schedule = torch.as_tensor(self._pipe.scheduler.timesteps).tolist()
            known = time in schedule
            self._ahead = schedule[schedule.index(time) + 1 :] if known else []
        self._states, self._shape, self.running = states, latents.shape, True

    def _first_call(self, latents: Tensor, states: Any) -> UNetCall:
        sources = self._sources(states, len(latents))
        guided = self._guided
        if guided is None:
            guided = self._is_guided(latents, states, sources)
        if guided and len(latents) % 2:
            raise PersoError(
                f"guided=True, but the U-Net was called with {len(latents)} latents, "
                "and guidance doubles a batch. Leave guided out, or say False."
            )
        rows = slice(len(latents) // 2 if guided else 0, len(latents))
        ids = [found[max(found)] if found else None for found in sources[rows]]
        return UNetCall(*latents.shape[-2:], rows, ids)

    def _sources(self, states: Any, count: int) -> list[dict[int, Tensor]]:
        """For each row of text: the encodings it may come from, and its ids there."""
        sources: list[dict[int, Tensor]] = [{} for _ in range(count)]
        rows = states if isinstance(states, Tensor) else ()
        for source, row in zip(sources, rows, strict=False):
            for index, (ids, encoded) in enumerate(self._encodings):
                if encoded.shape[1:] == row.shape:
                    equal = (encoded.to(row) == row).flatten(1).all(1)
                    if equal.any():
                        source[index] = ids[equal.nonzero()[0, 0].cpu()]
        return sources

    def _is_guided(
        self, latents: Tensor, states: Any, sources: list[dict[int, Tensor]]
    ) -> bool:
        half = len(latents) // 2
        if len(latents) % 2 or not torch.equal(latents[:half], latents[half:]):
            return False
        if self._pair is not None:
            prompted, unprompted = self._pair
            if _equal(states, prompted):
                return False
            if unprompted is not None and _equal(
                states, torch.cat([unprompted, prompted])
            ):
                return True
        first = set.intersection(*map(set, sources[:half]))
        second = set.intersection(*map(set, sources[half:]))
        together = max(first & second, default=-1)
        in_order = first and second and min(second) < max(first)
        apart = max(first) if in_order else -1
        if together == apart == -1:
            raise PersoError(_WHICH_HALF)
        # equal only if some text was encoded twice: guided by itself, or drawn again
        return apart > together or (
            apart == together and torch.equal(states[:half], states[half:])
        )


_WHICH_HALF = (
    "The U-Net was called with every latent twice. That may be guidance (negative "
    "prompts in the first half, prompts in the second) or two texts on the same noise, "
    "and their text does not tell: it was not encoded inside this `with` block, or not "
    "in the order of drawing. Say guided=True or guided=False."
)


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    both = isinstance(one, Tensor) and isinstance(other, Tensor)
    return both and one.shape == other.shape and torch.equal(one, other)


@contextmanager
def tracked_unet_calls(
    pipe: StableDiffusionPipeline,
    guided: bool | None = None,
    finished: Callable[[UNetCall], None] | None = None,
) -> Iterator[UNetCallTracker]:
    """Inside, the yielded watch tells which rows of a U-Net call have the prompt.

    Args:
        pipe: a stock pipeline.
        guided: whether calls are guided, for those who call the U-Net themselves in a
            way that does not tell; default: found out for every call.
        finished: run after each call of the U-Net that raised nothing.

    Raises:
        PersoError: from within a U-Net call, where its halves cannot be told apart.
    """
    watch = UNetCallTracker(pipe, guided)

    def unet_left(module: nn.Module, args: tuple, output: Any) -> None:
        was_running, watch.running = watch.running, False
        if was_running and output is not None and finished is not None:
            finished(watch.call)

    hooks = (
        pipe.text_encoder.register_forward_hook(watch.text_encoded, with_kwargs=True),
        pipe.unet.register_forward_pre_hook(watch.unet_entered, with_kwargs=True),
        pipe.unet.register_forward_hook(unet_left, always_call=True),
    )
    with ExitStack() as stack:
        for hook in hooks:
            stack.callback(hook.remove)
        stack.enter_context(_told_of_pairs(pipe, watch))
        yield watch


@contextmanager
def _told_of_pairs(
    pipe: StableDiffusionPipeline, watch: UNetCallTracker
) -> Iterator[None]:
    """Let the watch see what `pipe.encode_prompt` returns, also text given encoded."""
    before = vars(pipe).get("encode_prompt")
    original = pipe.encode_prompt

    @wraps(original)
    def encode_prompt(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        prompted, unprompted = original(*args, **kwargs)
        watch.pair_returned(prompted, unprompted)
        return prompted, unprompted

    pipe.encode_prompt = encode_prompt
    try:
        yield
    finally:
        if before is None:
            del pipe.encode_prompt
        else:
            pipe.encode_prompt = before
