"""Custom Diffusion: one new word, and how the picture's layers read text.

Kumari et al., "Multi-Concept Customization of Text-to-Image Diffusion", 2022
(arXiv:2212.04488).

The idea: when a whole model is fine-tuned on a concept, the weights that change most
are those that turn text into keys and values, and they are few. So learn a new word, as
Textual Inversion does, say it before the class word ("<new1> teddy"), and let only the
key and value projections of cross-attention change with it. Pictures of the class keep
the class word what it was (`class_prior.py`); the paper collects real ones with
captions like ours, here the base draws them.

    K = (W_K + Delta_K) c(y; v),    V = (W_V + Delta_V) c(y; v)

in each cross-attention layer, Delta zero at the start. We keep the differences rather
than new weights: a pipeline gets them for a while and is itself again afterwards. (The
paper also shows our pictures larger and smaller, says so in the caption, and reports
compressing Delta to low rank; neither is done here.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn import functional as F

from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.conditioning.restored import restored
from perso_lite.errors import PersoError
from perso_lite.methods.baselines.class_prior import (
    ClassPreserving,
    ClassPrior,
    rare_and_class_vectors,
)
from perso_lite.methods.baselines.custom_diffusion_files import (
    CUSTOM_DIFFUSION_FORMAT,
    read_concept,
    write_weights,
    write_word,
)


class CustomDiffusion(ClassPreserving):
    """A modifier's vector, and a difference for each key and value projection.

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept, one token.
        placeholder_token: stands for "<modifier> <class word>" in prompts.
        initializer_token: the rare word whose vector the modifier starts from, one
            token (ours: "sks", which our small base knows but never saw in training;
            diffusers' script: "ktn").
        learning_rate: of AdamW, for everything learned (ours: 5e-4, for our small
            base; diffusers' documented command for Stable Diffusion: 1e-5).
        prior_pictures: class pictures drawn before the first step; 0: none (ours: 32;
            diffusers' documented command: 200).
        prior_batch_size: class pictures a step (ours: 2).
        prior_weight: of their loss (diffusers' documented command: 1).

    Raises:
        PersoError: an initializer or class word that is not one token, a placeholder
            the tokenizer would misread or already knows.
    """

    name: ClassVar[str] = "custom_diffusion"
    SETTINGS = ("initializer_token", "learning_rate")
    PUBLIC_FORMATS = (CUSTOM_DIFFUSION_FORMAT,)

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        initializer_token: str = "sks",
        learning_rate: float = 5e-4,
        prior_pictures: int = 32,
        prior_batch_size: int = 2,
        prior_weight: float = 1.0,
    ):
        super().__init__(base, class_word, placeholder_token, 2)
        self.initializer_token = initializer_token
        self.learning_rate = learning_rate

        # v: the modifier starts as a rare word; the class word after it stays.
        words = rare_and_class_vectors(base, initializer_token, class_word).float()
        self.modifier = nn.Parameter(words[0].clone())  # (dim,)
        self.register_buffer("class_vector", words[1], persistent=False)  # (dim,)

        # Delta: one for each projection, so that W itself is never written to.
        self.deltas = nn.ParameterDict(
            {
                name.replace(".", "_"): nn.Parameter(
                    torch.zeros_like(projection.weight, dtype=torch.float32)
                )  # (out, in)
                for name, projection in text_projections(base).items()
            }
        )
        self.prior = ClassPrior(
            class_word, prior_pictures, prior_batch_size, prior_weight
        )

    def words(self) -> Tensor:
        """What the text encoder reads for the placeholder: (2, dim)."""
        return torch.stack([self.modifier, self.class_vector])

    @contextmanager
    def attach(self, base: StableDiffusionPipeline) -> Iterator[None]:
        """Inside the `with` block, `base` knows the word and reads text as learned.

        Raises:
            PersoError: the word is taken, or `base` is built differently.
        """
        with self.tokens.attached(base, self.words), restored() as at_exit:
            projections = text_projections(base)
            self._check(projections)
            for name, projection in projections.items():
                delta = self.deltas[name.replace(".", "_")]
                at_exit(projection.register_forward_hook(partial(_added, delta)).remove)
            yield

    def _check(self, projections: dict[str, nn.Module]) -> None:
        shapes = {
            name.replace(".", "_"): (projection.out_features, projection.in_features)
            for name, projection in projections.items()
        }
        if shapes != {name: tuple(delta.shape) for name, delta in self.deltas.items()}:
            raise PersoError(
                f"{self.placeholder_token} changes {len(self.deltas)} projections, "
                "which this base has in other places or other sizes; attach it to the "
                "base it was trained on."
            )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Modifier and differences, without weight decay (ours).

        diffusers' script decays the projections themselves by 0.01; on differences the
        same would pull them back to the base.
        """
        learned = [self.modifier, *self.deltas.values()]
        return [{"params": learned, "lr": self.learning_rate, "weight_decay": 0.0}]

    # -- the files of diffusers' script ----------------------------------------------

    def to_custom_diffusion_weights(self, folder: str | Path) -> Path:
        """Write what stock pipelines read, in the layout of diffusers' script.

            pipe.unet.load_attn_procs(folder, weight_name=path.name, _pipeline=pipe)
            pipe.load_textual_inversion(folder, weight_name="<toy>.safetensors")

        Prompts then say "<toy> teddy", as the new word is the modifier alone there.
        (Without `_pipeline`, diffusers 0.42 reads the weights and leaves them unused.)

        Args:
            folder: for both files; it may exist.

        Returns:
            The file of the weights: W + Delta of the method's own base, float32.

        Raises:
            PersoError: the place cannot be written or the disk is full.
        """
        weights = {
            name: (projection.weight.float() + self.deltas[name.replace(".", "_")])
            .detach()
            .cpu()
            for name, projection in text_projections(self.base).items()
        }
        write_word(Path(folder), self.placeholder_token, self.modifier.detach().cpu())
        return write_weights(Path(folder), self.base.unet, weights)

    @classmethod
    def from_custom_diffusion_weights(
        cls,
        folder: str | Path,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str | None = None,
        modifier_token: str | None = None,
    ) -> "CustomDiffusion":
        """Read what diffusers' script for Custom Diffusion wrote, the authors, or we.

        Delta is the file's weight less the base's, so values may differ from those
        that were learned in their last digit.

        Args:
            folder: of `pytorch_custom_diffusion_weights` and the new word's file, or
                the first of these files; `.safetensors`, or `.bin` of plain tensors.
                Of the authors' code on diffusers: `delta.bin`, or its folder.
            base: the pipeline it was learned on (the format cannot tell).
            class_word: the everyday word for the concept, which its captions said
                after the new word (the format leaves it out).
            placeholder_token: stands for "<modifier> <class word>" in prompts; default:
                the name of the new word.
            modifier_token: the new word to take, if several were learned together.
                Each then brings the same projections: attach one of them at a time.

        Raises:
            PersoError: not such files, more changed than keys and values, or other
                sizes than this base's.
        """
        folder = Path(folder)
        found = read_concept(folder, text_projections(base), modifier_token)
        deltas, token, vector = found
        # the initializer is where a training begins, and any word will do here
        method = cls(base, class_word, placeholder_token or token, class_word)
        if vector.shape != method.modifier.shape:
            raise PersoError(
                f"{folder} holds a word of width {len(vector)}, but this base has "
                f"{len(method.modifier)}; it was learned on another base."
            )
        learned = {f"deltas.{k.replace('.', '_')}": v for k, v in deltas.items()}
        method.load_state_dict(learned | {"modifier": vector})
        return method


def _added(delta: Tensor, _: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
    """W c + Delta c, for text states c (batch, tokens, dim)."""
    return output + F.linear(args[0], delta.to(args[0].dtype))


def text_projections(base: StableDiffusionPipeline) -> dict[str, nn.Module]:
    """The modules that make keys and values of text, by their names in the U-Net."""
    names = [
        f"{layer.name}.{projection}"
        for layer in cross_attention_layers(base.unet)
        for projection in ("to_k", "to_v")
    ]
    return {name: base.unet.get_submodule(name) for name in names}
