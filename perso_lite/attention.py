"""Where words look: cross-attention maps, and text exchanged inside the attention.

In each cross-attention layer, every pixel of the feature map asks with a query q, and
every token of the prompt answers with a key k and gives a value v:

    attention = softmax(q k^T / sqrt(d))        output = attention v

The keys decide where a word has a say, the values what it says. `record_attention`
keeps the first factor; `exchanged` and `probe` change k and v.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from diffusers.models import attention_processor
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from transformers import CLIPTokenizer

from perso_lite.errors import PersoError
from perso_lite.layers import (
    CallWatch,
    CrossAttentionLayer,
    UNetCall,
    choose_layers,
    cross_attention_layers,
    rewritten_text,
    watched_calls,
)
from perso_lite.text import encode_prompts

Layers = str | int | Sequence[int] | None
Steps = int | Sequence[int] | None

# They all compute the attention above from what to_q and to_k return, by other means.
PLAIN_PROCESSORS = (
    attention_processor.AttnProcessor,
    attention_processor.AttnProcessor2_0,
    attention_processor.SlicedAttnProcessor,
    attention_processor.XFormersAttnProcessor,
)


# -- recording -------------------------------------------------------------------------


@dataclass
class _Batch:
    """Maps of pictures that were drawn together.

    A layer's are (pictures, heads, pixels, tokens); unless heads are kept there is one,
    the mean.
    """

    height: int
    width: int
    tokenizer: CLIPTokenizer
    ids: list[Tensor | None]  # of each picture's prompt
    sums: list[Tensor]  # over steps, of each layer, float32
    count: int = 0  # of steps
    kept: list[list[Tensor]] = field(default_factory=list)  # step, layer; float16, CPU


class AttentionMaps:
    """What `record_attention` recorded, by word, layer, step and head.

    Maps are averaged over everything that is not asked for. For each pixel they are a
    distribution over the tokens of the prompt: start, words, end and padding sum to 1.

    Attributes:
        layers: the cross-attention layers, in call order.
    """

    def __init__(
        self,
        pipe: StableDiffusionPipeline,
        prompts: str | list[str] | None,
        keep_steps: bool,
        keep_heads: bool,
    ):
        self.layers = cross_attention_layers(pipe.unet)
        self._pipe, self._prompts = pipe, prompts
        self._keep_steps, self._keep_heads = keep_steps, keep_heads
        self._batches: list[_Batch] = []

    def __len__(self) -> int:
        """The number of pictures recorded so far."""
        return sum(len(batch.ids) for batch in self._batches)

    def word(
        self,
        word: str,
        picture: int = 0,
        *,
        occurrence: int = 0,
        layers: Layers = None,
        steps: Steps = None,
        heads: Steps = None,
    ) -> Tensor:
        """Where one word of the prompt looks: the share of attention it gets.

        Args:
            word: as in the prompt; its tokens are summed, also those of a placeholder
                of several vectors and of a phrase.
            picture: counts from 0, in the order of drawing.
            occurrence: 1 for the second time the prompt says the word.
            layers: "down", "mid", "up" or a layer's name; an int for the layers whose
                maps have so many rows; a list of positions; default: all.
            steps: denoising steps, from 0; default: all.
            heads: attention heads, from 0; default: all.

        Returns:
            (height, width) of the latents, smaller maps enlarged bilinearly.

        Raises:
            PersoError: nothing was recorded, the word is not in the prompt, the prompt
                is not known, or steps or heads were not kept.
        """
        maps = self.tokens(picture, layers=layers, steps=steps, heads=heads)
        return maps[self._places(word, picture, occurrence)].sum(0)

    def start_token(self, picture: int = 0, **choice: Any) -> Tensor:
        """What the start token gets, (height, width); it often gets most.

        Takes layers, steps and heads as `word` does.
        """
        return self.tokens(picture, **choice)[0]

    def padding(self, picture: int = 0, **choice: Any) -> Tensor:
        """What the end token and the padding after it get, (height, width).

        Takes layers, steps and heads as `word` does.
        """
        end = len(self._ids_before_end(picture))
        return self.tokens(picture, **choice)[end:].sum(0)

    def tokens(
        self,
        picture: int = 0,
        *,
        layers: Layers = None,
        steps: Steps = None,
        heads: Steps = None,
    ) -> Tensor:
        """The maps of all tokens, (tokens, height, width); they sum to 1.

        The arguments are those of `word`.
        """
        batch, row = self._find(picture)
        size = batch.height, batch.width
        chosen = choose_layers(self.layers, layers, *size)
        total = torch.zeros(())
        for layer in chosen:
            shares = self._average(batch, layer.position, row, steps, heads)
            maps = shares.T.unflatten(1, layer.size(*size))  # (tokens, rows, columns)
            total = total + F.interpolate(maps[None], size, mode="bilinear")[0]
        return total / len(chosen)

    def labels(self, picture: int = 0) -> list[str]:
        """The tokens of a picture's prompt, in the order of `tokens`."""
        tokenizer = self._find(picture)[0].tokenizer
        tokens = tokenizer.convert_ids_to_tokens(self._ids(picture).tolist())
        return [token.removesuffix("</w>") for token in tokens]

    def _find(self, picture: int) -> tuple[_Batch, int]:
        if not self._batches:
            raise PersoError(
                "Nothing was recorded. Draw a picture, or call the U-Net, inside "
                "`with record_attention(pipe) as maps:` and ask for maps afterwards."
            )
        row = picture
        for batch in self._batches:
            if 0 <= row < len(batch.ids):
                return batch, row
            row -= len(batch.ids)
        raise PersoError(
            f"There is no picture {picture}: {len(self)} were recorded, counted from 0."
        )

    def _ids(self, picture: int) -> Tensor:
        batch, row = self._find(picture)
        if batch.ids[row] is None:
            raise PersoError(
                f"The prompt of picture {picture} is not known: its text was not "
                "encoded inside `with record_attention(...)`. Encode it there, or give "
                "record_attention the prompts= of all pictures, in order."
            )
        return batch.ids[row]

    def _ids_before_end(self, picture: int) -> list[int]:
        ids = self._ids(picture).tolist()
        return ids[: ids.index(self._find(picture)[0].tokenizer.eos_token_id)]

    def _places(self, word: str, picture: int, occurrence: int) -> list[int]:
        """The positions of a word's tokens in the prompt."""
        ids, tokenizer = self._ids_before_end(picture), self._find(picture)[0].tokenizer
        text = self._pipe.maybe_convert_prompt(word, tokenizer)  # all of its vectors
        wanted = tokenizer(text, add_special_tokens=False).input_ids
        names, whole = tokenizer.convert_ids_to_tokens(ids), tokenizer.get_added_vocab()
        starts = [
            i
            for i in range(1, len(ids) - len(wanted) + 1)
            if wanted
            and ids[i : i + len(wanted)] == wanted
            # and not the end of a longer word
            and (names[i - 1].endswith("</w>") or names[i - 1] in whole)
        ]
        if not 0 <= occurrence < len(starts):
            prompt = tokenizer.decode(ids, skip_special_tokens=True).strip()
            times = {0: "not at all", 1: "once"}.get(
                len(starts), f"{len(starts)} times"
            )
            raise PersoError(
                f'Occurrence {occurrence} of "{word}" was asked for (0 is the first), '
                f'but the prompt of picture {picture}, "{prompt}", says it {times}. '
                "Ask for a word of the prompt, spelled as there."
            )
        return list(range(starts[occurrence], starts[occurrence] + len(wanted)))

    def _average(
        self, batch: _Batch, layer: int, row: int, steps: Steps, heads: Steps
    ) -> Tensor:
        """The mean over steps and heads, (pixels, tokens)."""
        if steps is None:
            maps = batch.sums[layer][row] / batch.count  # (heads, pixels, tokens)
        else:
            _check_kept("steps", self._keep_steps)
            indices = _checked_indices("steps", steps, batch.count)
            kept = [batch.kept[step][layer][row].float() for step in indices]
            maps = torch.stack(kept).mean(0)
        if heads is not None:
            _check_kept("heads", self._keep_heads)
            maps = maps[_checked_indices("heads", heads, len(maps))]
        return maps.mean(0).cpu()

    def _add(self, call: UNetCall, maps: dict[int, Tensor]) -> None:
        """Take in one U-Net call: for each layer (pictures, heads, pixels, tokens)."""
        step = [maps[layer.position] for layer in self.layers]
        if call.step == 0:
            tokenizer = self._pipe.tokenizer  # the present one knows the placeholders
            ids = self._said(len(call.ids), tokenizer) or call.ids
            sums = [torch.zeros_like(part) for part in step]
            batch = _Batch(call.height, call.width, tokenizer, ids, sums)
            self._batches.append(batch)
        batch = self._batches[-1]
        for total, part in zip(batch.sums, step, strict=True):
            total += part
        batch.count += 1
        if self._keep_steps:
            batch.kept.append([part.to("cpu", torch.float16) for part in step])

    def _said(self, count: int, tokenizer: CLIPTokenizer) -> list[Tensor | None]:
        """Token ids of the next prompts the user named; empty if none was."""
        if self._prompts is None:
            return []
        if isinstance(self._prompts, str):
            prompts = [self._prompts] * count
        else:
            prompts = self._prompts[len(self) : len(self) + count]
        texts = self._pipe.maybe_convert_prompt(prompts, tokenizer)
        ids = [
            tokenizer(
                text, padding="max_length", truncation=True, return_tensors="pt"
            ).input_ids[0]
            for text in texts
        ]
        return [*ids, *[None] * (count - len(ids))]


