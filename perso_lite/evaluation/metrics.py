"""Scores of pictures: how like the concept they are, and how true to their prompt.

A score alone says little: the base draws some teddy for "a teddy" (the class prior),
and the world can paint the very teddy that was asked for (the oracle). The same judges
look at all three; bootstrap.py says how far between them a method has come, and how
sure that is.

Pictures are tensors (pictures, 3, height, width) in [0, 1] everywhere; scores come back
one a picture, on the CPU, for `bootstrap_interval`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perso_lite.errors import PersoError
from perso_lite.evaluation.judges import ATTRIBUTES, UNKNOWN, Judges, SubjectEncoder
from perso_lite.evaluation.ground_truth import asked_of_prompt

GREY = 0.5  # what replaces a background, in [0, 1]
DRIFTING = ("class", "color", "pattern", "place", "accessory", "style")

# -- is it the concept? --------------------------------------------------------------


def for_judge(pictures: Tensor, judge: nn.Module) -> Tensor:
    """Pictures in [0, 1] as a judge wants them: in [-1, 1] and where it is."""
    device = next(judge.parameters()).device
    return pictures.to(device, torch.float32).clamp(0, 1) * 2 - 1


def subject_encoder(judges: Judges, person: bool) -> SubjectEncoder:
    """The judge that tells people apart, or the one that tells toys apart."""
    return judges.faces if person else judges.instances


def on_grey(
    pictures: Tensor, encoder: SubjectEncoder, masks: Tensor | None = None
) -> Tensor:
    """Pictures with mid grey for their background.

    What belongs to it is at most half covered by `masks` (pictures, 1, height, width)
    in [0, 1]; default: by the masks that the encoder finds.
    """
    if masks is None:
        masks = encoder.find_masks(for_judge(pictures, encoder))
    masks = F.interpolate(masks.to(pictures), size=pictures.shape[-2:], mode="bilinear")
    return pictures.where(masks > 0.5, torch.full_like(pictures, GREY))


def instance_similarity(
    judges: Judges,
    pictures: Tensor,
    references: Tensor,
    masked: bool,
    reference_masks: Tensor | None = None,
    person: bool = False,
) -> Tensor:
    """How much the subjects look like those of the references, (pictures,).

    The mean cosine, in [-1, 1], of the instance encoder (for people, the face reader).

    Args:
        judges: who looks.
        pictures: what was drawn.
        references: pictures of the concept.
        masked: put everything on mid grey first, so that a background that was learnt
            along does not count.
        reference_masks: where the concept is in the references, (references, 1,
            height, width); default: where the encoder finds it, as in `pictures`.
        person: whether the concept is a person.
    """
    encoder = subject_encoder(judges, person)
    if masked:
        pictures = on_grey(pictures, encoder)
        references = on_grey(references, encoder, reference_masks)
    drawn = encoder.encode(for_judge(pictures, encoder))  # (pictures, dim)
    known = encoder.encode(for_judge(references, encoder))  # (references, dim)
    return (drawn @ known.T).mean(1).cpu()


@torch.no_grad()
def clip_images(judges: Judges, pictures: Tensor) -> Tensor:
    """CLIP's unit vectors of pictures, (pictures, dim)."""
    side = judges.clip.config.vision_config.image_size
    pixels = for_judge(pictures, judges.clip)
    if pixels.shape[-2:] != (side, side):
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    # as get_image_features does, whose result is another in transformers 4 and 5
    pooled = [judges.clip.vision_model(p).pooler_output for p in pixels.split(256)]
    return F.normalize(judges.clip.visual_projection(torch.cat(pooled)), dim=-1)


@torch.no_grad()
def clip_texts(judges: Judges, prompts: Sequence[str]) -> Tensor:
    """CLIP's unit vectors of prompts, (prompts, dim)."""
    ids = judges.tokenizer(
        list(prompts),
        padding="max_length",
        max_length=judges.clip.config.text_config.max_position_embeddings,
        truncation=True,
        return_tensors="pt",
    ).input_ids.to(judges.clip.device)
    pooled = judges.clip.text_model(ids).pooler_output
    return F.normalize(judges.clip.text_projection(pooled), dim=-1)


def clip_image_similarity(
    judges: Judges,
    pictures: Tensor,
    references: Tensor,
    masked: bool = False,
    reference_masks: Tensor | None = None,
    person: bool = False,
) -> Tensor:
    """CLIP-I: mean cosine of pictures to references, (pictures,).

    Arguments as for `instance_similarity`. Unmasked, it rewards a copied background.
    """
    if masked:
        encoder = subject_encoder(judges, person)
        pictures = on_grey(pictures, encoder)
        references = on_grey(references, encoder, reference_masks)
    drawn, known = clip_images(judges, pictures), clip_images(judges, references)
    return (drawn @ known.T).mean(1).cpu()


