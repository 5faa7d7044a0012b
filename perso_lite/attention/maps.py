"""Cross-attention maps by word, layer, step and head; record.py records them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTokenizer

from perso_lite.attention.layers import Layers, choose_layers
from perso_lite.attention.unet_calls import UNetCall
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.conditioning.new_words import as_it_reads
from perso_lite.errors import PersoError

Steps = int | Sequence[int] | None


@dataclass
class Batch:
    """Maps of pictures that were drawn together.

    Those of a layer are (pictures, heads, pixels, tokens); heads is 1, their mean,
    unless heads are kept.
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

    Maps are averaged over all layers, steps and heads unless some are chosen. At each
    pixel they are a distribution over the tokens of the prompt: start, words, end and
    padding sum to 1.

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
        self._batches: list[Batch] = []

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
            word: a word or phrase of the prompt; its tokens are summed, also those of
                a placeholder with several vectors.
            picture: counts from 0, in the order of drawing.
            occurrence: which occurrence of the word in the prompt, from 0.
            layers: "down", "mid", "up" or a layer's name; an int for the layers whose
                maps have that many rows; a list of positions; default: all.
            steps: denoising steps, from 0; default: all.
            heads: attention heads, from 0; default: all.

        Returns:
            (height, width) of the latents, in [0, 1]; smaller maps are enlarged
            bilinearly.

        Raises:
            PersoError: the picture was not recorded, its prompt is not known or lacks
                the word, the layers, steps or heads do not exist, or steps or heads
                were not kept.
        """
        maps = self.tokens(picture, layers=layers, steps=steps, heads=heads)
        return maps[self._positions(word, picture, occurrence)].sum(0)

    def start_token(self, picture: int = 0, **choice: Any) -> Tensor:
        """The map of the start token, (height, width); it often gets most attention.

        `choice` is layers, steps and heads, as for `word`.
        """
        return self.tokens(picture, **choice)[0]

    def padding(self, picture: int = 0, **choice: Any) -> Tensor:
        """The summed maps of the end token and the padding, (height, width).

        `choice` is layers, steps and heads, as for `word`.
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
        """The maps of all tokens, (tokens, height, width); they sum to 1 over tokens.

        Args:
            picture: as for `word`, like the rest.
            layers: default: all.
            steps: default: all.
            heads: default: all.

        Raises:
            PersoError: as for `word`.
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

    def words(self, picture: int = 0) -> list[str]:
        """The words of a picture's prompt, without repetition; each fits `word`."""
        tokenizer = self._find(picture)[0].tokenizer
        tokens = tokenizer.convert_ids_to_tokens(self._ids_before_end(picture)[1:])
        added = tokenizer.get_added_vocab()  # placeholders carry no "</w>"
        tokens = [t for t in tokens if t.rpartition("_")[0] not in added]  # <toy>_1
        spaced = [t + " " if t in added else t.replace("</w>", " ") for t in tokens]
        return list(dict.fromkeys("".join(spaced).split()))

    def steps(self, picture: int = 0) -> int:
        """The number of recorded denoising steps of a picture."""
        return self._find(picture)[0].count

    def _find(self, picture: int) -> tuple[Batch, int]:
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

    def _positions(self, word: str, picture: int, occurrence: int) -> list[int]:
        """The positions of a word's tokens in the prompt, for one occurrence."""
        ids, tokenizer = self._ids_before_end(picture), self._find(picture)[0].tokenizer
        text = self._pipe.maybe_convert_prompt(word, tokenizer)  # all of its vectors
        wanted = tokenizer(text, add_special_tokens=False).input_ids
        names, added = tokenizer.convert_ids_to_tokens(ids), tokenizer.get_added_vocab()
        starts = [
            i
            for i in range(1, len(ids) - len(wanted) + 1)
            if wanted
            and ids[i : i + len(wanted)] == wanted
            # and not the end of a longer word
            and (names[i - 1].endswith("</w>") or names[i - 1] in added)
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
        self, batch: Batch, layer: int, row: int, steps: Steps, heads: Steps
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

    def add(self, call: UNetCall, maps: dict[int, Tensor]) -> None:
        """Add one U-Net call; `maps` (pictures, heads, pixels, tokens) by layer."""
        step = [maps[layer.position] for layer in self.layers]
        if call.step == 0:
            # with the placeholders attached now, also when they are gone
            tokenizer = as_it_reads(self._pipe.tokenizer)
            ids = self._given_ids(len(call.ids), tokenizer) or call.ids
            sums = [torch.zeros_like(part) for part in step]
            batch = Batch(call.height, call.width, tokenizer, ids, sums)
            self._batches.append(batch)
        batch = self._batches[-1]
        for total, part in zip(batch.sums, step, strict=True):
            total += part
        batch.count += 1
        if self._keep_steps:
            batch.kept.append([part.to("cpu", torch.float16) for part in step])

    def _given_ids(self, count: int, tokenizer: CLIPTokenizer) -> list[Tensor | None]:
        """Token ids of the user's next `count` prompts; empty if there are none."""
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


def _checked_indices(what: str, chosen: int | Sequence[int], count: int) -> list[int]:
    indices = [chosen] if isinstance(chosen, int) else list(chosen)
    if not indices or not all(0 <= index < count for index in indices):
        raise PersoError(
            f"{what}={chosen!r} was asked for, but there are {count}, counted from 0. "
            "Give one of them or a list of some."
        )
    return indices
