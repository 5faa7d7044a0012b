"""TextBoost: a concept from one picture, learned by the text encoder alone.

Park, Kim and Shim, "TextBoost: Towards One-Shot Personalization of Text-to-Image Models
via Fine-tuning Text Encoder", 2024 (arXiv:2409.08248).

The idea: with one picture there is little to learn from, and much to forget. So leave
the U-Net alone and give the text encoder E few parameters: a new word v, tokens for
transformations of the picture (`augmentation.py`), and LoRA (`word_with_lora.py`).
Train where captions matter most, at high noise (`timesteps.py`), and keep what E makes
of general captions (`knowledge.py`):

    min over v and LoRA of   E || eps - eps_theta(z_t, t, E(c)) ||^2
                             + lambda mean_i (1 - cos(E(c')_i, E_0(c')_i))

where c is a caption of the transformed picture, t is drawn with p_t, c' is a general
caption, E_0 the base's text encoder, and i a position.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor

from perso_lite.concepts import Concept
from perso_lite.errors import PersoError, check_finite, check_whole
from perso_lite.method import View
from perso_lite.methods.textboost.augmentation import RELEASED_NAMES, Augmentation
from perso_lite.methods.textboost.knowledge import KnowledgePreservation
from perso_lite.methods.textboost.norms import capped
from perso_lite.methods.textboost.peft_files import FOLDER_FORMAT, read_released_folder
from perso_lite.methods.textboost.timesteps import snr_probabilities
from perso_lite.methods.textboost.word_with_lora import TARGETS, WordWithLora


class TextBoost(WordWithLora):
    """A word, tokens for transformations, and LoRA for the text encoder.

    "Released code" is that of September 2024: 250 steps of 8 pictures, on Stable
    Diffusion 1.5. On our base 120 steps of 4 do (tried: see `data/PROVENANCE.md`).

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word for the concept.
        placeholder_token: the new word; lower case, in angle brackets, no blanks.
        num_vectors: how many vectors the word is made of (released code: 1).
        initializer_token: the word whose vector it starts from, one token; default: the
            (last) class word (released code).
        with_class_word: whether the class word is read behind it, so that "<toy>"
            stands for "<toy> teddy" (released code: yes; since November 2024: no).
        targets: layers of the text encoder to change (released code: "q_proj",
            "k_proj", "v_proj", "out_proj", "fc1", "fc2"; since November 2024 the first
            three).
        rank: r of LoRA (released code: 4).
        augmentation: how captions say what was done to the picture: in "tokens" of
            their own (paper), in "words", or not ("silent"); "none": nothing is done.
        augmentation_probability: of each of three groups of transformations (released
            code: 0.8; ours: 0.2, for our small pictures).
        num_augmentations: transformed pictures, made once (ours: 64, for cost; the
            released code makes another for every sample).
        knowledge_preservation: lambda; 0: none (released code: 0.1; ours: 1, as our
            learning rate is higher: with 0.1 the class word becomes the concept).
        knowledge_batch_size: general captions a step (ours: 4; released code: as many
            as pictures, 8).
        snr_weighting: whether t is drawn with p_t (paper), or uniformly (what the
            released code does, whatever its switch says).
        causality_preserved: whether LoRA acts from the new word on only
            (`causality.py`). Prompts without the word stay the base's, so there is no
            knowledge to preserve.
        picture: which of the concept's to learn from, from 0; default: the first, with
            a warning if there are more.
        learning_rate: of LoRA (released code: 5e-5; ours: 3e-3, for our small base).
        embedding_learning_rate: of all vectors; it falls to 0 at the last step, in a
            straight line (released code: 1e-3; ours: 5e-3, for our small base).
        max_vector_norm: to which longer vectors are shortened after each step (released
            code: not; since December 2024: `norms.mean_norm(base)`).
        seed: of A of LoRA, and of the transformed pictures.
        knowledge_captions: general captions; default: 400 of our world. They are not
            kept in the concept's file.

    Raises:
        PersoError: a placeholder the tokenizer would misread or already knows, an
            initializer token that is not one token, a setting out of range, a general
            caption that says the new word.
    """

    name: ClassVar[str] = "textboost"
    SETTINGS = (
        "num_vectors", "initializer_token", "with_class_word", "targets", "rank",
        "augmentation", "augmentation_probability", "num_augmentations",
        "knowledge_preservation", "knowledge_batch_size", "snr_weighting",
        "causality_preserved", "picture", "learning_rate", "embedding_learning_rate",
        "max_vector_norm", "seed",
    )  # fmt: skip
    SIZES = ("rank",)
    PUBLIC_FORMATS = (FOLDER_FORMAT,)

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        num_vectors: int = 1,
        initializer_token: str | None = None,
        with_class_word: bool = True,
        targets: Sequence[str] = TARGETS,
        rank: int = 4,
        augmentation: str = "tokens",
        augmentation_probability: float = 0.2,
        num_augmentations: int = 64,
        knowledge_preservation: float = 1.0,
        knowledge_batch_size: int = 4,
        snr_weighting: bool = True,
        causality_preserved: bool = False,
        picture: int | None = None,
        learning_rate: float = 3e-3,
        embedding_learning_rate: float = 5e-3,
        max_vector_norm: float | None = None,
        seed: int = 0,
        knowledge_captions: Sequence[str] | None = None,
    ):
        transformations = Augmentation(
            base,
            placeholder_token,
            augmentation,
            augmentation_probability,
            num_augmentations,
            seed,
        )
        super().__init__(
            base,
            class_word,
            placeholder_token,
            num_vectors,
            initializer_token,
            with_class_word,
            targets,
            rank,
            causality_preserved,
            learning_rate,
            embedding_learning_rate,
            seed,
            transformations.starts(),
        )
        self.transformations, self.augmentation = transformations, augmentation
        self.augmentation_probability = augmentation_probability
        self.num_augmentations = num_augmentations
        self.snr_weighting = snr_weighting
        check_whole("picture", picture or 0, 0)
        if max_vector_norm is not None:
            check_finite("max_vector_norm", max_vector_norm, least=0)
        self.picture, self.max_vector_norm = picture, max_vector_norm
        self.knowledge_preservation = knowledge_preservation
        self.knowledge_batch_size = knowledge_batch_size
        self.knowledge = KnowledgePreservation(
            self.class_word,
            placeholder_token,
            knowledge_captions,
            0 if causality_preserved else knowledge_preservation,
            knowledge_batch_size,
        )

    @property
    def augmentation_tokens(self) -> dict[str, str]:
        """What prompts may say while it is attached, by name of the transformation.

        Without it, "<toy-zoom-in>" is to a base what any unknown word is.
        """
        return dict(self.transformations.tokens)

    def before_training(self, concept: Concept) -> None:
        """E_0(c') of all general captions, by the untouched text encoder."""
        self.knowledge.remember(self.base)

    def views(self, concept: Concept) -> list[View]:
        """One picture, transformed many times, each with captions c.

        Raises:
            PersoError: the concept has no picture of that number.
        """
        views, chosen = super().views(concept), self.picture or 0
        if chosen >= len(views):
            raise PersoError(
                f"picture is {chosen}, but {concept.name} has {len(views)}, counted "
                "from 0."
            )
        if self.picture is None and len(views) > 1:
            warnings.warn(
                f"TextBoost learns from one picture: the first of the {len(views)} of "
                f"{concept.name}. Say picture=0, or the number of another one.",
                stacklevel=2,
            )
        return self.transformations.views(views[chosen])

    def draw_timesteps(
        self, count: int, num_train_timesteps: int, generator: torch.Generator
    ) -> Tensor:
        """t, drawn with p_t or uniformly: (count,)."""
        if not self.snr_weighting:
            return super().draw_timesteps(count, num_train_timesteps, generator)
        scheduler = DDPMScheduler.from_config(self.base.scheduler.config)
        p = snr_probabilities(scheduler.alphas_cumprod)
        return torch.multinomial(p, count, replacement=True, generator=generator)

    def extra_loss(self, generator: torch.Generator) -> Tensor | None:
        """The second term of the equation, or None: 1 - cos, times lambda."""
        return self.knowledge.loss(self.base, generator)

    def after_step(self, index: int, captions: list[str], states: Tensor) -> None:
        """Shorten vectors that have become too long."""
        if self.max_vector_norm is not None:
            self.vectors.data = capped(self.vectors.data, self.max_vector_norm)

    @classmethod
    def from_released(
        cls,
        folder: str | Path,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str | None = None,
        with_class_word: bool = True,
    ) -> "TextBoost":
        """Read what the released code saved: a folder with text_encoder/ and *.bin.

        Its versions between December 2024 and January 2025 replace the start token's
        state and the empty prompt's by stored ones, which is not done here.

        Args:
            folder: of a checkpoint.
            base: the pipeline it was learned on (the files cannot tell).
            class_word: the everyday word for the concept (they leave it out).
            placeholder_token: default: the concept's name in the files.
            with_class_word: whether its prompts say the class word behind the word, as
                in "<dog> dog".

        Raises:
            PersoError: not such a folder, of another base, or of several concepts.
        """
        found = read_released_folder(folder)
        concept = found.only_word(RELEASED_NAMES)
        method = cls(
            base,
            class_word,
            placeholder_token or concept,
            len(found.words[concept]),
            with_class_word=with_class_word,
            targets=found.targets,
            rank=found.rank,
            augmentation="tokens" if len(found.words) > 1 else "none",
        )
        tokens = {f"<{name}>": t for name, t in method.augmentation_tokens.items()}
        tokens[concept] = method.placeholder_token
        method.fill(found.weights, found.words, tokens)
        return method