def _check_kept(what: str, kept: bool) -> None:
    if not kept:
        raise PersoError(
            f"Single {what} were asked for, but only their mean was recorded. Record "
            f"with record_attention(pipe, keep_{what}=True)."
        )


def _checked_indices(what: str, asked: int | Sequence[int], count: int) -> list[int]:
    indices = [asked] if isinstance(asked, int) else list(asked)
    if not indices or not all(0 <= index < count for index in indices):
        raise PersoError(
            f"{what}={asked!r} was asked for, but there are {count}, counted from 0. "
            "Give one of them or a list of some."
        )
    return indices


@contextmanager
def record_attention(
    pipe: StableDiffusionPipeline,
    *,
    keep_steps: bool = False,
    keep_heads: bool = False,
    prompts: str | list[str] | None = None,
    guided: bool | None = None,
) -> Iterator[AttentionMaps]:
    """Record the cross-attention of everything that is drawn inside the `with` block.

    Whatever computes the attention goes on doing so, and the pictures are the same to
    the last bit: hooks note the queries and keys on their way, and the softmax is done
    once more. Only the prompts' half of guidance is recorded. A U-Net call goes on with
    the pictures of the call before if it has the same text and the next timestep of
    `pipe.scheduler`; any other call, such as a training step, is of new pictures.

    Args:
        pipe: a stock pipeline of Stable Diffusion 1.x or 2.x, used by its call, by
            `generate` or by calls of its U-Net.
        keep_steps: keep every step, as float16 on the CPU; default: their sum alone, so
            that memory does not grow with steps.
        keep_heads: keep attention heads apart; default: their mean.
        prompts: what the pictures show, in order, or one text for all; default: the ids
            that went through the text encoder. Needed where text was encoded before,
            or its keys exchanged.
        guided: whether U-Net calls have a negative half; default: found out (see
            `layers.CallWatch`), and asked for where it cannot be.

    Raises:
        PersoError: from within a U-Net call, if a layer has a processor whose attention
            is not known here or if its halves cannot be told apart.
    """
    maps = AttentionMaps(pipe, prompts, keep_steps, keep_heads)
    latest: dict[int, Tensor] = {}  # by layer, of the present call
    with ExitStack() as stack:
        watch = stack.enter_context(
            watched_calls(pipe, guided, lambda call: maps._add(call, latest))
        )
        for layer in maps.layers:
            attention = pipe.unet.get_submodule(layer.name)
            for hook in _listen(attention, layer, watch, latest, keep_heads):
                stack.callback(hook.remove)
        yield maps


