"""Knowledge preservation: what the text encoder knew, it is to know still.

A text encoder that learns one toy from one picture soon reads that toy into other
prompts, too. So each step also encodes some general captions c, which never say the
new word, and compares with what the encoder made of them before any training:

    loss = mean over captions and positions of  1 - cos(E(c)_i, E_0(c)_i)

No class pictures are drawn and the U-Net is not asked, so it costs little.
"""

from collections.abc import Sequence

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional as F

from perso_lite.conditioning.neutral_captions import TEMPLATES
from perso_lite.conditioning.new_words import as_read
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError, check_finite, check_whole
from perso_lite.files import DATA_FOLDER
from perso_lite.files.reading import read_json

CAPTIONS_FILE = DATA_FOLDER / "prompts" / "knowledge.json"
EMPTY, OF_CLASS = 0.1, 0.1  # how often each is drawn (released code); else a caption
AT_ONCE = 32  # captions encoded together, before training


def shipped_captions() -> list[str]:
    """The captions of our world that ship with the library, general ones.

    The released code takes the prompts of InstructPix2Pix, which people wrote.

    Raises:
        PersoError: the file is not there.
    """
    if not CAPTIONS_FILE.is_file():
        raise PersoError(
            f"The captions of {CAPTIONS_FILE} are not there: install from a clone with "
            "`pip install -e .`, give knowledge_captions, or set "
            "knowledge_preservation=0."
        )
    return read_json(CAPTIONS_FILE, list)


def unlike(states: Tensor, others: Tensor) -> Tensor:
    """1 - cos of text states (batch, tokens, dim), on average over all positions: ().

    As half the squared distance of unit vectors, which is the same, and exactly 0 for
    equal states.
    """
    one, other = (F.normalize(s.float(), dim=-1) for s in (states, others))
    return (one - other).square().sum(-1).mean() / 2


class KnowledgePreservation:
    """General captions, what the base makes of them, and the loss that they add.

    E_0 is kept in memory only. It depends on the base and the captions alone, so a
    training that is resumed has the same again.

    Args:
        class_word: the everyday word for the concept.
        placeholder_token: which no caption may say.
        captions: default: `shipped_captions()`, when training begins.
        weight: lambda (released code: 0.1); 0 switches it off.
        batch_size: captions a step (released code: as many as pictures, 8).

    Raises:
        PersoError: no captions, one that says the new word, or a number out of range.
    """

    def __init__(
        self,
        class_word: str,
        placeholder_token: str,
        captions: Sequence[str] | None,
        weight: float,
        batch_size: int,
    ):
        check_finite("knowledge_preservation", weight, least=0)
        check_whole("knowledge_batch_size", batch_size, 1)
        if captions is not None and not captions:
            raise PersoError("There are no knowledge_captions: give at least one.")
        for text in captions or ():
            if placeholder_token in as_read(text):
                raise PersoError(
                    f'knowledge_captions has "{text}", but what the base knows of '
                    f"{placeholder_token} cannot be kept: give captions without it."
                )
        self.of_class = [template.format(class_word) for template in TEMPLATES]
        self.captions = None if captions is None else list(captions)
        self.weight, self.batch_size = weight, batch_size
        self._known: dict[str, Tensor] = {}  # E_0 (tokens, dim) of each caption

    @torch.no_grad()
    def remember(self, base: StableDiffusionPipeline) -> None:
        """Encode all captions, once, with nothing attached."""
        if self.weight == 0 or self._known:
            return
        if self.captions is None:
            self.captions = shipped_captions()
        texts = list(dict.fromkeys(["", *self.of_class, *self.captions]))
        for start in range(0, len(texts), AT_ONCE):
            part = texts[start : start + AT_ONCE]
            self._known |= zip(part, encode_prompts(base, part), strict=True)

    def draw(self, generator: torch.Generator) -> list[str]:
        """The captions of a step: empty, of the class, or general."""
        drawn = []
        for _ in range(self.batch_size):
            kind, place = torch.rand(2, generator=generator, dtype=torch.double)
            texts = self.captions
            if kind < EMPTY + OF_CLASS:
                texts = [""] if kind < EMPTY else self.of_class
            drawn.append(texts[int(place * len(texts))])
        return drawn

    def loss(
        self, base: StableDiffusionPipeline, generator: torch.Generator
    ) -> Tensor | None:
        """The term to add to the loss, with the method attached: (), or None.

        Raises:
            PersoError: the captions were not encoded before.
        """
        if self.weight == 0:
            return None
        if not self._known:
            raise PersoError(
                "What the base makes of the captions is not known yet: call "
                "method.before_training(concept) while nothing is attached, or set "
                "knowledge_preservation=0. (fit does it.)"
            )
        captions = self.draw(generator)
        known = torch.stack([self._known[caption] for caption in captions])
        return self.weight * unlike(encode_prompts(base, captions), known)
