"""Which rows of a U-Net call belong to the prompts, and which denoising step it is.

Under classifier-free guidance half of a batch has negative prompts, and a U-Net call
says neither that nor how far the picture has come. `tracked_unet_calls` finds out, for
the stock call of a pipeline and for our own loops alike, without changing either.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import UNetInputs, unet_inputs
from perso_lite.conditioning.prompt_lookup import PromptLookup
from perso_lite.conditioning.restored import restored
from perso_lite.errors import PersoError

KEPT_ENCODINGS = 16  # drawing needs two: prompts and negative prompts


@dataclass
class UNetCall:
    """One call of the U-Net.

    Attributes:
        height, width: of the latents.
        rows: the part of the batch that has the prompt: its second half under
            classifier-free guidance, otherwise all of it.
        ids: for each of these rows its prompt's token ids (tokens,); None if the text
            was encoded before tracking began.
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
    and what the pipeline knows (`guidance_scale`) is left from its last call. So the
    prompts are recorded while they are encoded, and found again when their states
    arrive (`PromptLookup`). A call is guided if the two halves of its latents are
    equal and its texts

    * are a pair that `pipe.encode_prompt` just returned (the stock call), or
    * were encoded apart, the first half after the second (our `generate`).

    It is not if the halves differ, as in training, or if its texts were encoded
    together. If neither is known, an error asks instead of guessing.

    Attributes:
        call: the present or the last call; None before the first.
        prompts: the prompts encoded since tracking began.
    """

    def __init__(self, pipe: StableDiffusionPipeline, guided: bool | None):
        self.call: UNetCall | None = None
        self._pipe, self._guided = pipe, guided
        self.prompts = PromptLookup(pipe, KEPT_ENCODINGS, new_words_only=False)
        self._pair: tuple[Tensor, Tensor | None] | None = None
        self._states: Any = None  # of the last call
        self._shape: torch.Size | None = None  # of its latents
        self._ahead: list[float] = []  # what its schedule has left

    @property
    def running(self) -> bool:
        """Whether the U-Net is at work; a text encoded meanwhile is no prompt."""
        return self.prompts.paused

    def pair_returned(self, prompted: Tensor, unprompted: Tensor | None) -> None:
        """Runs after `pipe.encode_prompt`."""
        if not self.running:
            self._pair = prompted, unprompted

    def unet_entered(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        """Runs before the U-Net."""
        call = unet_inputs(args, kwargs)
        # training's timesteps, one for each row, follow no schedule
        time = float(call.timestep) if call.timestep.ndim == 0 else None
        # Pictures go on with the same text at the schedule's next timestep. That times
        # fall would not do: PNDM repeats one, and one-step schedules never fall.
        states, shape = call.encoder_hidden_states, call.latents.shape
        same = self._shape == shape and _equal(self._states, states)
        if same and time is not None and self._ahead[:1] == [time]:
            self.call.step += 1
            del self._ahead[0]
        else:
            self.call = self._first_call(call)
            schedule = torch.as_tensor(self._pipe.scheduler.timesteps).tolist()
            known = time in schedule
            self._ahead = schedule[schedule.index(time) + 1 :] if known else []
        self._states, self._shape, self.prompts.paused = states, shape, True

    def _first_call(self, call: UNetInputs) -> UNetCall:
        count, states = len(call.latents), call.encoder_hidden_states
        sources: list[dict[int, Tensor]] = [{} for _ in range(count)]
        if isinstance(states, Tensor):
            sources[: len(states)] = self.prompts.sources(states[:count])
        guided = self._guided
        if guided is None:
            guided = self._is_guided(call.latents, states, sources)
        if guided and count % 2:
            raise PersoError(
                f"guided=True, but the U-Net was called with {count} latents, "
                "and guidance doubles a batch. Leave guided out, or say False."
            )
        rows = slice(count // 2 if guided else 0, count)
        ids = [found[max(found)].cpu() if found else None for found in sources[rows]]
        return UNetCall(*call.latents.shape[-2:], rows, ids)

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
    """Inside, the yielded tracker tells which rows of a U-Net call have the prompt.

    Args:
        pipe: a stock pipeline.
        guided: whether calls are guided, for those who call the U-Net themselves in a
            way that does not tell; default: found out for every call.
        finished: run after each call of the U-Net that raised nothing.

    Raises:
        PersoError: from within a U-Net call, where its halves cannot be told apart.
    """
    tracker = UNetCallTracker(pipe, guided)

    def unet_left(module: nn.Module, args: tuple, output: Any) -> None:
        was_running, tracker.prompts.paused = tracker.running, False
        if was_running and output is not None and finished is not None:
            finished(tracker.call)

    unet, entered = pipe.unet, tracker.unet_entered
    with (
        tracker.prompts.recording(),
        _noting_pairs(pipe, tracker),
        restored() as at_exit,
    ):
        at_exit(unet.register_forward_pre_hook(entered, with_kwargs=True).remove)
        at_exit(unet.register_forward_hook(unet_left, always_call=True).remove)
        yield tracker


@contextmanager
def _noting_pairs(
    pipe: StableDiffusionPipeline, tracker: UNetCallTracker
) -> Iterator[None]:
    """Let the tracker see what `pipe.encode_prompt` returns, also given embeddings."""
    before = {k: v for k, v in vars(pipe).items() if k == "encode_prompt"}
    original = pipe.encode_prompt

    @wraps(original)
    def encode_prompt(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        prompted, unprompted = original(*args, **kwargs)
        tracker.pair_returned(prompted, unprompted)
        return prompted, unprompted

    with restored() as at_exit:
        at_exit(lambda: vars(pipe).update(before))
        at_exit(lambda: vars(pipe).pop("encode_prompt", None))
        pipe.encode_prompt = encode_prompt
        yield
