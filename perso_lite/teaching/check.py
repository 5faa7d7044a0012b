"""Checks a learner's answers: three facts per exercise, each with ✓ or ✗.

Each exercise has a checker named after its solution, `check.inject(inject)`. It calls
the answer with random input whose sizes all differ. Read the facts from left to right:
if an early one fails, a later one often fails with it. Below them is one number that
differs. A wrong answer never raises.

Also here: `prediction` compares a prediction with the measured value, and `same` checks
whether a cell's code is still the library's own.
"""

import ast
from collections.abc import Callable

import torch

from perso_lite.errors import PersoError
from perso_lite.teaching import solutions
from perso_lite.teaching.checker import (
    Facts,
    agrees,
    as_tensor,
    ask,
    checker,
    close,
    numbers,
)
from perso_lite.teaching.exercises.check_catversion import concatenated as concatenated
from perso_lite.teaching.exercises.check_catversion import (
    masked_similarity as masked_similarity,
)
from perso_lite.teaching.exercises.check_celeb_basis import (
    in_first_directions as in_first_directions,
)
from perso_lite.teaching.exercises.check_celeb_basis import (
    person_vectors as person_vectors,
)
from perso_lite.teaching.exercises.check_comparison import kendall_tau as kendall_tau
from perso_lite.teaching.exercises.check_comparison import (
    resampled_means as resampled_means,
)
from perso_lite.teaching.exercises.check_comparison import undominated as undominated
from perso_lite.teaching.exercises.check_own_pictures import sharpness as sharpness
from perso_lite.teaching.exercises.check_textboost import (
    knowledge_loss as knowledge_loss,
)
from perso_lite.teaching.exercises.check_textboost import low_rank as low_rank
from perso_lite.teaching.exercises.check_textboost import word_to_end as word_to_end
from perso_lite.teaching.same_code import definition_of

# -- notebook 01: a tiny text-to-image model -------------------------------------------


@checker
def cross_attention(mine: Callable) -> Facts:
    """Check softmax(Q Kᵀ / √dim) V."""
    queries, keys, values = numbers((5, 7), (3, 7), (3, 11))
    ones = torch.ones(3, 11)  # stay ones under weights that sum to one
    solution = solutions.cross_attention
    return {
        "shape": ask(mine, queries, keys, values).shape == (5, 11),
        "weights sum to one": agrees(mine, solution, queries, keys, ones),
        "scores are Q Kᵀ / √dim": agrees(mine, solution, queries, keys, values),
    }


@checker
def guided_noise(mine: Callable) -> Facts:
    """Check classifier-free guidance."""
    without, prompted = numbers((2, 4, 3, 5), (2, 4, 3, 5))
    solution = solutions.guided_noise
    return {
        "scale 0 ignores the prompt": agrees(mine, solution, without, prompted, 0.0),
        "scale 1 follows it": agrees(mine, solution, without, prompted, 1.0),
        "more goes on that way": agrees(mine, solution, without, prompted, 6.5),
    }


# -- notebook 02: attention ------------------------------------------------------------


@checker
def intersection_over_union(mine: Callable) -> Facts:
    """Check the overlap of a heat map with a mask."""
    (heat,) = numbers((5, 8))
    heat = (heat.abs() + 0.5) / 100  # small: many words share the attention
    heat[0, 0] = heat.max() / 2  # reaches half of it, too
    block, mask = torch.zeros(5, 8), torch.zeros(5, 8, dtype=torch.bool)
    block[1:4, 2:7], mask[:3, :4] = 0.02, True  # the same for any threshold
    everywhere = torch.ones_like(mask)
    solution = solutions.intersection_over_union
    return {
        "one number": ask(mine, heat, mask).shape == (),
        "on from half the maximum": agrees(mine, solution, heat, everywhere),
        "divided by the union": agrees(mine, solution, block, mask),
    }


@checker
def leaked_share(mine: Callable) -> Facts:
    """Check the share of attention outside a mask."""
    (heat,) = numbers((5, 8))
    heat = heat.abs() / 100  # small: many words share the attention
    mask = torch.zeros(5, 8, dtype=torch.bool)
    mask[1:4, 2:6] = True
    solution = solutions.leaked_share
    return {
        "0 if all is on the mask": agrees(mine, solution, heat * mask, mask),
        "1 if all is beside it": agrees(mine, solution, heat * ~mask, mask),
        "a share of the whole": agrees(mine, solution, heat, mask),
    }


# -- notebook 03: textual inversion ----------------------------------------------------


@checker
def inject(mine: Callable) -> Facts:
    """Check that the vector of a new word is put at the word's positions."""
    embeddings, vector = numbers((3, 5, 7), (7,))
    input_ids = torch.tensor([[0, 9, 2, 3, 11], [0, 4, 9, 9, 11], [0, 2, 3, 4, 11]])
    here = input_ids == 9  # twice in the second prompt, not at all in the third
    given = embeddings.clone()
    answer = as_tensor(mine(given, input_ids.clone(), 9, vector.requires_grad_()))
    if answer.shape != embeddings.shape:
        raise PersoError(
            f"your function returned {tuple(answer.shape)}, but new embeddings "
            f"{tuple(embeddings.shape)} were expected"
        )
    gradient = None
    if answer.requires_grad:
        (gradient,) = torch.autograd.grad(answer.sum(), vector, allow_unused=True)
    untouched = torch.equal(given, embeddings)
    return {
        "the vector where the word stands": close(answer[here], vector.expand(3, 7)),
        "all else as it was": untouched and close(answer[~here], embeddings[~here]),
        "a gradient reaches the vector": gradient is not None and bool(gradient.any()),
    }


