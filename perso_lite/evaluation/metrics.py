"""Scores of pictures: subject fidelity and prompt fidelity.

A score alone means little: the base draws some teddy for "a teddy" (the class prior),
and the world can paint exactly the teddy of the concept (the oracle). The same judges
score all three. bootstrap.py has the intervals, and the place of a score between class
prior and oracle.

Pictures are tensors (pictures, 3, height, width) in [0, 1] everywhere. There is one
score per picture, on the CPU, ready for `bootstrap_interval`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perso_lite.errors import PersoError
from perso_lite.evaluation.ground_truth import requested_by_prompt
from perso_lite.evaluation.judges import ATTRIBUTES, UNKNOWN, Judges, SubjectEncoder

GRAY = 0.5  # replaces a background, in [0, 1]

# -- subject fidelity ----------------------------------------------------------------


def for_judge(pictures: Tensor, judge: nn.Module) -> Tensor:
    """Pictures in [0, 1] as a judge takes them: in [-1, 1], on its device."""
    device = next(judge.parameters()).device
    return pictures.to(device, torch.float32).clamp(0, 1) * 2 - 1


def subject_encoder(judges: Judges, person: bool) -> SubjectEncoder:
    """The encoder for people, or the one for toys."""
    return judges.faces if person else judges.instances


def on_gray(
    pictures: Tensor, encoder: SubjectEncoder, masks: Tensor | None = None
) -> Tensor:
    """Pictures with a mid-gray background.

    The background is where `masks` (pictures, 1, height, width), in [0, 1], are at most
    0.5; default: the masks that the encoder finds.

    Raises:
        PersoError: another number of masks than of pictures.
    """
    if masks is None:
        masks = encoder.find_masks(for_judge(pictures, encoder))
    if len(masks) != len(pictures):
        raise PersoError(
            f"There are {len(masks)} masks for {len(pictures)} pictures: give one for "
            "each, or None to let the judge find them."
        )
    masks = F.interpolate(masks.to(pictures), size=pictures.shape[-2:], mode="bilinear")
    return pictures.where(masks > 0.5, torch.full_like(pictures, GRAY))


def instance_similarity(
    judges: Judges,
    pictures: Tensor,
    references: Tensor,
    masked: bool,
    reference_masks: Tensor | None = None,
    person: bool = False,
) -> Tensor:
    """How similar the subjects are to those of the references, (pictures,).

    This is the mean cosine, in [-1, 1], between the vectors of each picture and of all
    references, by the instance encoder (for people, the face reader).

    Args:
        judges: as loaded.
        pictures: (pictures, 3, height, width) in [0, 1], drawn.
        references: (references, 3, height, width) in [0, 1], of the concept.
        masked: replace all backgrounds with mid gray first, so that a background that
            was learned with the concept does not count.
        reference_masks: (references, 1, height, width) in [0, 1], where the concept is;
            default: where the encoder finds it, as in `pictures`.
        person: whether the concept is a person.
    """
    encoder = subject_encoder(judges, person)
    if masked:
        pictures = on_gray(pictures, encoder)
        references = on_gray(references, encoder, reference_masks)
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
    # as get_image_features, whose result differs between transformers 4 and 5
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
    picture_masks: Tensor | None = None,
) -> Tensor:
    """CLIP-I: mean cosine of pictures to references, (pictures,) in [-1, 1].

    Without masks, it rewards a copied background; with them, on both sides, it is the
    masked CLIP-I of CatVersion (arXiv:2311.14631, which does not say what is put in
    place of the background).

    Args:
        judges: as for `instance_similarity`, like the rest.
        pictures: drawn.
        references: of the concept.
        masked: whether backgrounds are replaced first.
        reference_masks: default: found by the encoder.
        person: whether the concept is a person.
        picture_masks: of `pictures`, if they are known; default: found by the encoder.
    """
    if masked:
        encoder = subject_encoder(judges, person)
        pictures = on_gray(pictures, encoder, picture_masks)
        references = on_gray(references, encoder, reference_masks)
    drawn, known = clip_images(judges, pictures), clip_images(judges, references)
    return (drawn @ known.T).mean(1).cpu()


def overall_score(clip_image: Tensor, clip_text: Tensor) -> float:
    """CatVersion's single number: the square root of mean CLIP-I times mean CLIP-T.

    0 if one of the means is not positive.
    """
    image, text = clip_image.mean().clamp(min=0), clip_text.mean().clamp(min=0)
    return (image * text).sqrt().item()


# -- prompt fidelity -----------------------------------------------------------------


def clip_text_similarity(
    judges: Judges, pictures: Tensor, prompts: Sequence[str]
) -> Tensor:
    """CLIP-T: cosine of each picture and its prompt, (pictures,) in [-1, 1]."""
    return (clip_images(judges, pictures) * clip_texts(judges, prompts)).sum(1).cpu()


def read_attributes(judges: Judges, pictures: Tensor) -> Tensor:
    """The reader's labels, (pictures, attributes); columns as in `ATTRIBUTES`."""
    return judges.reader.read(for_judge(pictures, judges.reader)).cpu()


def read_attribute(judges: Judges, pictures: Tensor, attribute: str) -> list[str]:
    """The reader's label of each picture, in words, for example "red".

    Args:
        judges: as loaded.
        pictures: (pictures, 3, height, width) in [0, 1].
        attribute: one of `judges.ATTRIBUTES`, for example "class" or "color".

    Raises:
        PersoError: there is no such attribute.
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
    """For each attribute, 1 (right) or 0 for every picture whose true label is known.

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
    """Share of the requested attributes that each picture shows, (pictures,) in [0, 1].

    A prompt requests every attribute it mentions except the subject's class (see
    `requested_by_prompt`). The score is NaN if it requests none ("a photo of a <toy>").

    Args:
        judges: as loaded.
        pictures: (pictures, 3, height, width) in [0, 1].
        prompts: one per picture, in the world's words.
        placeholder_token: the placeholder in the prompts; default: none.
        class_word: the class of the placeholder.

    Raises:
        PersoError: a prompt is not in the world's words.
    """
    labels = {
        prompt: requested_by_prompt(prompt, placeholder_token, class_word)
        for prompt in set(prompts)
    }
    requested = torch.tensor([labels[prompt] for prompt in prompts])
    right = read_attributes(judges, pictures) == requested
    return right.sum(1) / (requested != UNKNOWN).sum(1)
