"""Two learned words mixed over time and layers, to see which part of each matters."""

from collections.abc import Callable

import torch
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.methods.space_time.word import SpaceTimeWord


class MixedWord(SpaceTimeWord):
    """Mixes two learned words: `one` where `where(timesteps, layers)` is true.

    It learns nothing itself and is for drawing only; it follows the two as they change.

    Args:
        one: the word that is read where `where` says so.
        other: the word that is read elsewhere, of the same base.
        where: given timesteps (batch, 1) and layers (1, layers), says where: a boolean
            tensor that broadcasts to (batch, layers). For example
            `lambda timesteps, layers: timesteps > 500`, early in the denoising.
        placeholder_token: what the mixture is called.

    Raises:
        PersoError: a placeholder the tokenizer would misread or already knows, or words
            of two architectures.
    """

    name = "mixed_word"

    def __init__(
        self,
        one: SpaceTimeWord,
        other: SpaceTimeWord,
        where: Callable[[Tensor, Tensor], Tensor],
        placeholder_token: str = "<mixed>",
    ):
        super().__init__(one.base, one.class_word, placeholder_token)
        if (one.num_layers, one.width) != (other.num_layers, other.width):
            raise PersoError(
                f"{one.placeholder_token} and {other.placeholder_token} were learned "
                "on two architectures and cannot be mixed. Train one of them again."
            )
        self.one, self.other, self.where = one, other, where

    def vectors(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the one or the other, (batch, layers, dim)."""
        layers = torch.arange(self.num_layers, device=timesteps.device)[None]
        of_one = self.where(timesteps[:, None], layers)
        of_one = of_one.expand(len(timesteps), self.num_layers)[..., None]
        parts = [word.vectors(timesteps) for word in (self.one, self.other)]
        words = [word for word, _ in parts]
        if all(bypass is None for _, bypass in parts):
            return torch.where(of_one, *words), None
        # a word without a bypass makes no step
        steps = [torch.zeros_like(w) if b is None else b for w, b in parts]
        return torch.where(of_one, *words), torch.where(of_one, *steps)

    def configuration(self) -> dict:
        """That of both words, and which function says where."""
        words = {"one": self.one.configuration(), "other": self.other.configuration()}
        return words | {"where": id(self.where)}

    def settings(self) -> dict:
        """Refused: a mixture is not kept in a file.

        Raises:
            PersoError: always.
        """
        raise PersoError(
            f"{self.placeholder_token} is a mixture of two words, which have files of "
            "their own: save those, and mix them again."
        )
