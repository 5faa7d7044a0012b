"""Two concepts of two methods in one picture: what became of each, from the results.

`python -m perso_lite evaluate mix` measured every ordered pair of methods, and beside
it what each side was without the other: the word alone next to a class word, and two
class words. So what is lost by mixing can be told from what a word loses next to
anything.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from perso_lite.evaluation.bootstrap import bootstrap_interval
from perso_lite.evaluation.tradeoff import Interval, Results, load_results
from perso_lite.files import DATA_FOLDER

RESULTS = DATA_FOLDER / "results" / "mix.json"
PEOPLE_METHOD = "celeb_basis"  # learns people; the others learned toys
MIXED = (
    "textual_inversion", "perfusion", "neti", "catversion", PEOPLE_METHOD, "textboost",
)  # fmt: skip
TOY_WORD, PERSON_WORD = "toy word", "person word"  # class words, with nothing learned
SIDES = ("left", "right")
RIGHT, WEAK, LOST = "right", "weak alone", "lost by mixing"


@dataclass(frozen=True)
class SideOfMix:
    """What became of one side of the pictures of a pair; intervals of 95 %.

    Attributes:
        own: similarity to the concept that should be there.
        over_other: how much more that is than the similarity to the other concept.
        over_class: how much more than in the pictures of the two class words.
        over_alone: how much more than next to a class word in place of the other.
    """

    own: Interval
    over_other: Interval
    over_class: Interval
    over_alone: Interval

    @property
    def verdict(self) -> str:
        """One of three.

        "right": nearer to its own concept than to the other, and than its class word
        is. If not, "lost by mixing" if it is farther than next to a class word, and
        otherwise "weak alone".
        """
        if self.over_other[1] > 0 and self.over_class[1] > 0:
            return RIGHT
        return LOST if self.over_alone[2] < 0 else WEAK


def point_of(left: str, right: str) -> str:
    """The name of a pair in the results."""
    return f"{left} + {right}"


def class_word_of(name: str) -> str:
    """The class word that stands for a method's words: a person's, or a toy's."""
    return PERSON_WORD if name in (PEOPLE_METHOD, PERSON_WORD) else TOY_WORD


def side_of_mix(results: Results, left: str, right: str, side: str) -> SideOfMix:
    """What became of one side of a pair.

    Args:
        results: from `load_mix`.
        left: the method of the left concept, one of `MIXED`.
        right: that of the right one.
        side: "left" or "right".
    """
    mixed = results[point_of(left, right)]
    classes = results[point_of(class_word_of(left), class_word_of(right))]
    words = {
        "left": (left, class_word_of(right)),
        "right": (class_word_of(left), right),
    }
    alone, own = results[point_of(*words[side])], f"{side} own"
    return SideOfMix(
        gain(mixed[own]),
        gain(mixed[own], mixed[f"{side} other"]),
        gain(mixed[own], classes[own]),
        gain(mixed[own], alone[own]),
    )


def gain(values: list[Tensor], baseline: list[Tensor] | None = None) -> Interval:
    """Mean and interval of values over a baseline; the orders are resampled first.

    Args:
        values: a tensor (pictures,) for each order of the concepts.
        baseline: the same, to subtract; default: nothing.
    """
    groups = torch.cat([torch.full((len(v),), i) for i, v in enumerate(values)])
    subtracted = 0.0 if baseline is None else torch.cat(baseline)
    return bootstrap_interval(torch.cat(values) - subtracted, groups=groups)


def verdict_of_mix(results: Results, left: str, right: str) -> str:
    """The worse of the verdicts of both sides."""
    sides = [side_of_mix(results, left, right, side).verdict for side in SIDES]
    return max(sides, key=(RIGHT, WEAK, LOST).index)


def load_mix(path: str | Path = RESULTS) -> Results:
    """The measured pairs: by point and score, one tensor (pictures,) per order.

    Raises:
        PersoError: there is no such file, or it is damaged.
    """
    return load_results(path)
