"""The language of the world: from a scene to a caption, and back to its attributes.

The grammar is closed: every caption is built from the word lists of words.py, and
`parse` reads back exactly the attributes that `caption` put in. Synonyms, word order
and the carrier phrases of the usual Textual Inversion templates vary, so a model sees
each fact in several wordings.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from perso_lite.world.people import people_names
from perso_lite.world.scenes import Scene, Thing
from perso_lite.world.toys import FAMILY_OF, TOYS
from perso_lite.world.words import (
    ACCESSORY_PHRASES,
    AUGMENTATION_PHRASES,
    CARRIERS,
    CLASS_WORDS,
    COLOR_WORDS,
    EXPRESSION_WORDS,
    PATTERN_WORDS,
    PLACE_PHRASES,
    PREFIXES,
    RELATION_WORDS,
    RESERVED_WORDS,
    STYLE_PREFIXES,
)


@dataclass(frozen=True)
class Words:
    """The attributes in a caption; `None` means not mentioned.

    Things are tuples (class, color, pattern, accessory, name, expression), from left to
    right or from top to bottom.
    """

    things: tuple[tuple, ...]
    place: str | None = None
    style: str | None = None
    augmentation: str | None = None
    relation: str | None = None


def pick(options: tuple[str, ...], rng: random.Random) -> str:
    """The usual word six times in ten, otherwise any of the options."""
    return options[0] if rng.random() < 0.6 else rng.choice(options)


def caption_class(thing: Thing) -> str:
    """The class word, or its family's word if the caption names only the family."""
    return FAMILY_OF[thing.class_word] if thing.family else thing.class_word


def words_of(scene: Scene) -> Words:
    """The attributes that a caption of this scene contains."""
    things = tuple(
        (caption_class(t), t.color, t.pattern, t.accessory, t.name, t.expression)
        for t in scene.things
    )
    return Words(things, scene.place, scene.style, scene.augmentation, scene.relation)


def noun_phrase(thing: Thing, rng: random.Random, article: str | None = None) -> str:
    """A thing without its accessory: "a red striped cat", "smiling skusis segick"."""
    words = []
    if thing.expression:
        words.append(pick(EXPRESSION_WORDS[thing.expression], rng))
    if thing.name:
        return " ".join([*words, thing.name])
    if thing.color:
        words.append(pick(COLOR_WORDS[thing.color], rng))
    if thing.pattern:
        words.append(pick(PATTERN_WORDS[thing.pattern], rng))
    words.append(pick(CLASS_WORDS[caption_class(thing)], rng))
    if article is None:
        article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words]).strip()


def caption(scene: Scene, rng: random.Random) -> str:
    """A caption of a scene, in one of its many wordings."""
    first = scene.things[0]
    if scene.style:
        prefix = pick(STYLE_PREFIXES[scene.style], rng)
    else:
        prefix = rng.choice(PREFIXES)
    if not scene.style and not first.name and rng.random() < 0.35:
        parts = [rng.choice(CARRIERS), noun_phrase(first, rng, article="")]
    else:
        parts = [prefix, noun_phrase(first, rng)]
    if len(scene.things) == 2:
        relation = pick(RELATION_WORDS[scene.relation], rng)
        parts += [relation, noun_phrase(scene.things[1], rng)]
    elif len(scene.things) == 3:
        parts[-1] += ","
        parts += [noun_phrase(scene.things[1], rng), "and"]
        parts += [noun_phrase(scene.things[2], rng)]
    worn = [t.accessory for t in scene.things]
    details = [pick(ACCESSORY_PHRASES[worn[-1]], rng)] if worn[-1] else []
    if worn[0] and len(worn) > 1:  # it follows the first thing directly
        parts[1] += " " + pick(ACCESSORY_PHRASES[worn[0]], rng)
    if scene.place:
        details.append(pick(PLACE_PHRASES[scene.place], rng))
    if rng.random() < 0.3:
        details.reverse()
    if scene.augmentation:
        details.append(", " + pick(AUGMENTATION_PHRASES[scene.augmentation], rng))
    return " ".join(p for p in parts + details if p).replace(" ,", ",")


