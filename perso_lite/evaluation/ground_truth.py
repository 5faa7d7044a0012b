"""What the attribute reader should say of a picture, known from its scene or prompt.

A truth is one label an attribute, in the order of `judges.ATTRIBUTES`. Where no label
is right, it is `UNKNOWN` and nobody is judged by it.
"""

import random

from perso_lite.evaluation.judges import ATTRIBUTES, UNKNOWN
from perso_lite.world.oracle import read_prompt, scene_for
from perso_lite.world.scenes import Scene, Thing

COLORLESS_STYLES = ("sketch", "neon")  # such pictures do not keep colours
LEFT_OUT = ("none", "plain", "studio")  # what a picture shows if nobody asks


def truth_of(scene: Scene) -> list[int]:
    """What the reader should say of a scene: a label an attribute, in their order.

    `UNKNOWN` is what no word says or no picture keeps: a colour nobody asked for, the
    colours of a person, any colour in a sketch. Of two things, the first is the left or
    upper one; of three, only what surrounds them has a label.
    """
    things, first = scene.things, scene.things[0]
    person = first.class_word == "person"
    said: dict[str, str | None] = dict.fromkeys(ATTRIBUTES)
    said["place"] = scene.place or "studio"
    said["style"] = scene.style or "none"
    said["augmentation"] = scene.augmentation or "none"
    if len(things) < 3:
        said["class"], said["color"] = first.class_word, _visible_color(scene, first)
        said["pattern"] = None if person else first.pattern or "plain"
    if len(things) == 1:
        said["accessory"] = first.accessory or "none"
        said["second class"] = "none"
    elif len(things) == 2:
        second = things[1]
        said["second class"] = second.class_word
        said["second color"] = _visible_color(scene, second)
        if first.pattern or second.pattern:
            said["pattern"] = None
    return [
        UNKNOWN if said[name] is None else labels.index(said[name])
        for name, labels in ATTRIBUTES.items()
    ]


def _visible_color(scene: Scene, thing: Thing) -> str | None:
    """The colour a caption may give a thing, if the picture still shows it."""
    colorless = scene.style in COLORLESS_STYLES or scene.augmentation == "grayscale"
    return None if colorless or thing.class_word == "person" else thing.color


def truth_of_prompt(
    prompt: str, placeholder_token: str | None = None, class_word: str | None = None
) -> list[int]:
    """What a picture should show of what a prompt says, in the order of ATTRIBUTES.

    As `truth_of`, for a prompt: what it leaves out is absent (no accessory, no style,
    no pattern, a plain studio), but a family ("an animal") has no class, and a
    placeholder's pattern and colour are its own business unless the prompt says them.
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


def only_asked(truth: list[int]) -> list[int]:
    """A truth without what a picture shows if nobody asks for it: that is UNKNOWN."""
    return [
        UNKNOWN if labels[max(label, 0)] in LEFT_OUT else label
        for labels, label in zip(ATTRIBUTES.values(), truth, strict=True)
    ]


def asked_of_prompt(
    prompt: str, placeholder_token: str | None = None, class_word: str | None = None
) -> list[int]:
    """The part of `truth_of_prompt` that takes following the prompt; else UNKNOWN.

    Left out are what the prompt does not mention, and the class of its subject: the
    placeholder's thing, or the first one.
    """
    _, ours = read_prompt(prompt, placeholder_token, class_word)
    subjects = [("class", "second class", None)[i] for i in ours or [0]]
    asked = only_asked(truth_of_prompt(prompt, placeholder_token, class_word))
    return [
        UNKNOWN if name in subjects else label
        for name, label in zip(ATTRIBUTES, asked, strict=True)
    ]
