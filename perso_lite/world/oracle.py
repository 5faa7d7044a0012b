"""What a perfect model would draw for a prompt.

A prompt in the world's words is read back into a scene, and the scene is painted. What
the prompt leaves open is drawn at random, as in pretraining. A placeholder's thing is
exactly the toy or person of its concept.
"""

import functools
import random
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.world.backdrops import MOOD_NUMBERS
from perso_lite.world.captions import Words, parse, vocabulary
from perso_lite.world.people import THETA, people_names, people_thetas
from perso_lite.world.render import PICTURE_SIZE, render
from perso_lite.world.scenes import Scene, Thing, sample_instance
from perso_lite.world.shipped_concepts import thing_from_truth
from perso_lite.world.toys import FAMILIES, FAMILY_OF


class PaintedConcept(Protocol):
    """The parts of a concept that are needed to paint it again."""

    name: str
    class_word: str
    placeholder_token: str | None
    truth: dict[str, Any] | None


SOMETHING = "it"  # not a word of the world; it replaces a placeholder


def read_prompt(
    prompt: str, placeholder_token: str | None = None, class_word: str | None = None
) -> tuple[Words, list[int]]:
    """The attributes in a prompt, and which of its things are the placeholder's.

    Args:
        prompt: in the world's words, for example "a <toy> next to a red teddy".
        placeholder_token: for example "<toy>"; default: none.
        class_word: replaces the placeholder, for example "teddy". If the prompt has
            both ("a <toy> teddy"), they are one thing.

    Returns:
        The attributes, and indices of the placeholder's things in `words.things`
        (empty without a placeholder).

    Raises:
        PersoError: the prompt has a word that is not in the world's vocabulary, a
            thing without a class, or more than three things.
    """
    prompt, sentence = prompt.lower(), prompt.lower()
    if placeholder_token and class_word:
        prompt = prompt.replace(f"{placeholder_token} {class_word}", placeholder_token)
        sentence = prompt.replace(placeholder_token, class_word)
    _check_words(sentence)
    words = parse(sentence)
    if any(thing[0] is None for thing in words.things) or len(words.things) > 3:
        raise PersoError(
            f'The world cannot paint "{sentence}": it wants one to three things, each '
            'with a class, for example "a cat" or "a red mug next to a robot".'
        )
    if sentence == prompt:
        return words, []
    if len(words.things) == 1:
        return words, [0]
    blanked = parse(prompt.replace(placeholder_token, SOMETHING))
    ours = [i for i, thing in enumerate(blanked.things) if thing[0] is None]
    return words, ours


def _check_words(sentence: str) -> None:
    """Refuse a sentence with a word outside the vocabulary."""
    spaced = sentence.replace("-", " - ").replace(",", " , ")
    strange = [word for word in spaced.split() if word not in _known_words()]
    if strange:
        raise PersoError(
            f'The world has no word "{strange[0]}", so it cannot paint "{sentence}". '
            "Say it in the words of perso_lite/world/words.py, and name the class "
            "word if this is a placeholder."
        )


@functools.cache
def _known_words() -> frozenset[str]:
    return frozenset(vocabulary())


def thing_from_words(words: tuple, rng: random.Random) -> Thing:
    """A thing with the attributes in the prompt; the rest is drawn at random.

    `words` is one of `Words.things`. "An animal" becomes any member of that family, "a
    person" a stranger, and a name the face of the person with that name.
    """
    class_word, color, pattern, accessory, name, expression = words
    family = class_word in FAMILIES
    if family:
        members = [toy for toy, other in FAMILY_OF.items() if other == class_word]
        class_word = rng.choice(members)
    theta = None
    if name:
        theta = tuple(people_thetas()[people_names().index(name)].tolist())
    elif class_word == "person":
        theta = tuple(rng.random() for _ in THETA)
    instance = sample_instance(rng)
    return Thing(
        class_word, instance, family, color, pattern, accessory, name, expression, theta
    )


def thing_of_concept(thing: Thing, words: tuple) -> Thing:
    """A concept's toy or person, changed only in the attributes in the prompt."""
    class_word, color, pattern, accessory, _, expression = words
    return replace(
        thing,
        family=class_word in FAMILIES,
        color=color or thing.color,
        pattern=pattern or thing.pattern,
        accessory=accessory,
        expression=expression,
    )


def scene_for(
    prompt: str,
    rng: random.Random,
    thing: Thing | None = None,
    placeholder_token: str | None = None,
    class_word: str | None = None,
) -> Scene:
    """A scene that shows everything in a prompt.

    Args:
        prompt: in the world's words, with or without a placeholder.
        rng: draws what the prompt leaves open, as in pretraining.
        thing: the placeholder's toy or person; default: any of its class.
        placeholder_token: for example "<toy>"; default: none.
        class_word: replaces the placeholder; default: the class of `thing`.

    Raises:
        PersoError: the prompt cannot be read, or has no placeholder for `thing`.
    """
    if class_word is None and thing is not None:
        class_word = thing.class_word
    words, ours = read_prompt(prompt, placeholder_token, class_word)
    if thing is not None and not ours:
        raise PersoError(
            f'"{prompt}" does not say which of its things is the concept: put its '
            f"placeholder ({placeholder_token}) where the concept belongs."
        )
    things = [thing_from_words(described, rng) for described in words.things]
    if thing is not None:
        for i in ours:
            things[i] = thing_of_concept(thing, words.things[i])
    return Scene(
        tuple(things),
        words.place,
        words.style,
        words.augmentation,
        words.relation,
        mood=tuple(rng.random() for _ in range(MOOD_NUMBERS)),
        framing=tuple(rng.random() for _ in range(4)),
    )


def true_pictures(
    prompt: str,
    count: int,
    seed: int = 0,
    size: int = PICTURE_SIZE,
    concept: PaintedConcept | None = None,
    placeholder_token: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Paint what a prompt asks for.

    Args:
        prompt: in the world's words.
        count: number of pictures; each has other details.
        seed: of the details.
        size: pixels per side (ours: 128).
        concept: the placeholder's concept, a shipped one; default: none.
        placeholder_token: default: the concept's.

    Returns:
        Pictures `(count, 3, size, size)` in [0, 1], and masks `(count, 1, size, size)`
        in [0, 1] of the concept, or of the first thing if there is no concept.

    Raises:
        PersoError: the prompt cannot be read or lacks the placeholder, or the concept
            has no `truth`.
    """
    thing = class_word = None
    if concept is not None:
        if concept.truth is None:
            raise PersoError(
                f"Only shipped concepts can be painted again: {concept.name} comes "
                "from pictures alone. Leave out the oracle, or take a shipped one."
            )
        thing, class_word = thing_from_truth(concept.truth), concept.class_word
        placeholder_token = placeholder_token or concept.placeholder_token
    rngs = [random.Random(f"{prompt}/{seed}/{i}") for i in range(count)]
    scenes = [
        scene_for(prompt, rng, thing, placeholder_token, class_word) for rng in rngs
    ]
    pictures, masks = render(scenes, size)
    _, ours = read_prompt(prompt, placeholder_token, class_word)
    index = ours[0] if ours else 0
    return pictures.clamp(0, 1), masks[:, index : index + 1].clamp(0, 1)
