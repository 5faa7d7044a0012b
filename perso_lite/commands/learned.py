"""The learned files that are shipped, and a sheet of what they draw."""

import shutil
from pathlib import Path

from diffusers import StableDiffusionPipeline
from PIL import Image

from perso_lite.concepts import load_concept
from perso_lite.evaluation.prompts import toys
from perso_lite.figures.pictures import SheetRow, contact_sheet
from perso_lite.methods import load_method
from perso_lite.sampling import generate

SCENES = ("on a beach", "in the snow", "wearing a hat")
FIRST_WORDS = (
    "dev-rabbit-textual_inversion",  # of notebook 03
    "dotty-teddy-neti",  # 05
    "dotty-teddy-catversion",  # 06
    "star-rocket-catversion",  # 09
    "person-a-celeb_basis",  # 07
    "dotty-teddy-textboost",  # 08, and its panel
    "dotty-teddy-textboost_without_knowledge",
)


def keep_learned(scratch: Path, folder: Path) -> None:
    """Copy the concept files that the notebooks' first figures are drawn from.

    Args:
        scratch: where `evaluate` left those of tradeoff, neti, catversion, textboost.
        folder: to ship.
    """
    folder.mkdir(exist_ok=True)
    for name in toys():
        learned = scratch / f"{name}-perfusion-local.safetensors"
        shutil.copy(learned, folder / f"{name}-perfusion.safetensors")
    for name in FIRST_WORDS:
        shutil.copy(scratch / f"{name}.safetensors", folder)


def learned_sheet(base: StableDiffusionPipeline, folder: Path) -> Image.Image:
    """A row for each toy: a picture it was learned from, and three that were drawn."""
    rows = []
    for name in toys():
        concept = load_concept(name)
        method = load_method(folder / f"{name}-perfusion.safetensors", base)
        prompts = [f"a {method.placeholder_token} {scene}" for scene in SCENES]
        with method.attach(base):
            drawn = generate(base, prompts)
        titles = ["learned from", *SCENES] if not rows else []
        rows.append(SheetRow(name, [concept.images[-1], *drawn], titles))
    return contact_sheet(rows, "Eight toys, each learned from five pictures", cell=160)
