"""A panel for masks drawn by the base: how high, and how wide."""

from collections.abc import Sequence
from dataclasses import replace

from diffusers import StableDiffusionPipeline
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from perso_lite.attention.masks import class_word_map, mask_where
from perso_lite.concepts import Concept
from perso_lite.errors import PersoError, check_finite
from perso_lite.figures.style import entitle, new_figure
from perso_lite.teaching.panel import Panel, slider

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
PAPER = (225, 225, 225)  # in place of what a mask leaves out
GROWTHS = (-0.08, -0.04, -0.02, 0.0, 0.02, 0.04, 0.08)  # parts of the picture's width


def mask_maps(base: StableDiffusionPipeline, concept: Concept) -> list[Tensor]:
    """`class_word_map` of every photo, (height, width) each.

    Raises:
        PersoError: as for `class_word_map`.
    """
    return [class_word_map(base, image, concept.class_word) for image in concept.images]


def mask_editor(
    concept: Concept, maps: Sequence[Tensor], threshold: float = 0.5, grow: float = 0.0
) -> Panel:
    """Show photos, the class word's maps, and the masks made of them.

    Args:
        concept: the photos; masks that it has already stay as they are.
        maps: of `mask_maps`.
        threshold: the start value.
        grow: the start value.

    Returns:
        A panel; `with_edited_masks(concept, maps, **panel.values)` takes its masks.

    Raises:
        PersoError: there are not as many maps as photos.
    """
    return Panel(
        lambda threshold, grow: draw_masks(concept, maps, threshold, grow),
        threshold=slider(THRESHOLDS, threshold),
        grow=slider(GROWTHS, grow),
    )


def with_edited_masks(
    concept: Concept, maps: Sequence[Tensor], threshold: float = 0.5, grow: float = 0.0
) -> Concept:
    """The concept, with masks from maps for all photos that have none.

    Args:
        concept: photos; masks that it has already stay as they are.
        maps: of `mask_maps`.
        threshold: from 0 to 1, of `mask_where`.
        grow: a part of the picture's width, of `mask_where`.

    Raises:
        PersoError: there are not as many maps as photos, or a number is not finite.
    """
    if len(maps) != len(concept.images):
        raise PersoError(
            f"There are {len(maps)} maps for {len(concept.images)} photos: make them "
            "with mask_maps(base, concept)."
        )
    check_finite("threshold", threshold)
    check_finite("grow", grow)
    masks = [
        mask or mask_where(heat, threshold, grow)
        for mask, heat in zip(concept.masks, maps, strict=True)
    ]
    return replace(concept, masks=masks)


def draw_masks(
    concept: Concept, maps: Sequence[Tensor], threshold: float, grow: float
) -> Figure:
    """Photos, maps, what the masks leave, and below it which part that is."""
    edited = with_edited_masks(concept, maps, threshold, grow)
    count = len(edited.images)
    title = f'Where the base looks for "{concept.class_word}", and the masks from it'
    size = (1.6 * count, 5.2)
    figure, axes = new_figure(3, count, squeeze=False, figsize=size)
    entitle(figure, title)
    for column, (image, heat, mask) in enumerate(
        zip(edited.images, maps, edited.masks, strict=True)
    ):
        shown = mask.resize(image.size)
        cut = Image.composite(image, Image.new("RGB", image.size, PAPER), shown)
        for row, picture in enumerate((image, heat.numpy(), cut)):
            axes[row, column].imshow(picture, cmap="inferno")
            axes[row, column].set(xticks=[], yticks=[], frame_on=False)
        covered = edited.mask_tensor(64, 64)[column].mean()
        axes[2, column].set_xlabel(f"covers {covered:.0%}")
    return figure
