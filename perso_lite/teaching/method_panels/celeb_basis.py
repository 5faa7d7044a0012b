"""A panel for Celeb Basis: a person from sliders, and the way between two names.

A person is a point in the space of names (`methods/celeb_basis/`). The panel starts at
the mean person, at a learned one or between two names, moves along the first principal
directions of both slots, sets the distance from the mean, and draws who is there.
"""

from collections.abc import Sequence
from functools import partial

import torch
from diffusers import StableDiffusionPipeline
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from perso_lite.conditioning.words import vectors_of
from perso_lite.errors import PersoError
from perso_lite.figures.celeb_people import person_figure
from perso_lite.method import state_of
from perso_lite.methods.celeb_basis.basis import NameBasis, basis_of, check_components
from perso_lite.methods.celeb_basis.celeb_basis import CelebBasis
from perso_lite.methods.celeb_basis.coefficients import on_sphere
from perso_lite.methods.celeb_basis.names import SLOTS, name_ids
from perso_lite.sampling import generate
from perso_lite.teaching.panel import Panel, choice, slider, text_box

MEAN, MIX = "the mean person", "a mix of two names"
AS_IT_IS = "as it is"
MOVES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # deviations of the names (ours)
RADII = (AS_IT_IS, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
WORD = "<drawn-person>"  # stands for the person in the prompt


def person_explorer(
    base: StableDiffusionPipeline,
    *people: CelebBasis,
    basis: NameBasis | None = None,
    names: Sequence[str] | None = None,
    prompt: str = "a photo of {} on a beach",
    components: int = 2,
    class_word: str = "person",
    seeds: Sequence[int] = range(4),
    num_inference_steps: int = 10,
    guidance_scale: float = 4.0,
) -> Panel:
    """Move through the space of names, and see who is there.

    Args:
        base: the pipeline, without the people.
        people: learned ones to start from; they do not change, and further training is
            noticed.
        basis: of the names; default: `basis_of(base)`. Those of the people must be its
            first directions.
        names: to mix, of two words of one token each; default: those of the basis.
        prompt: the start value, with "{}" for the person.
        components: directions of each slot that have a slider.
        class_word: the base's word for a person.
        seeds: stops of the slider.
        num_inference_steps: denoising steps; few, for a preview (ours: 10).
        guidance_scale: of classifier-free guidance (ours: 4).

    Raises:
        PersoError: fewer than two names, one that is not two single tokens, a basis of
            another encoder, people of another basis, more sliders than directions, or
            the first picture cannot be generated.
    """
    basis = (basis or basis_of(base)).checked(base)
    check_components(components, (basis.num_components,) * SLOTS)
    check_people(people, basis)
    names = list(basis.names if names is None else names)
    if len(names) < 2:
        raise PersoError(f"Two names are needed to mix, not {names}.")
    for name in names:
        name_ids(base, name)
    words = [person.placeholder_token for person in people]
    person = CelebBasis(
        base, class_word, WORD, basis.num_components, training_radius=None,
        check_face=False, basis=basis,
    )  # fmt: skip
    given = (person, people, names_in(base, basis))
    drawn = partial(draw_person, *given, (num_inference_steps, guidance_scale))
    return Panel(
        drawn,
        depends_on=lambda: tuple(map(state_of, people)),
        prompt=text_box(prompt),
        start=choice([*words, MEAN, MIX]),
        one=choice(names, names[0]),
        other=choice(names, names[1]),
        mix=slider([i / 4 for i in range(5)], 0.5),
        **{name: slider(MOVES, 0.0) for name in slider_names(components)},
        radius=slider(RADII),
        seed=slider(seeds),
    )


def slider_names(components: int) -> list[str]:
    """first_1, first_2, ..., last_1, ...: a word of the name, and a direction."""
    return [f"{word}_{j + 1}" for word in ("first", "last") for j in range(components)]


def check_people(people: Sequence[CelebBasis], basis: NameBasis) -> None:
    """Refuse people whose coefficients mean something else here.

    Raises:
        PersoError: two have the same placeholder, or one is of another basis.
    """
    words = [person.placeholder_token for person in people]
    if len({*words}) < len(words):
        raise PersoError(f"Two of {words} have the same placeholder: rename one.")
    for person in people:
        first = basis.first(min(person.num_components, basis.num_components))
        if person.basis.fingerprint != first.fingerprint:
            raise PersoError(
                f"{person.placeholder_token} was learned in another basis than that of "
                "this panel: give the panel its basis, `basis=person.basis`."
            )


def names_in(base: StableDiffusionPipeline, basis: NameBasis) -> Tensor:
    """Coefficients of all names of a basis, (names, 2, components)."""
    pairs = torch.stack([vectors_of(base, name).cpu() for name in basis.names])
    return basis.encode(pairs)


def draw_person(
    person: CelebBasis,
    people: Sequence[CelebBasis],
    known: Tensor,
    sampling: tuple[int, float],
    *,
    prompt: str,
    start: str,
    one: str,
    other: str,
    mix: float,
    radius: float | str,
    seed: int,
    **moves: float,
) -> Figure:
    """A picture of the person at a point, the coefficients, and the nearest name.

    Args:
        person: whose coefficients become those of the point; of all directions.
        people: the learned ones; they do not change.
        known: coefficients of the basis's names, (names, 2, components).
        sampling: denoising steps and guidance scale.
        prompt: with "{}" for the person.
        start: a placeholder, or one of `MEAN` and `MIX`.
        one: a name, at which a mix begins.
        other: a name, at which it ends.
        mix: t, from 0 to 1.
        radius: the length of the coefficients, 1: as of half of the names; or
            `AS_IT_IS`.
        seed: of the noise.
        moves: by `slider_names`, deviations to go along a direction.

    Raises:
        PersoError: the prompt has no slot for the person.
    """
    if "{}" not in prompt:
        raise PersoError(f'"{prompt}" has no {{}}, which stands for the person.')
    base, basis = person.base, person.basis
    if start == MIX:
        ends = basis.encode(
            torch.stack([vectors_of(base, n).cpu() for n in (one, other)])
        )
        found = torch.lerp(*ends, mix)  # (2, components)
    else:
        found = coefficients_of(start, people, basis)
    step = moved(basis, moves)
    found = found + step
    if radius != AS_IT_IS:
        found = on_sphere(found, radius * basis.lengths[:, -1:])
    person.load_state_dict({"weights": found})
    with person.attach(base):
        (picture,) = generate(base, prompt.replace("{}", WORD), (seed,), *sampling)
    alike = F.cosine_similarity(known.flatten(1), found.flatten()[None])  # (names,)
    nearest = int(alike.argmax())
    distance = (found.norm(dim=1) / basis.lengths[:, -1]).mean().item()
    name = (basis.names[nearest], alike[nearest].item())
    return person_figure(picture, found / basis.deviations, step != 0, name, distance)


def coefficients_of(
    start: str, people: Sequence[CelebBasis], basis: NameBasis
) -> Tensor:
    """Coefficients of a learned person, or 0, in all directions, (2, components)."""
    found = torch.zeros(SLOTS, basis.num_components)
    for person in people:
        if person.placeholder_token == start:
            own = person.coefficients().detach().float().cpu()
            found[:, : person.num_components] = own
    return found


def moved(basis: NameBasis, moves: dict[str, float]) -> Tensor:
    """What the sliders add to the coefficients, (2, components)."""
    step = torch.zeros(SLOTS, basis.num_components)
    count = len(moves) // SLOTS
    for place, name in enumerate(slider_names(count)):
        slot, j = divmod(place, count)
        step[slot, j] = moves[name] * basis.deviations[slot, j]
    return step
