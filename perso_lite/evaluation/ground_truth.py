"""The true attribute labels of a picture, from its scene or prompt.

A truth has one label per attribute, in the order of `judges.ATTRIBUTES`. A label is
`UNKNOWN` where none is right; such labels are not judged.
"""

import random

from perso_lite.evaluation.judges import ATTRIBUTES, UNKNOWN
from perso_lite.world.oracle import read_prompt, scene_for
from perso_lite.world.scenes import Scene, Thing

COLORLESS_STYLES = ("sketch", "neon")  # such pictures do not keep colors
LEFT_OUT = ("none", "plain", "studio")  # labels of what is not mentioned


def truth_of(scene: Scene) -> list[int]:
    """The labels of a scene, one per attribute, in the order of `ATTRIBUTES`.

    A label is `UNKNOWN` if words or picture leave it open: an unmentioned color, the
    colors of a person, any color in a sketch. Of two things, the first is the left or
    upper one; with three things, only place, style and augmentation have labels.
    """
    things, first = scene.things, scene.things[0]
    person = first.class_word == "person"
    named: dict[str, str | None] = dict.fromkeys(ATTRIBUTES)
    named["place"] = scene.place or "studio"
    named["style"] = scene.style or "none"
    named["augmentation"] = scene.augmentation or "none"
    if len(things) < 3:
        named["class"], named["color"] = first.class_word, _visible_color(scene, first)
        named["pattern"] = None if person else first.pattern or "plain"
    if len(things) == 1:
        named["accessory"] = first.accessory or "none"
        named["second class"] = "none"
    elif len(things) == 2:
        second = things[1]
        named["second class"] = second.class_word
        named["second color"] = _visible_color(scene, second)
        if first.pattern or second.pattern:
            named["pattern"] = None
    return [
        UNKNOWN if named[name] is None else labels.index(named[name])
        for name, labels in ATTRIBUTES.items()
    ]


def _visible_color(scene: Scene, thing: Thing) -> str | None:
    """The color a caption may give a thing, if the picture still shows it."""
    colorless = scene.style in COLORLESS_STYLES or scene.augmentation == "grayscale"
    return None if colorless or thing.class_word == "person" else thing.color


def truth_of_prompt(
    prompt: str, placeholder_token: str | None = None, class_word: str | None = None
) -> list[int]:
    """The labels of a prompt, one per attribute, in the order of `ATTRIBUTES`.

    As `truth_of`: what the prompt does not mention is absent (no accessory, no style,
    no pattern, a plain studio). But a family ("an animal") has no class, and pattern
    and color of a placeholder's thing are `UNKNOWN` unless the prompt mentions them.

    Raises:
        PersoError: the prompt is not in the world's words.
    """
    words, ours = read_prompt(prompt, placeholder_token, class_word)
    scene = scene_for(prompt, random.Random(0), None, placeholder_token, class_word)
    truth = dict(zip(ATTRIBUTES, truth_of(scene), strict=True))
    for name, thing in zip(("class", "second class"), scene.things, strict=False):
        if thing.family:
            truth[name] = UNKNOWN
    if ours and not any(pattern for _, _, pattern, *_ in words.things):
        truth["pattern"] = UNKNOWN
    return list(truth.values())


def only_requested(truth: list[int]) -> list[int]:
    """A truth in which the labels of what is not mentioned become `UNKNOWN`."""
    return [
        UNKNOWN if labels[max(label, 0)] in LEFT_OUT else label
        for labels, label in zip(ATTRIBUTES.values(), truth, strict=True)
    ]


def requested_by_prompt(
    prompt: str, placeholder_token: str | None = None, class_word: str | None = None
) -> list[int]:
    """The labels of `truth_of_prompt` that the prompt requests; the others UNKNOWN.

    UNKNOWN are what the prompt does not mention, and the class of its subject (the
    placeholder's thing, or the first one): pictures of the class have it anyway.

    Raises:
        PersoError: the prompt is not in the world's words.
    """
    _, ours = read_prompt(prompt, placeholder_token, class_word)
    subjects = [("class", "second class", None)[i] for i in ours or [0]]
    requested = only_requested(truth_of_prompt(prompt, placeholder_token, class_word))
    return [
        UNKNOWN if name in subjects else label
        for name, label in zip(ATTRIBUTES, requested, strict=True)
    ]
