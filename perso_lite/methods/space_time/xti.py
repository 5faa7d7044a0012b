"""XTI: one new word, and a vector of it for each cross-attention layer.

Voynov, Chu, Cohen-Or and Aberman, "P+: Extended Textual Conditioning in Text-to-Image
Generation", 2023 (arXiv:2303.09522).

The idea: the layers of a U-Net listen to different things in a prompt, coarse ones to
shapes and fine ones to textures. So let each read a vector of its own for the new word,
and learn all of them as Textual Inversion learns its one:

    v_1 ... v_L = argmin  || eps - eps_theta(z_t, t, c(y; v_1), ..., c(y; v_L)) ||^2
"""

from typing import Any, ClassVar

from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.words import noun_of, vector_of
from perso_lite.methods.space_time.word import SpaceTimeWord


class ExtendedTextualInversion(SpaceTimeWord):
    """One word, a vector for each layer.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept.
        placeholder_token: the new word; lower case, in angle brackets, no blanks.
        initializer_token: the word whose vector all start from, one token; default:
            the (last) class word.
        shared: one vector for all layers, which is Textual Inversion.
        learning_rate: of AdamW (as its readers report: 5e-3).

    Raises:
        PersoError: a placeholder the tokenizer would misread or already knows, or an
            initializer token that is not one token of this base.
    """

    name: ClassVar[str] = "extended_textual_inversion"
    SETTINGS = ("initializer_token", "shared", "learning_rate")
    over_time = False

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        initializer_token: str | None = None,
        shared: bool = False,
        learning_rate: float = 5e-3,
    ):
        super().__init__(base, class_word, placeholder_token)
        self.initializer_token = initializer_token or noun_of(class_word)
        self.shared, self.learning_rate = shared, learning_rate
        start = vector_of(base, self.initializer_token)
        start = start.repeat(1 if shared else self.num_layers, 1)
        self.table = nn.Parameter(start)  # (layers or 1, dim)

    def vectors(self, timesteps: Tensor) -> tuple[Tensor, None]:
        """The table, at whatever timestep: (batch, layers or 1, dim), no bypass."""
        return self.table.expand(len(timesteps), -1, -1), None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The vectors alone, without weight decay (ours)."""
        return [{"params": [self.table], "lr": self.learning_rate, "weight_decay": 0.0}]


XTI = ExtendedTextualInversion  # the usual name
