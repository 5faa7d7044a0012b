"""Scores of one concept: as a method draws it, as its class, and as it truly is.

All three are pictures of the same prompts and seeds, scored by the same judges: what
the base draws for the class word (the class prior), what was learned, and true pictures
of a shipped concept (the oracle), which no method can beat.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.concepts import Concept
from perso_lite.errors import PersoError
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.metrics import (
    clip_image_similarity,
    clip_text_similarity,
    instance_similarity,
    prompt_accuracy,
)
from perso_lite.sampling import generate
from perso_lite.world.oracle import read_prompt, true_pictures
from perso_lite.world.render import PICTURE_SIZE

SLOT = "{}"  # in a prompt, replaced by a word


@dataclass(frozen=True, eq=False)
class ConceptScores:
    """Pictures of one concept and their scores, prompt by prompt and seed by seed.

    Scores with the same prompts and seeds can be subtracted value by value. All scores
    are (pictures,), similarities in [-1, 1].
    """

    prompts: list[str]  # one per picture, with its slot
    seeds: list[int]  # one per picture
    pictures: Tensor  # (pictures, 3, height, width) in [0, 1]
    instance: Tensor
    instance_masked: Tensor
    clip_image: Tensor
    clip_image_masked: Tensor
    clip_text: Tensor  # to the prompt with the class word
    prompt_accuracy: Tensor  # in [0, 1]; NaN if a prompt requests nothing


def score_pictures(
    judges: Judges,
    concept: Concept,
    pictures: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> ConceptScores:
    """Score pictures of a concept.

    The references are the concept's own pictures, so a background that was learned with
    the concept raises the scores without masks.

    Args:
        judges: as loaded.
        concept: what the pictures should show.
        pictures: (prompts * seeds, 3, height, width) in [0, 1], prompt by prompt and
            seed by seed.
        prompts: with "{}" in place of the concept's word.
        seeds: of each prompt.

    Raises:
        PersoError: a prompt has no slot "{}", or is not in the world's words.
    """
    _check_slots(prompts)
    prompt_of = [prompt for prompt in prompts for _ in seeds]
    word, size = concept.class_word, pictures.shape[-1]
    references = concept.pictures(size)
    masks = None if None in concept.masks else concept.mask_tensor(size, size)
    words, _ = read_prompt(word)
    person = words.things[0][0] == "person"
    shown = (judges, pictures, references)
    return ConceptScores(
        prompt_of,
        list(seeds) * len(prompts),
        pictures,
        instance_similarity(*shown, False, person=person),
        instance_similarity(*shown, True, masks, person),
        clip_image_similarity(*shown),
        clip_image_similarity(*shown, True, masks, person),
        clip_text_similarity(
            judges, pictures, [p.replace(SLOT, word) for p in prompt_of]
        ),
        prompt_accuracy(judges, pictures, prompt_of, SLOT, word),
    )


def _check_slots(prompts: Sequence[str]) -> None:
    for prompt in prompts:
        if SLOT not in prompt:
            raise PersoError(
                f'The prompt "{prompt}" has no slot for the concept: write "{{}}" in '
                'its place, for example "a photo of a {} in the snow".'
            )


def score_concept(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    prompts: Sequence[str],
    seeds: Sequence[int],
    placeholder_token: str | None = None,
    **generate_options,
) -> ConceptScores:
    """Draw a concept and score the pictures; attach the method to `base` before.

    Args:
        base: the pipeline, with the concept attached.
        judges: as loaded.
        concept: what was learned.
        prompts: with "{}" in place of the concept's word.
        seeds: one picture per prompt and seed.
        placeholder_token: the concept's word; default: the shipped concept's.
        generate_options: as for `generate`, for example `guidance_scale`.

    Returns:
        The pictures and their scores, prompt by prompt and seed by seed.

    Raises:
        PersoError: the word is not attached to the base, a prompt has no slot "{}" or
            is not in the world's words, or one is so long that the concept's word
            would be cut off.
    """
    word = placeholder_token or concept.placeholder_token
    if word is None or (word[0] == "<" and word not in base.tokenizer.get_vocab()):
        raise PersoError(
            f"The base does not know {word or 'a word for ' + concept.name}: score "
            "inside `with method.attach(base):`, with the method's placeholder_token."
        )
    return _drawn_scores(base, judges, concept, prompts, seeds, word, generate_options)


def class_prior_scores(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    prompts: Sequence[str],
    seeds: Sequence[int],
    **generate_options,
) -> ConceptScores:
    """The lower end of the scale: `score_concept` with the class word.

    Args:
        base: the pipeline, without the concept.
        judges: as for `score_concept`, like the rest.
        concept: gives the class word and the references.
        prompts: with "{}" in place of the word.
        seeds: one picture per prompt and seed.
        generate_options: as for `generate`.

    Raises:
        PersoError: as for `score_concept`.
    """
    word = concept.class_word
    return _drawn_scores(base, judges, concept, prompts, seeds, word, generate_options)


def _drawn_scores(
    base, judges, concept, prompts, seeds, word: str, options: dict
) -> ConceptScores:
    """Draw every prompt with `word` in its slot, and score."""
    _check_slots(prompts)
    filled = [prompt.replace(SLOT, word) for prompt in prompts]
    pictures = generate(base, filled, tuple(seeds), output_type="pt", **options)
    return score_pictures(judges, concept, pictures, prompts, seeds)


def oracle_scores(
    judges: Judges,
    concept: Concept,
    prompts: Sequence[str],
    seeds: Sequence[int],
    size: int = PICTURE_SIZE,
) -> ConceptScores:
    """The upper end of the scale: `score_pictures` for painted pictures.

    Args:
        judges: as loaded.
        concept: a shipped one.
        prompts: with "{}" in place of the concept's word.
        seeds: one picture per prompt and seed.
        size: pixels per side (ours: 128, as the shipped base).

    Raises:
        PersoError: the concept has no `truth`, or a prompt cannot be painted.
    """
    _check_slots(prompts)
    painted = [
        true_pictures(prompt, 1, seed, size, concept, SLOT)[0]
        for prompt in prompts
        for seed in seeds
    ]
    return score_pictures(judges, concept, torch.cat(painted), prompts, seeds)
