"""The language of the world: scenes become captions, captions become scenes' words.

The grammar is closed: every caption is built from the word lists below, and `parse`
reads back exactly the attributes that `caption` put in. Synonyms, word order and the
carrier phrases of the usual Textual Inversion templates vary, so a model sees each fact
said in several ways.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .people import people_names
from .scenes import Scene, Thing
from .toys import FAMILIES

CLASS_WORDS = {
    "teddy": ("teddy", "bear", "teddybear"), "cat": ("cat", "kitten", "kitty", "tomcat"),
    "dog": ("dog", "puppy", "hound", "doggy"), "rabbit": ("rabbit", "bunny", "hare"),
    "bird": ("bird", "chick", "birdie"), "fish": ("fish", "goldfish"),
    "robot": ("robot", "android", "droid"), "mug": ("mug", "cup", "beaker"),
    "teapot": ("teapot", "kettle"), "lamp": ("lamp", "light", "lantern"),
    "clock": ("clock", "watch", "timepiece"), "car": ("car", "automobile", "taxi"),
    "boat": ("boat", "ship", "sailboat", "yacht"),
    "rocket": ("rocket", "spaceship", "spacecraft"), "cactus": ("cactus", "succulent"),
    "mushroom": ("mushroom", "toadstool"), "person": ("person", "face", "portrait"),
    "animal": ("animal", "creature", "pet"), "thing": ("thing", "object", "gadget"),
    "vehicle": ("vehicle",), "plant": ("plant",),
}  # fmt: skip
COLOR_WORDS = {
    "red": ("red", "crimson", "scarlet"), "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "lemon"), "green": ("green", "emerald"),
    "blue": ("blue", "azure"), "purple": ("purple", "violet"), "pink": ("pink", "rosy"),
    "brown": ("brown", "chocolate"), "black": ("black",), "white": ("white",),
    "gray": ("gray", "grey"),
}  # fmt: skip
PATTERN_WORDS = {
    "striped": ("striped", "stripy"), "spotted": ("spotted", "dotted"),
    "checked": ("checked", "checkered"),
}  # fmt: skip
PLACE_PHRASES = {
    "beach": (
        "on a beach",
        "on the beach",
        "at the seaside",
        "on the shore",
        "by the ocean",
    ),
    "snow": ("in the snow", "in a snowy landscape", "on a winter day", "on the ice"),
    "forest": ("in a forest", "in the woods", "among the trees", "in the jungle"),
    "city": ("in a city", "in the city", "in a town", "on a street", "downtown"),
    "desert": ("in a desert", "in the desert", "among the dunes", "near the pyramids"),
    "kitchen": ("in a kitchen", "in the kitchen", "on the kitchen counter"),
    "bedroom": ("in a bedroom", "in a room", "at home", "by the window"),
    "moon": ("on the moon", "in space", "in outer space", "under the stars"),
    "underwater": ("under water", "under the sea", "underwater", "among bubbles"),
    "meadow": (
        "in a meadow",
        "in a field",
        "in a garden",
        "on the grass",
        "in the park",
    ),
    "stage": ("on a stage", "in a theater", "in the spotlight", "behind the curtain"),
    "library": ("in a library", "in front of a bookshelf", "among the books"),
}
ACCESSORY_PHRASES = {
    "hat": ("wearing a hat", "with a hat", "in a top hat"),
    "crown": ("wearing a crown", "with a crown", "crowned"),
    "glasses": (
        "wearing glasses",
        "with glasses",
        "with spectacles",
        "wearing eyeglasses",
    ),
    "scarf": ("wearing a scarf", "with a scarf", "in a woolen scarf"),
    "bowtie": ("wearing a bowtie", "with a bowtie", "in a silk bowtie"),
    "balloon": ("holding a balloon", "with a balloon", "carrying a balloon"),
}
STYLE_PREFIXES = {
    "sketch": (
        "a pencil sketch of",
        "a sketch of",
        "a pencil drawing of",
        "a doodle of",
    ),
    "pixel": ("pixel art of", "a pixel art picture of", "a pixelated image of"),
    "watercolor": ("a watercolor of", "a watercolor painting of", "an aquarelle of"),
    "neon": ("a neon sign of", "neon art of", "a glowing neon outline of"),
}
AUGMENTATION_PHRASES = {
    "zoomed in": ("zoomed in", "seen from very near", "magnified"),
    "far away": ("far away", "seen from afar", "in the distance"),
    "on the left": ("on the left", "on the left side", "moved left"),
    "on the right": ("on the right", "on the right side", "moved right"),
    "upside down": ("upside down", "turned over", "flipped"),
    "grayscale": ("in black and white", "grayscale", "monochrome"),
    "collage": ("as a collage", "repeated four times", "tiled"),
}
EXPRESSION_WORDS = {
    "smiling": ("smiling", "laughing", "happy"),
    "surprised": ("surprised", "astonished", "amazed"),
    "sleeping": ("sleeping", "asleep", "dozing"),
}
RELATION_WORDS = {
    "and": ("and", "together with"),
    "next to": ("next to", "beside", "to the left of", "near"),
    "on": ("on top of", "standing on", "sitting on"),
}  # fmt: skip
# The slots of the usual Textual Inversion templates; each is followed by a subject
# without its article.
CARRIERS = (
    "a photo of a", "a rendering of a", "a cropped photo of the", "the photo of a",
    "a photo of a clean", "a photo of a dirty", "a dark photo of the",
    "a photo of my", "a photo of the cool", "a close-up photo of a",
    "a bright photo of the", "a cropped photo of a", "a photo of the",
    "a good photo of the", "a photo of one", "a close-up photo of the",
    "a rendition of the", "a photo of the clean", "a rendition of a",
    "a photo of a nice", "a good photo of a", "a photo of the nice",
    "a photo of the small", "a photo of the weird", "a photo of the large",
    "a photo of a cool", "a photo of a small",
)  # fmt: skip
PREFIXES = ("a photo of", "a picture of", "an image of", "", "")
RESERVED_WORDS = (
    "sks", "zwx", "ohwx", "vrk", "qzx", "xjq", "bnha", "pxl", "tmq", "wvu", "jkz",
    "hrf", "gqd", "lzt", "fyx", "cwm",
)  # fmt: skip


@dataclass(frozen=True)
class Words:
    """What a caption says. Things are tuples (class, color, pattern, accessory, name,
    expression), from left to right or top to bottom; `None` means not mentioned."""

    things: tuple[tuple, ...]
    place: str | None = None
    style: str | None = None
    augmentation: str | None = None
    relation: str | None = None


def pick(options: tuple[str, ...], rng: random.Random) -> str:
    """The usual word six times in ten, else any of its synonyms."""
    return options[0] if rng.random() < 0.6 else rng.choice(options)


def said_class(thing: Thing) -> str:
    """The class word, or the word for its family if the caption is that vague."""
    if not thing.family:
        return thing.class_word
    return next(
        name for name, members in FAMILIES.items() if thing.class_word in members
    )


def words_of(scene: Scene) -> Words:
    """What a caption of this scene has to say."""
    things = tuple(
        (said_class(t), t.color, t.pattern, t.accessory, t.name, t.expression)
        for t in scene.things
    )
    return Words(things, scene.place, scene.style, scene.augmentation, scene.relation)


def noun_phrase(thing: Thing, rng: random.Random, article: str | None = None) -> str:
    """ "a red striped cat", "smiling mila rost": a thing without what it wears."""
    words = []
    if thing.expression:
        words.append(pick(EXPRESSION_WORDS[thing.expression], rng))
    if thing.name:
        return " ".join([*words, thing.name])
    if thing.color:
        words.append(pick(COLOR_WORDS[thing.color], rng))
    if thing.pattern:
        words.append(pick(PATTERN_WORDS[thing.pattern], rng))
    words.append(pick(CLASS_WORDS[said_class(thing)], rng))
    if article is None:
        article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words]).strip()


def caption(scene: Scene, rng: random.Random) -> str:
    """One of the many ways to say what a scene shows."""
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
    if worn[0] and len(worn) > 1:  # said where it belongs: right after the first thing
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
    """Read a caption back into the attributes that made it."""
    augmentation, text = _lookup(
        {k: tuple(", " + p for p in v) for k, v in AUGMENTATION_PHRASES.items()},
        text.replace(",", " ,"),
    )
    style, text = _lookup(STYLE_PREFIXES, text)
    place, text = _lookup(PLACE_PHRASES, text)
    relation, rest = _lookup(RELATION_WORDS, text)
    if relation is None:
        return Words((_parse_thing(text),), place, style, augmentation)
    phrase = max((p for p in RELATION_WORDS[relation] if f" {p} " in text), key=len)
    left, right = f" {text} ".split(f" {phrase} ", 1)
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