def _listen(
    attention: Attention,
    layer: CrossAttentionLayer,
    watch: CallWatch,
    latest: dict[int, Tensor],
    keep_heads: bool,
) -> list[torch.utils.hooks.RemovableHandle]:
    """Hooks on one layer that leave its attention in `latest`."""
    passing: dict[str, Tensor] = {}

    def note_queries(module: nn.Module, args: tuple, output: Tensor) -> None:
        passing["queries"] = output

    def note_keys(module: nn.Module, args: tuple, output: Tensor) -> None:
        passing["keys"] = output

    @torch.no_grad()
    def weigh(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
        _check_processor(layer, attention.processor)
        queries, keys = passing.pop("queries"), passing.pop("keys")
        if watch.running:  # else the layer runs alone, as gradient checkpointing does
            rows, mask = watch.call.rows, kwargs.get("attention_mask")
            mask = None if mask is None else mask[rows]
            shares = _softmax(attention, queries[rows], keys[rows], mask)
            if not keep_heads:
                shares = shares.mean(1, keepdim=True, dtype=torch.float32)
            latest[layer.position] = shares.float()

    return [
        attention.to_q.register_forward_hook(note_queries),
        attention.to_k.register_forward_hook(note_keys),
        attention.register_forward_hook(weigh, with_kwargs=True),
    ]


def _softmax(
    attention: Attention, queries: Tensor, keys: Tensor, mask: Tensor | None
) -> Tensor:
    """The layer's attention, (pictures, heads, pixels, tokens)."""
    if mask is not None:
        mask = attention.prepare_attention_mask(mask, keys.shape[1], len(keys))
    queries, keys = (attention.head_to_batch_dim(part) for part in (queries, keys))
    shares = attention.get_attention_scores(queries, keys, mask)
    return shares.unflatten(0, (-1, attention.heads))


def _check_processor(layer: CrossAttentionLayer, processor: Any) -> None:
    known = type(processor) in PLAIN_PROCESSORS
    if not known and not getattr(processor, "plain_attention", False):
        raise PersoError(
            f"{layer.name} has a {type(processor).__name__}, and whether its attention "
            "is the softmax of what its to_q and to_k return is not known. Take it "
            "away (unet.set_default_attn_processor(), unfuse_qkv_projections()), or "
            "set plain_attention = True on it if it is."
        )


# -- exchanging ------------------------------------------------------------------------


@contextmanager
def exchanged(
    pipe: StableDiffusionPipeline,
    keys: str | None = None,
    values: str | None = None,
    guided: bool | None = None,
) -> Iterator[None]:
    """Inside, pictures take keys (where) or values (what) from other prompts.

    Negative prompts keep theirs. Maps recorded inside belong to the keys' prompt: tell
    `record_attention(prompts=...)`.

    Args:
        pipe: a stock pipeline, with the concepts in the prompts attached already.
        keys: the prompt to make keys of; None: the picture's own.
        values: the prompt to make values of; None: the picture's own.
        guided: as in `record_attention`.

    Raises:
        PersoError: neither is given.
    """
    if keys is None and values is None:
        raise PersoError(
            "exchanged() was given neither keys nor values, so there is nothing to "
            'exchange. Say for example exchanged(pipe, values="a red car").'
        )
    with torch.no_grad():
        where, what = (
            None if prompt is None else encode_prompts(pipe, [prompt])
            for prompt in (keys, values)
        )
    with watched_calls(pipe, guided) as watch:

        def with_keys(layer: CrossAttentionLayer, states: Tensor) -> Tensor:
            return _prompted(watch, states, where)

        def with_values(layer: CrossAttentionLayer, states: Tensor) -> Tensor:
            return _prompted(watch, states, what)

        with rewritten_text(
            pipe.unet,
            with_keys if keys is not None else None,
            with_values if values is not None else None,
        ):
            yield


@contextmanager
def probe(
    pipe: StableDiffusionPipeline,
    prompts_by: Mapping[tuple[Layers, tuple[int, int] | None], str],
    guided: bool | None = None,
) -> Iterator[None]:
    """Inside, chosen layers read another prompt during chosen steps.

    For example `{("mid", (0, 8)): "a red car"}`: the middle layer reads it during the
    first eight steps. Negative prompts stay.

    Args:
        pipe: a stock pipeline, with the concepts in the prompts attached already.
        prompts_by: prompts by layers, as in `AttentionMaps.word` (positions as a
            tuple), and by first and last + 1 step; None is all. Where two meet, the
            later wins.
        guided: as in `record_attention`.

    Raises:
        PersoError: no prompts, or steps that are no range; from within a U-Net call,
            layers that do not exist.
    """
    _check_probe(prompts_by)
    layers = cross_attention_layers(pipe.unet)
    with torch.no_grad():
        states_by = {
            where: encode_prompts(pipe, [prompt])  # (1, tokens, dim)
            for where, prompt in prompts_by.items()
        }
    with watched_calls(pipe, guided) as watch:

        def rewrite(layer: CrossAttentionLayer, states: Tensor) -> Tensor:
            call = watch.call
            for (which, steps), others in reversed(states_by.items()):
                there = choose_layers(layers, which, call.height, call.width)
                if layer in there and (steps is None or call.step in range(*steps)):
                    return _prompted(watch, states, others)
            return states

        with rewritten_text(pipe.unet, rewrite, rewrite):
            yield


def _prompted(watch: CallWatch, states: Tensor, others: Tensor) -> Tensor:
    """Text states (batch, tokens, dim), with others in the prompts' rows."""
    states = states.clone()
    states[watch.call.rows] = others.to(states)
    return states


def _check_probe(prompts_by: Mapping[tuple, str]) -> None:
    example = 'Say for example {("mid", (0, 8)): "a red car"}.'
    if not prompts_by:
        raise PersoError(f"probe() was given no prompts. {example}")
    for _, steps in prompts_by:
        if steps is not None and not (len(steps) == 2 and 0 <= steps[0] < steps[1]):
            raise PersoError(
                f"{steps!r} is no range of steps: the first step and the last one "
                f"plus 1 were expected, or None for all. {example}"
            )
