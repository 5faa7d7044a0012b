"""python -m perso_lite tour: learn a shipped toy, and draw it before and after."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline
from PIL import Image

from perso_lite.base import load_base
from perso_lite.commands.personalize import learn
from perso_lite.concepts import Concept, load_concept, shipped_concepts
from perso_lite.errors import PersoError
from perso_lite.figures.pictures import SheetRow, contact_sheet, save_picture
from perso_lite.method import Method, attached
from perso_lite.sampling import generate

PROMPTS = (
    "a photo of a {}",
    "a {} on a beach",
    "a {} in the snow",
    "a {} wearing a hat",
)
SEEDS = (0, 1)
BETAS = (0.85, 0.75, 0.65, 0.5, 0.3)  # of the strip; the gate opens from left to right


def tour(
    out: str | Path = "tour",
    concept: str | None = None,
    base: str | None = None,
    method: str = "perfusion",
    steps: int = 100,
    **training: Any,
) -> None:
    """Learn one shipped concept, and draw a sheet of pictures before and after.

    Args:
        out: folder for the concept's file and the sheet.
        concept: name of a shipped one; default: dotty-teddy.
        base: folder or hub id; default: the shipped base.
        method: a name of `METHODS` or an alias.
        steps: training steps (ours: 100).
        training: more keyword arguments of `learn`.

    Raises:
        PersoError: no such concept, base or method, or the folder cannot be written.
    """
    started = time.perf_counter()
    names = shipped_concepts()
    if concept is None and not names:
        raise PersoError("No concept is shipped in data/concepts; name a folder.")
    default = "dotty-teddy" if "dotty-teddy" in names else next(iter(names), None)
    loaded = load_concept(concept or default)
    pipeline = load_base(base)
    file = Path(out) / f"{loaded.name}.safetensors"
    learned = learn(pipeline, loaded, file, method, steps, **training)

    drawing = {"seeds": SEEDS, "progress": True}
    words = {"before": learned.class_word, "after": learned.placeholder_token}
    pictures = {"before": generate(pipeline, fill(words["before"]), **drawing)}
    with attached(pipeline, learned):
        pictures["after"] = generate(pipeline, fill(words["after"]), **drawing)
        strip = beta_strip(pipeline, learned) if hasattr(learned, "beta") else {}
    sheet = file.with_suffix(".png")
    save_picture(tour_sheet(loaded, words, pictures, strip), sheet)
    print(f"\nlook at  {sheet}\nafter    {time.perf_counter() - started:.0f} s in all")


def fill(word: str) -> list[str]:
    """The tour's prompts with a word in place of "{}"."""
    return [prompt.format(word) for prompt in PROMPTS]


def beta_strip(
    base: StableDiffusionPipeline, method: Method
) -> dict[float, Image.Image]:
    """One prompt and one seed at several `beta` of the attached method."""
    before, strip = method.beta, {}
    prompt = PROMPTS[1].format(method.placeholder_token)
    try:
        for method.beta in BETAS:
            (strip[method.beta],) = generate(base, prompt, SEEDS[:1])
    finally:
        method.beta = before
    return strip


def tour_sheet(
    concept: Concept,
    words: Mapping[str, str],
    pictures: Mapping[str, Sequence[Image.Image]],
    strip: Mapping[float, Image.Image],
) -> Image.Image:
    """References, each prompt before and after learning, and the strip of betas.

    Args:
        concept: its pictures are the references.
        words: the word in the prompts "before" and "after".
        pictures: "before" and "after", prompt by prompt and seed by seed.
        strip: pictures by beta; empty: none.
    """
    count = len(SEEDS)
    rows = [SheetRow("the pictures it learned from", concept.images)]
    for index, prompt in enumerate(PROMPTS):
        here = slice(index * count, (index + 1) * count)
        pair = [*pictures["before"][here], None, *pictures["after"][here]]
        titles = [words["before"], "", "", words["after"]] if index == 0 else None
        rows.append(SheetRow(prompt.format("..."), pair, titles))
    if strip:
        titles = [f"beta {beta:g}" for beta in strip]
        label = f'"{PROMPTS[1].format("...")}" from one file, its gate opened wider'
        rows.append(SheetRow(label, list(strip.values()), titles))
    seeds = " and ".join(map(str, SEEDS))
    title = f"{words['before']} before, {words['after']} after learning, seeds {seeds}"
    return contact_sheet(rows, title)
