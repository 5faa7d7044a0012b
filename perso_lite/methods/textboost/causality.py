"""Where LoRA acts in a text: not at words of others, and not before its own if chosen.

Words of other concepts were learned with the base's text encoder: Perfusion knows its
word by its text state, and NeTI's mapper made one for each layer. So LoRA is left out
at their places (ours; nothing changes in a text without them).

Causality-preserved adaptation: LoRA on every position changes all prompts, even the
start token, which sees nothing of the prompt. CLIP's text encoder reads from left to
right, so whatever changes at a position is seen by those behind it only. If LoRA is
therefore added from the first new word on, up to the end token, prompts without it stay
as they are, to the last bit.

Park, Kim and Shim, "Boosting Text Encoder for Personalized Text-to-Image Generation",
TMLR 2026, as its released code has it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import call_argument
from perso_lite.conditioning.restored import restored
from perso_lite.conditioning.tokens import LearnedTokens, words_of_others


def from_word_on(ids: Tensor, first: int, count: int, end: int) -> Tensor:
    """1 from the first new word to the end token, 0 elsewhere: (texts, tokens, 1).

    Args:
        ids: token ids, (texts, tokens).
        first: id of the first new token.
        count: how many there are.
        end: id of the end token, which may be used for padding, too.
    """
    new = (ids >= first) & (ids < first + count)
    ended = (ids == end).cumsum(1)  # 1 at the end token, then more if pads are alike
    behind_end = torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], 1) > 0
    return ((new.cumsum(1) > 0) & ~behind_end)[..., None].float()


@contextmanager
def watched_words(
    base: StableDiffusionPipeline, tokens: LearnedTokens, causality_preserved: bool
) -> Iterator[Callable[[], Tensor | None]]:
    """Inside, tells where LoRA acts in the texts that are being encoded.

    That is (texts, tokens, 1), or None: everywhere.
    """
    present: list[Tensor | None] = [None]

    def note(_: nn.Module, args: tuple, kwargs: dict) -> None:
        ids, tokenizer = call_argument(args, kwargs, 0, "input_ids"), base.tokenizer
        places = (~words_of_others(tokenizer, ids, [tokens]))[..., None].float()
        if causality_preserved:
            own = tokens.first_id(tokenizer), len(tokens.tokens)
            places = places * from_word_on(ids, *own, tokenizer.eos_token_id)
        present[:] = [None if places.all() else places]

    encoder = base.text_encoder
    with restored() as at_exit:
        at_exit(encoder.register_forward_pre_hook(note, with_kwargs=True).remove)
        yield lambda: present[0]
