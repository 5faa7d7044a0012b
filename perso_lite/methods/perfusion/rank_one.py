"""Rank-one edits of a linear layer: the equations of ROME and of Perfusion.

A layer W reads text states e. An edit makes it answer a chosen input i* with a chosen
output o*, and everything that has nothing to do with i* as before. What has nothing to
do with it is measured in the metric of the inverse covariance C^-1 of text states:

    <a, b> = a^T C^-1 b,    E = <i*, i*>,    s(e) = <i*, e> / E,    e' = e - s(e) i*

    ROME, a new matrix:     W e  ->  W e' + s(e) o*                       (Eq. 1 and 2)
    Perfusion, a gate:      W e  ->  W e' + sigmoid((s(e) - beta) / tau) o*     (Eq. 3)

Meng et al., "Locating and Editing Factual Associations in GPT", 2022
(arXiv:2202.05262); Tewel et al., "Key-Locked Rank One Editing for Text-to-Image
Personalization", 2023 (arXiv:2305.01644). Every edit below returns e' and the number
that each o* is multiplied with; neither depends on the layer, so both are computed once
for all of them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from perso_lite.errors import PersoError

# from states (..., dim), inputs (concepts, dim), inverse (dim, dim), beta (concepts,)
# and tau (concepts,) to the rest (..., dim) and the gates (..., concepts)
Edit = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def similarities(states: Tensor, inputs: Tensor, inverse: Tensor) -> Tensor:
    """How much of each i* is in each text state: s_j(e) = <i_j, e> / <i_j, i_j>.

    Args:
        states: e, (..., dim).
        inputs: i*, (concepts, dim).
        inverse: C^-1, (dim, dim).

    Returns:
        (..., concepts), 1 for i* itself.
    """
    metric = inverse @ inputs.T  # (dim, concepts)
    energies = (inputs.T * metric).sum(0)  # (concepts,)
    return states @ metric / energies


def gate(similarity: Tensor, beta: Tensor | float, tau: Tensor | float) -> Tensor:
    """sigmoid((s - beta) / tau): open above beta, the softer the larger tau."""
    return torch.sigmoid((similarity - beta) / tau)


def check_gate(beta: float = 0.5, tau: float = 0.1) -> tuple[float, float]:
    """Refuse what makes no gate; returns beta and tau.

    Raises:
        PersoError: beta is not in [0, 1], or tau is not a positive number.
    """
    if not 0 <= beta <= 1:
        raise PersoError(
            f"beta is {beta}, but it is compared with shares of the concept in a word, "
            "so it lies between 0 (every word is the concept) and 1."
        )
    if not 0 < tau < float("inf"):
        raise PersoError(
            f"tau is {tau}, but shares are divided by it: give a positive number, for "
            "example 0.15."
        )
    return float(beta), float(tau)


def gated(
    states: Tensor, inputs: Tensor, inverse: Tensor, beta: Tensor, tau: Tensor
) -> tuple[Tensor, Tensor]:
    """Perfusion's edit, of any number of concepts at once (Eq. 4).

    The rest has nothing of any concept: it is orthogonal, in the metric, to their span,
    which takes the Gram matrix G = <i_j, i_k> where concepts are alike.
    """
    metric = inverse @ inputs.T  # (dim, concepts)
    gram = inputs @ metric  # (concepts, concepts)
    shares = torch.linalg.solve(gram, (states @ metric).mT).mT  # (..., concepts)
    rest = states - shares @ inputs
    return rest, gate(similarities(states, inputs, inverse), beta, tau)


# -- what the exact edit is compared with ----------------------------------------------


def unorthogonalised(
    states: Tensor, inputs: Tensor, inverse: Tensor, beta: Tensor, tau: Tensor
) -> tuple[Tensor, Tensor]:
    """The cheap joint edit: every concept is subtracted as if it were alone.

    What two concepts share is subtracted twice; exact only if the Gram matrix is
    diagonal.
    """
    shares = similarities(states, inputs, inverse)  # (..., concepts)
    return states - shares @ inputs, gate(shares, beta, tau)


def sequential(
    states: Tensor, inputs: Tensor, inverse: Tensor, beta: Tensor, tau: Tensor
) -> tuple[Tensor, Tensor]:
    """One edit after the other: each new edit is made to the layer edited before.

    So the last concept reads the text first, and the others what it leaves of it: the
    order matters.
    """
    rest, gates = states, []
    for j in reversed(range(len(inputs))):
        share = similarities(rest, inputs[j : j + 1], inverse)  # (..., 1)
        gates.insert(0, gate(share, beta[j], tau[j]))
        rest = rest - share @ inputs[j : j + 1]
    return rest, torch.cat(gates, -1)


def rome(
    states: Tensor, inputs: Tensor, inverse: Tensor, beta: Tensor, tau: Tensor
) -> tuple[Tensor, Tensor]:
    """ROME's linear edits one after the other: shares instead of gates."""
    rest, shares = states, []
    for j in reversed(range(len(inputs))):
        shares.insert(0, similarities(rest, inputs[j : j + 1], inverse))
        rest = rest - shares[0] @ inputs[j : j + 1]
    return rest, torch.cat(shares, -1)


EDITS: dict[str, Edit] = {
    "exact": gated,
    "unorthogonalised": unorthogonalised,
    "sequential": sequential,
    "rome": rome,
}


def rome_matrix(
    weight: Tensor, input: Tensor, output: Tensor, inverse: Tensor
) -> Tensor:
    """ROME's new matrix W + (o* - W i*) (C^-1 i*)^T / <i*, i*>, (out, dim).

    Of all matrices that answer i* with o*, the one that changes the answers to the
    states behind C least.
    """
    direction = inverse @ input  # (dim,)
    change = (output - weight @ input) / (input @ direction)  # (out,)
    return weight + torch.outer(change, direction)
