"""python -m perso_lite tour: teach the shipped model a toy, and lay the result out."""

import argparse
import time
from collections.abc import Mapping, Sequence

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
BETAS = (0.85, 0.75, 0.65, 0.5, 0.3)  # the strip below: a gate opened more and more


def run_tour(options: argparse.Namespace) -> None:
    """Teach the base one shipped concept and lay the result out on one sheet."""
    started = time.perf_counter()
    names = shipped_concepts()
    if options.concept is None and not names:
        raise PersoError("No concept is shipped in data/concepts; name a folder.")
    default = "dotty-teddy" if "dotty-teddy" in names else next(iter(names), None)
    concept = load_concept(options.concept or default)
    base = load_base(options.base)
    options.out = options.out / f"{concept.name}.safetensors"
    method = learn(options, base, concept)

    drawing = {"seeds": SEEDS, "progress": True}
    words = {"before": concept.class_word, "after": method.placeholder_token}
    pictures = {"before": generate(base, fill(words["before"]), **drawing)}
    with attached(base, method):
        pictures["after"] = generate(base, fill(words["after"]), **drawing)
        strip = beta_strip(base, method) if hasattr(method, "beta") else {}
    sheet = options.out.with_suffix(".png")
    save_picture(tour_sheet(concept, words, pictures, strip), sheet)
    print(f"\nlook at  {sheet}\nafter    {time.perf_counter() - started:.0f} s in all")


def fill(word: str) -> list[str]:
    """The tour's prompts with a word in their slots."""
    return [prompt.format(word) for prompt in PROMPTS]


def beta_strip(
    base: StableDiffusionPipeline, method: Method
) -> dict[float, Image.Image]:
    """One prompt and one seed at several settings of an attached concept's gate."""
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
    """References above; below, each prompt before and after learning, and the dial."""
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