@checker
def noisy_latents(mine: Callable) -> Facts:
    """Check the mixing of latents and noise."""
    latents, noise = numbers((3, 4, 5, 6), (3, 4, 5, 6))
    zeros, ones, alpha_bar = (
        torch.zeros(3),
        torch.ones(3),
        torch.tensor([0.9, 0.5, 0.2]),
    )
    solution = solutions.noisy_latents
    return {
        "alpha_bar 1 keeps the latents": agrees(mine, solution, latents, noise, ones),
        "alpha_bar 0 leaves the noise": agrees(mine, solution, latents, noise, zeros),
        "square roots between": agrees(mine, solution, latents, noise, alpha_bar),
    }


# -- notebook 04: perfusion ------------------------------------------------------------


@checker
def gate(mine: Callable) -> Facts:
    """Check the gate, a sigmoid of the similarity."""
    similarity, beta, tau = torch.linspace(-0.5, 1.5, 15).view(3, 5), 0.65, 0.15
    others = (0.35, 0.4)  # a gate with other parameters
    middle, far = torch.full((3, 5), beta), torch.tensor([[-9.0, 9.0]])
    at_beta, at_the_ends = ask(mine, middle, beta, tau), ask(mine, far, beta, tau)
    ends_right = (at_the_ends - torch.tensor([[0.0, 1.0]])).abs().max() < 0.01
    return {
        "half open at beta": close(at_beta, torch.full((3, 5), 0.5)),
        "shut far below, open far above": bool(ends_right),
        "tau says how soft": agrees(mine, solutions.gate, similarity, *others),
    }


@checker
def rest(mine: Callable) -> Facts:
    """Check that a concept's component is removed from text states."""
    states, target_input, root = numbers((3, 5, 7), (7,), (7, 7))
    inverse = root @ root.T / 7 + torch.eye(7)  # as every C^-1: symmetric, positive
    given = target_input, inverse
    itself = ask(mine, target_input.expand(3, 5, 7), *given)
    left = ask(mine, states, *given) @ inverse @ target_input
    return {
        "nothing is left of i* itself": close(itself, torch.zeros(3, 5, 7)),
        "what is left has nothing of i*": close(left, torch.zeros(3, 5)),
        "nothing else was taken": agrees(mine, solutions.rest, states, *given),
    }


# -- notebook 05: neti -----------------------------------------------------------------


@checker
def waves(mine: Callable) -> Facts:
    """Check the Fourier features of a timestep and a layer."""
    points, shift, frequencies = numbers((5, 2), (1, 2), (7, 2))
    here, there = (ask(mine, p, frequencies) for p in (points, points + shift))
    return {
        "length one": close(here.norm(dim=1), torch.ones(5)),
        "products depend on the difference": close(here @ here.mT, there @ there.mT),
        "first sines, then cosines": agrees(mine, solutions.waves, points, frequencies),
    }


@checker
def first_units(mine: Callable) -> Facts:
    """Check that the last units of each row are set to zero."""
    (hidden,) = numbers((4, 6))
    none_and_all, alike = torch.tensor([0, 6, 0, 6]), torch.full((4,), 2)
    own, solution = torch.tensor([1, 4, 3, 5]), solutions.first_units
    return {
        "0 keeps none, all keeps all": agrees(mine, solution, hidden, none_and_all),
        "the first ones stay": agrees(mine, solution, hidden, alike),
        "each row has its own k": agrees(mine, solution, hidden, own),
    }


@checker
def bypassed(mine: Callable) -> Facts:
    """Check the step of the textual bypass."""
    state, bypass = numbers((5, 7), (5, 7))
    once, louder = (ask(mine, state, times * bypass, 0.2) for times in (1, 10))
    return {
        "alpha 0 is no step": agrees(mine, solutions.bypassed, state, bypass, 0.0),
        "only b's direction counts": not close(once, state) and close(once, louder),
        "alpha times the state's length": close(
            (once - state).norm(dim=1), 0.2 * state.norm(dim=1)
        )
        and agrees(mine, solutions.bypassed, state, bypass, 0.2),
    }


# -- predictions -----------------------------------------------------------------------


def prediction(mine: object, measured: object) -> None:
    """Print whether a prediction equals the measured value.

    Without one (None) the value is not printed: a committed output would give it away.
    """
    if mine is None:
        print("no prediction yet: write your guess in this cell, and run it again")
    elif mine == measured or str(mine).strip().lower() == str(measured).lower():
        print(f"✓ you said {mine}, and so says the run")
    else:
        print(f"✗ you said {mine}, the run says {measured}")


# -- is it the library's own code? -----------------------------------------------------


def same(mine: Callable | type, library: Callable | type) -> None:
    """Print whether a function or class in a cell is the same code as the library's.

    Args:
        mine: the version in the cell.
        library: the version in the library.
    """
    try:
        trees = definition_of(mine), definition_of(library)
    except (OSError, TypeError, SyntaxError):
        print("✗ the source of your version cannot be read, so it was not compared")
        return
    if ast.dump(trees[0]) == ast.dump(trees[1]):
        print("✓ the lines above are the library's own")
    else:
        print("✗ your version differs from the library's: fine for experiments")
