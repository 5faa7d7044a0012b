"""Trials for metrics: painted pictures of which we know which is nearer to a toy.

A trial has a reference picture of a toy and candidates. In a *choice*, the toy itself
in a new scene stands against foils of six kinds, so that one sees when a metric fails.
In a *morph*, the toy becomes another of its class in nine steps. The world painted all
of them, so the truth is exact: identity is a toy's class, look, colors, pattern and
mark; the scene (place, mood, framing) is not.
"""

import random
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

import torch

from perso_lite.world.backdrops import MOOD_NUMBERS
from perso_lite.world.places import PLACES
from perso_lite.world.scenes import Instance, Scene, Thing, sample_instance
from perso_lite.world.shapes import PATTERNS
from perso_lite.world.toys import TOYS

RIGHT = "the toy"  # the candidate that shows the reference's toy
A_LITTLE, A_LOT = 0.1, 0.5  # parts of the way to another toy (ours)
MORPH_STEPS = 9  # from the toy itself to another of its class (ours)
FOILS = (
    "another class",
    "another class in the reference's scene",
    "another of its class",
    "another of its class in the reference's scene",
    "the toy changed a lot",
    "the toy changed a little",
)
MORPHS = ("fixed scene", "new scenes")


@dataclass(frozen=True)
class Trial:
    """A reference picture of one toy, and candidates by what they show."""

    reference: Scene
    candidates: dict[str, Scene]

    @property
    def toy(self) -> Thing:
        """The reference's toy."""
        return self.reference.things[0]

    def distances(self) -> torch.Tensor:
        """How far each candidate's toy is from the reference's, (candidates,)."""
        shown = [scene.things[0] for scene in self.candidates.values()]
        return torch.tensor([parameter_distance(self.toy, other) for other in shown])


# -- toys ------------------------------------------------------------------------------


def sample_toy(rng: random.Random, class_word: str) -> Thing:
    """A new toy of a class; its pattern is part of its identity."""
    pattern = rng.choice((None, *PATTERNS[1:]))
    return Thing(class_word, sample_instance(rng), pattern=pattern)


def morphed(toy: Thing, other: Instance, amount: float) -> Thing:
    """The toy moved towards another in look and colors; pattern and mark stay.

    Args:
        toy: at amount 0.
        other: its look and colors are reached at amount 1.
        amount: in [0, 1].
    """

    def between(start: tuple[float, ...], end: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(a + amount * (b - a) for a, b in zip(start, end, strict=True))

    own, names = toy.instance, ("numbers", "main", "accent", "mark_color")
    moved = {name: between(getattr(own, name), getattr(other, name)) for name in names}
    return replace(toy, instance=replace(own, **moved))


def parameter_distance(toy: Thing, other: Thing) -> float:
    """Root mean squared difference of the 21 numbers of two toys' looks and colors."""
    numbers = [
        torch.tensor([v for part in astuple(t.instance) if not isinstance(part, str)
                      for v in part], dtype=torch.float64)
        for t in (toy, other)
    ]  # fmt: skip
    return (numbers[0] - numbers[1]).square().mean().sqrt().item()


# -- trials ----------------------------------------------------------------------------


def sample_background(rng: random.Random) -> Scene:
    """Place, mood and framing without a thing."""
    return Scene(
        (),
        place=rng.choice((None, *PLACES)),
        mood=tuple(rng.random() for _ in range(MOOD_NUMBERS)),
        framing=tuple(rng.random() for _ in range(4)),
    )


def choice_trials(triplets: int, seed: int = 0) -> Iterator[Trial]:
    """Trials with `triplets` foils in all, six for each toy; classes take turns.

    Each foil makes a triplet with the reference and the right candidate. Where it is
    not in the reference's scene, it is in that of the right candidate.
    """
    for index, start in enumerate(range(0, triplets, len(FOILS))):
        rng = random.Random(f"choice/{seed}/{index}")
        class_word = list(TOYS)[index % len(TOYS)]
        toy, other = (sample_toy(rng, class_word) for _ in range(2))
        stranger = sample_toy(rng, rng.choice([w for w in TOYS if w != class_word]))
        old, new = sample_background(rng), sample_background(rng)
        much, little = (morphed(toy, other.instance, a) for a in (A_LOT, A_LITTLE))
        shown = (
            (stranger, new), (stranger, old), (other, new), (other, old), (much, new),
            (little, new),
        )  # fmt: skip
        foils = [replace(scene, things=(thing,)) for thing, scene in shown]
        kinds = dict(zip(FOILS, foils, strict=True))
        kept = {kind: kinds[kind] for kind in FOILS[: triplets - start]}
        right = replace(new, things=(toy,))
        yield Trial(replace(old, things=(toy,)), {RIGHT: right, **kept})


def morph_trials(count: int, kind: str, seed: int = 0) -> Iterator[Trial]:
    """Trials in which the toy becomes another of its class; classes take turns.

    Args:
        count: number of toys.
        kind: "fixed scene" (one for all candidates, not the reference's) or "new
            scenes" (one for each candidate).
        seed: of everything; both kinds have the same toys and references.
    """
    for index in range(count):
        rng = random.Random(f"morph/{seed}/{index}")
        class_word = list(TOYS)[index % len(TOYS)]
        toy, other = (sample_toy(rng, class_word) for _ in range(2))
        reference = replace(sample_background(rng), things=(toy,))
        scenes = [sample_background(rng) for _ in range(MORPH_STEPS)]
        if kind == MORPHS[0]:
            scenes = scenes[:1] * MORPH_STEPS
        candidates = {}
        for step, scene in enumerate(scenes):
            shown = morphed(toy, other.instance, step / (MORPH_STEPS - 1))
            candidates[f"step {step}"] = replace(scene, things=(shown,))
        yield Trial(reference, candidates)