def _lookup(phrases: dict[str, tuple[str, ...]], text: str) -> tuple[str | None, str]:
    """The key whose phrase occurs in `text`, and `text` without that phrase."""
    found = [
        (len(p), key, p)
        for key, group in phrases.items()
        for p in group
        if f" {p} " in f" {text} "
    ]
    if not found:
        return None, text
    _, key, phrase = max(found)
    return key, f" {text} ".replace(f" {phrase} ", " ", 1).strip()


def _parse_thing(text: str) -> tuple:
    accessory, text = _lookup(ACCESSORY_PHRASES, text)
    name = next((n for n in people_names() if f" {n} " in f" {text} "), None)
    expression, text = _lookup(EXPRESSION_WORDS, text)
    if name:
        return ("person", None, None, accessory, name, expression)
    color, text = _lookup(COLOR_WORDS, text)
    pattern, text = _lookup(PATTERN_WORDS, text)
    class_word, _ = _lookup(CLASS_WORDS, text)
    return (class_word, color, pattern, accessory, None, expression)


def parse(text: str) -> Words:
    """Read a caption back into its attributes."""
    augmentation, text = _lookup(
        {k: tuple(", " + p for p in v) for k, v in AUGMENTATION_PHRASES.items()},
        text.replace(",", " ,"),
    )
    style, text = _lookup(STYLE_PREFIXES, text)
    place, text = _lookup(PLACE_PHRASES, text)
    relation, _ = _lookup(RELATION_WORDS, text)
    if relation is None:
        return Words((_parse_thing(text),), place, style, augmentation)
    text = f" {text} "
    phrase = max((p for p in RELATION_WORDS[relation] if f" {p} " in text), key=len)
    left, right = text.split(f" {phrase} ", 1)
    pieces = [*left.split(" , "), right]
    things = tuple(_parse_thing(piece) for piece in pieces)
    return Words(things, place, style, augmentation, relation)


def vocabulary() -> list[str]:
    """Every word of the world, names and reserved words included, sorted."""
    phrases: list[str] = [*CARRIERS, *PREFIXES, *people_names(), *RESERVED_WORDS]
    for group in (
        CLASS_WORDS, COLOR_WORDS, PATTERN_WORDS, PLACE_PHRASES, ACCESSORY_PHRASES,
        STYLE_PREFIXES, AUGMENTATION_PHRASES, EXPRESSION_WORDS, RELATION_WORDS,
    ):  # fmt: skip
        phrases += [phrase for options in group.values() for phrase in options]
    phrases += ["an two three without , ."]
    words = {word for phrase in phrases for word in phrase.replace("-", " - ").split()}
    return sorted(words)


def altered(scene: Scene, rng: random.Random) -> Scene:
    """The same scene with one fact of its caption changed.

    To distinguish such pairs, a text encoder must read every word.
    """
    which = rng.randrange(len(scene.things))
    thing = scene.things[which]

    def other(options: Iterable[str], value: str) -> str:
        return rng.choice([option for option in options if option != value])

    choices: list[Callable[[], Scene]] = []

    def change(**fields) -> Scene:
        things = list(scene.things)
        things[which] = replace(thing, **fields)
        return replace(scene, things=tuple(things))

    if thing.name:
        choices.append(lambda: change(name=other(people_names(), thing.name)))
    else:
        choices.append(
            lambda: change(class_word=other(TOYS, thing.class_word), family=False)
        )
    for name, options in (
        ("color", COLOR_WORDS),
        ("pattern", PATTERN_WORDS),
        ("accessory", ACCESSORY_PHRASES),
        ("expression", EXPRESSION_WORDS),
    ):
        if value := getattr(thing, name):
            choices.append(
                lambda n=name, o=options, v=value: change(**{n: other(o, v)})
            )
    for name, options in (("place", PLACE_PHRASES), ("style", STYLE_PREFIXES)):
        if value := getattr(scene, name):
            choices.append(
                lambda n=name, o=options, v=value: replace(scene, **{n: other(o, v)})
            )
    if (
        len(scene.things) == 2
        and words_of(scene).things[0] != words_of(scene).things[1]
    ):
        choices.append(lambda: replace(scene, things=scene.things[::-1]))
    return rng.choice(choices)()
