"""The fixed prompts and toys for measuring base and methods."""

import json

from perso_lite.concepts import load_concept, shipped_concepts
from perso_lite.files import DATA_FOLDER
from perso_lite.world.oracle import read_prompt

PROMPTS_FOLDER = DATA_FOLDER / "prompts"
DEVELOPMENT = "dev-"  # the names of the toys to choose settings on begin like this


def concept_prompts() -> list[str]:
    """The prompts for shipped concepts, with "{}" in place of their word."""
    return json.loads((PROMPTS_FOLDER / "concepts.json").read_text())


def base_prompts() -> list[dict[str, str]]:
    """The 1,000 prompts of the base's evaluation, each with its "kind" of scene."""
    return json.loads((PROMPTS_FOLDER / "base.json").read_text())


def toys() -> list[str]:
    """Names of the eight toys on which results are reported."""
    names = [n for n in shipped_concepts() if not n.startswith(DEVELOPMENT)]
    return [n for n in names if load_concept(n).class_word != "person"]


def development_toys() -> list[str]:
    """Names of the three toys on which rates, steps and defaults are chosen."""
    return [n for n in shipped_concepts() if n.startswith(DEVELOPMENT)]


def single_toy_prompts(count: int) -> tuple[list[str], list[str]]:
    """Prompts of the base's evaluation that show one toy and name its class.

    Returns:
        The first `count` of them, and their class words.
    """
    prompts, class_words = [], []
    for prompt in (e["prompt"] for e in base_prompts() if e["kind"] == "seen"):
        words, _ = read_prompt(prompt)
        class_word = words.things[0][0]
        if len(words.things) == 1 and class_word in prompt.split():
            prompts.append(prompt)
            class_words.append(class_word)
    return prompts[:count], class_words[:count]
