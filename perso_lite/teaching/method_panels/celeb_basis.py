"""A panel for Celeb Basis: a person from sliders, and two names mixed.

A basis of names gives every person coefficients, so a person can be made by hand
(`methods/celeb_basis/`): start anywhere, add a few standard deviations along the
first directions of each slot, choose how far from the mean. The panel draws the person
and says which name is the nearest.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from diffusers import StableDiffusionPipeline
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from perso_lite.errors import PersoError, check_whole, shortened
from perso_lite.figures.celeb_people import finding, person_figure
from perso_lite.method import state_of
from perso_lite.methods.celeb_basis.basis import NameBasis, basis_of
from perso_lite.methods.celeb_basis.by_hand import (
    PersonByHand,
    distance_from_mean,
    nearest_name,
    vectors_by_name,
)
from perso_lite.methods.celeb_basis.celeb_basis import CelebBasis
from perso_lite.methods.celeb_basis.names import SLOTS
from perso_lite.sampling import generate, inference_parameters
from perso_lite.teaching.panel import Panel, choice, slider, text_box

MEAN, MIX = "mean person", "mix of two names"
AS_IS = "as it is"
RADII = (AS_IS, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
DEVIATIONS = tuple(step / 2 for step in range(-6, 7))
MIXES = tuple(step / 10 for step in range(11))
SHOWN = 8  # coefficients of each slot in the chart, or all that have a slider


def person_explorer(
    base: StableDiffusionPipeline,
    *people: CelebBasis,
    basis: NameBasis | None = None,
    names: Sequence[str] | None = None,
    prompt: str = "a photo of {} on a beach",
    components: int = 2,
    seeds: Sequence[int] = range(4),
    num_inference_steps: int = 10,
    guidance_scale: float = 4.0,
) -> Panel:
    """Make a person by hand: see the picture, the coefficients and the nearest name.

    Args:
        base: the pipeline, without the people.
        people: learned ones; the first is the start value. They do not change, and
            further training is noticed.
        basis: that of the people; default: `basis_of(base)`.
        names: of the basis, to mix; default: all.
        prompt: the start value; the person stands at each {}.
        components: how many directions of each slot have a slider (ours: 2).
        seeds: stops of the slider.
        num_inference_steps: denoising steps; few, for a preview (ours: 10).
        guidance_scale: of classifier-free guidance (ours: 4).

    Raises:
        PersoError: a basis of another text encoder, or none, a person of another basis,
            two of one name, a name that the basis has not, more components than
            directions, a prompt without {}, or the first picture cannot be generated.
    """
    basis = (basis or basis_of(base)).checked(base)
    known = vectors_by_name(base, basis)
    names = checked_names(known if names is None else names, known)
    words = checked_words(people, basis)
    most = min([basis.num_components, *(each.num_components for each in people)])
    check_whole("components", components, 1, most)
    sampling = (num_inference_steps, guidance_scale)
    moves = [f"slot_{k + 1}_direction_{j + 1}" for k in range(SLOTS)
             for j in range(components)]  # fmt: skip
    return Panel(
        partial(draw_person, base, people, basis, known, sampling),
        depends_on=lambda: tuple(map(state_of, people)),
        start=choice([MEAN, *words, MIX], words[0] if words else MEAN),
        first_name=choice(names),
        second_name=choice(names, names[min(1, len(names) - 1)]),
        mix=slider(MIXES),
        **{move: slider(DEVIATIONS, 0.0) for move in moves},
        radius=slider(RADII),
        prompt=text_box(prompt),
        seed=slider(seeds),
    )


def draw_person(
    base: StableDiffusionPipeline,
    people: Sequence[CelebBasis],
    basis: NameBasis,
    known: Mapping[str, Tensor],
    sampling: tuple[int, float],
    start: str,
    first_name: str,
    second_name: str,
    mix: float,
    radius: float | str,
    prompt: str,
    seed: int,
    **moves: float,
) -> Figure:
    """The picture of a person, its first coefficients, and the nearest name.

    Args:
        base: the pipeline, without the people.
        people: that can be started from; they do not change.
        basis: of names.
        known: pairs of vectors (2, dim) by name; see `vectors_by_name`.
        sampling: denoising steps and guidance scale.
        start: "mean person", "mix of two names", or the placeholder of one of `people`.
        first_name: mixed, if `start` says so.
        second_name: the other one.
        mix: t, from 0, the first name, to 1, the second.
        radius: length of the coefficients, 1: as half of the names; or "as it is".
        prompt: the person stands at each {}.
        seed: of the noise that the picture starts from.
        moves: `slot_1_direction_1`, ...: added, in standard deviations of the names.

    Raises:
        PersoError: a prompt without {}, or so long that the person is cut off.
    """
    if "{}" not in prompt:
        raise PersoError(
            f'The prompt "{shortened(prompt)}" has no {{}}, where the person stands: '
            'write "a photo of {} on a beach", for example.'
        )
    mixed = (known[first_name], known[second_name], mix)
    basis, begun = start_of(people, basis, start, mixed)
    person = PersonByHand(base, basis, begun, moved_by(basis, moves))
    caption = f"{1 - mix:.0%} {first_name}, {mix:.0%} {second_name}"
    caption = f"{caption if start == MIX else start}, seed {seed}"
    with inference_parameters(person, radius=None if radius == AS_IS else radius):
        with person.attach(base):
            text = prompt.replace("{}", person.placeholder_token)
            (picture,) = generate(base, text, (seed,), *sampling)
        return figure_of(person, picture, caption, known, len(moves) // SLOTS)


def figure_of(
    person: PersonByHand,
    picture: Image.Image,
    caption: str,
    known: Mapping[str, Tensor],
    components: int,
) -> Figure:
    """A picture, the coefficients of a person as it is now, and the nearest name."""
    basis, a = person.basis, person.coefficients().cpu()
    nearest = nearest_name(basis, a, known)
    title = finding(nearest, len(known), distance_from_mean(basis, a))
    shown = max(SHOWN, components)
    parts = (a, person.coefficients_begun.cpu(), person.moved.cpu())
    in_deviations = [(part / basis.deviations)[:, :shown] for part in parts]
    return person_figure(picture, caption, *in_deviations, title)


# -- points of the space ---------------------------------------------------------------


def start_of(
    people: Sequence[CelebBasis],
    basis: NameBasis,
    start: str,
    mixed: tuple[Tensor, Tensor, float],
) -> tuple[NameBasis, Tensor]:
    """The vectors to start from (2, dim), and the directions that they have.

    A learned person has fewer directions than names, and a radius of its own in them.
    """
    for person in people:
        if person.placeholder_token == start:
            own = basis.first(person.num_components)
            return own, person.vectors().detach().float().cpu()
    return basis, torch.lerp(*mixed) if start == MIX else basis.mean


def moved_by(basis: NameBasis, moves: Mapping[str, float]) -> Tensor:
    """What sliders add to the coefficients, (2, components of the basis).

    Args:
        basis: whose deviations are the unit.
        moves: `slot_1_direction_1`, ..., slot by slot.
    """
    moved = torch.zeros_like(basis.deviations)
    added = torch.tensor([*moves.values()]).view(SLOTS, -1)
    moved[:, : added.shape[1]] = added * basis.deviations[:, : added.shape[1]]
    return moved


# -- what is refused -------------------------------------------------------------------


def checked_names(names: Sequence[str], known: Mapping[str, Tensor]) -> list[str]:
    """The names to choose from.

    Raises:
        PersoError: there is none, or one that the basis was not made of.
    """
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        given = f'"{unknown[0]}" is no name' if unknown else "names is empty: no name"
        raise PersoError(
            f"{given} of this basis, which was made of {len(known)} names, for example "
            f'"{next(iter(known))}". Choose from basis.names, or leave names out.'
        )
    return list(names)


def checked_words(people: Sequence[CelebBasis], basis: NameBasis) -> list[str]:
    """The placeholders of people who have coefficients in a basis.

    Raises:
        PersoError: one has them in another basis, or two have one placeholder.
    """
    words = [person.placeholder_token for person in people]
    for word, person in zip(words, people, strict=True):
        if words.count(word) > 1:
            raise PersoError(
                f"Two people are called {word}, but each needs a word of its own. Read "
                f'one under another name: load_method(path, base, "{word[:-1]}-2>").'
            )
        p = min(person.num_components, basis.num_components)
        if person.basis.fingerprint != basis.first(p).fingerprint:
            raise PersoError(
                f"{word} has coefficients in another basis than this one, where they "
                "would be another person. Give the basis it was learned in: "
                "person_explorer(base, person, basis=...)."
            )
    return words
