"""One picture made many, and what captions say of each.

A transformed picture under an unchanged caption teaches the new word the
transformation: the concept is drawn upside down. If ordinary words say it ("upside
down"), the concept is bound to what they mean already. So TextBoost gives every
transformation tokens of its own, which start as its words, are learned along, and are
left out of prompts later.

Words and their places are those of the released code at the time of the paper, without
two slips: there each vector of several started as the last of the words, and some
tokens were written without a blank before the next word.
"""

import random
from collections.abc import Sequence

from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

from perso_lite.conditioning.architecture import check_parts
from perso_lite.errors import PersoError, check_finite, check_whole
from perso_lite.method import View
from perso_lite.methods.textboost.transformations import transformed

KINDS = ("tokens", "words", "silent", "none")
# What a transformation is called: the first that is in whole words of the base. The
# released code's words come first; ours for the shipped base, if it lacks one, second.
WORDS = {
    "grayscale": ("gray",),
    "bright": ("bright",),
    "dimmed": ("dark",),
    "zoom-in": ("zoom in", "zoomed in"),
    "zoom-out": ("far away",),
    "vflip": ("flip", "flipped"),
    "crop": ("crop", "cropped"),
    "left": ("on the left",),
    "right": ("on the right",),
    "cutout": ("hole", "black"),
    "grid": ("grid of", "tiled"),
}
# in files of the released code, also of other times and for styles
RELEASED_NAMES = {*WORDS, "hflip", "collage", "rot90", "rot270", "jigsaw"}
BEFORE, BEHIND, BEHIND_COMMA = "{1} {0}", "{0} {1}", "{0}, {1}"  # {1} is said in {0}
PLACES = {"zoom-in": (BEFORE,), "zoom-out": (BEFORE,), "grid": (BEFORE,)}
PLACES |= {"left": (BEHIND,), "right": (BEHIND,)}
OTHER_PLACES = (BEFORE, BEHIND_COMMA)  # of all others, one as likely as the other


class Augmentation:
    """Transforms a picture, and says so in captions.

    Attributes:
        words: what each transformation is called on this base, by its name.
        tokens: what to write in prompts for it, by its name: "<toy-zoom-in>" for a
            concept "<toy>". {} unless transformations have tokens of their own.

    Args:
        base: the pipeline.
        placeholder_token: the concept's word.
        kind: of `KINDS`.
        probability: of each group of transformations.
        count: how many pictures to make.
        seed: of everything that is drawn.

    Raises:
        PersoError: another kind, a number out of its range, or a base of another
            architecture.
    """

    def __init__(
        self,
        base: StableDiffusionPipeline,
        placeholder_token: str,
        kind: str,
        probability: float,
        count: int,
        seed: int,
    ):
        check_parts(base)
        if kind not in KINDS:
            raise PersoError(
                f'augmentation is "{kind}"; choose from {", ".join(KINDS)}.'
            )
        check_finite("augmentation_probability", probability, least=0)
        check_whole("num_augmentations", count, 1)
        if probability > 1:
            raise PersoError(
                f"augmentation_probability is {probability}, but it is from 0 to 1."
            )
        self.kind, self.probability = kind, probability
        self.count, self.seed = count, seed
        self.words = {name: words_for(base.tokenizer, name) for name in WORDS}
        named = {name: f"{placeholder_token[:-1]}-{name}>" for name in WORDS}
        self.tokens = named if kind == "tokens" else {}

    def starts(self) -> dict[str, str]:
        """The words that each token starts as, by token."""
        return {token: self.words[name] for name, token in self.tokens.items()}

    def views(self, view: View) -> list[View]:
        """Transformed pictures of a view, each with captions that say what was done.

        They have no masks. With the kind "none", it is the view itself.
        """
        if self.kind == "none":
            return [view]
        rng, made = random.Random(self.seed), []
        for _ in range(self.count):
            image, names = transformed(view.image, self.probability, rng)
            said = [(n, rng.choice(PLACES.get(n, OTHER_PLACES))) for n in names]
            captions = [self.caption(text, said) for text in view.captions]
            made.append(View(image, None, captions))
        return made

    def caption(self, text: str, said: Sequence[tuple[str, str]]) -> str:
        """A caption that says, in order, what was done and in which places."""
        spoken = {"tokens": self.tokens, "words": self.words}.get(self.kind)
        for name, place in said if spoken else ():
            text = place.format(text, spoken[name])
        return text


def words_for(tokenizer: CLIPTokenizer, name: str) -> str:
    """What a transformation is called: of its `WORDS` the first that are all known."""

    def known(text: str) -> bool:
        pieces = [tokenizer.tokenize(word) for word in text.split()]
        return all(len(p) == 1 and p[0] != tokenizer.unk_token for p in pieces)

    return next(filter(known, WORDS[name]), WORDS[name][0])