# -- is it what the prompt says? -----------------------------------------------------


def clip_text_similarity(
    judges: Judges, pictures: Tensor, prompts: Sequence[str]
) -> Tensor:
    """CLIP-T: cosine of each picture to its prompt, (pictures,); not multiplied."""
    return (clip_images(judges, pictures) * clip_texts(judges, prompts)).sum(1).cpu()


def read_attributes(judges: Judges, pictures: Tensor) -> Tensor:
    """What the reader sees, labels (pictures, attributes)."""
    return judges.reader.read(for_judge(pictures, judges.reader)).cpu()


def read_attribute(judges: Judges, pictures: Tensor, attribute: str) -> list[str]:
    """What the reader sees in each picture, in words, for example "red".

    Args:
        judges: the judges.
        pictures: (pictures, 3, height, width) in [0, 1].
        attribute: one of `judges.ATTRIBUTES`, for example "class" or "color".

    Raises:
        PersoError: the reader does not know such an attribute.
    """
    if attribute not in ATTRIBUTES:
        raise PersoError(
            f"The reader does not read {attribute!r}, only {', '.join(ATTRIBUTES)}."
        )
    labels = read_attributes(judges, pictures)[:, list(ATTRIBUTES).index(attribute)]
    return [ATTRIBUTES[attribute][label] for label in labels]


def attribute_accuracy(
    judges: Judges, pictures: Tensor, truths: Tensor
) -> dict[str, Tensor]:
    """Per attribute, 1 or 0 for each picture whose true label is known.

    `truths` (pictures, attributes) come from `truth_of` or `truth_of_prompt`.
    """
    right, known = read_attributes(judges, pictures) == truths, truths != UNKNOWN
    return {name: right[known[:, i], i].float() for i, name in enumerate(ATTRIBUTES)}


def prompt_accuracy(
    judges: Judges,
    pictures: Tensor,
    prompts: Sequence[str],
    placeholder_token: str | None = None,
    class_word: str | None = None,
) -> Tensor:
    """Which part of what its prompt asks for each picture shows, (pictures,) in [0, 1].

    Asked for is what the prompt says about anything but the subject's class (see
    `asked_of_prompt`); NaN where it asks for nothing ("a photo of a <toy>").
    """
    found = {p: asked_of_prompt(p, placeholder_token, class_word) for p in set(prompts)}
    asked = torch.tensor([found[p] for p in prompts])
    right = read_attributes(judges, pictures) == asked
    return right.sum(1) / (asked != UNKNOWN).sum(1)


# -- what else has changed? ----------------------------------------------------------


def _distances(labels: Tensor, half: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Total variation between the labels of `half` (a mask) and of the others."""
    distances = {}
    for name in names:
        column = list(ATTRIBUTES).index(name)
        first, second = (
            part[:, column].bincount(minlength=len(ATTRIBUTES[name])) / len(part)
            for part in (labels[half], labels[~half])
        )
        distances[name] = (first - second).abs().sum().item() / 2
    return distances


def drift(
    judges: Judges,
    before: Tensor,
    after: Tensor,
    attributes: Sequence[str] = DRIFTING,
) -> dict[str, float]:
    """How much the pictures of a plain prompt have changed, in [0, 1] an attribute.

    Total variation between what the reader sees `before` and `after` learning, for
    example in pictures of "a photo of a teddy": 0 if it is all as common as it was, 1
    if nothing of it is left. Compare it with `drift_by_chance`.
    """
    labels = read_attributes(judges, torch.cat([before, after]))
    return _distances(labels, torch.arange(len(labels)) < len(before), attributes)


def drift_by_chance(
    judges: Judges,
    before: Tensor,
    after: Tensor,
    attributes: Sequence[str] = DRIFTING,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, tuple[float, float]]:
    """The drift to expect if learning had changed nothing: its mean and 95 % quantile.

    All pictures are dealt anew into two heaps `resamples` times (a permutation test): a
    drift above the quantile is more than chance.
    """
    labels = read_attributes(judges, torch.cat([before, after]))
    first = torch.arange(len(labels)) < len(before)
    generator = torch.Generator().manual_seed(seed)
    deals = [
        _distances(
            labels, first[torch.randperm(len(first), generator=generator)], attributes
        )
        for _ in range(resamples)
    ]
    found = {name: torch.tensor([deal[name] for deal in deals]) for name in attributes}
    return {k: (v.mean().item(), v.quantile(0.95).item()) for k, v in found.items()}
