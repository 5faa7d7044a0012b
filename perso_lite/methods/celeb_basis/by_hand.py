"""A person made by hand: any point of the space of names, and the name nearest to it.

Nothing is learned here: coefficients are given, and drawn as those of a learned person.
"""

from collections.abc import Mapping

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional as F

from perso_lite.conditioning.words import vectors_of
from perso_lite.errors import PersoError
from perso_lite.methods.celeb_basis.basis import NameBasis
from perso_lite.methods.celeb_basis.names import readable_names
from perso_lite.methods.celeb_basis.word_in_basis import WordInBasis


class PersonByHand(WordInBasis):
    """A person of given coefficients; nothing learns.

    Args:
        base: the pipeline to draw with.
        basis: of which all directions count.
        start: the pair of vectors to start from, (2, dim), inside the basis.
        moved: what is added to its coefficients, (2, components).
    """

    name = "person_by_hand"

    def __init__(
        self,
        base: StableDiffusionPipeline,
        basis: NameBasis,
        start: Tensor,
        moved: Tensor,
    ):
        word = ("person", "<by-hand>")
        super().__init__(base, *word, basis.num_components, None, None, basis)
        self.register_buffer("begun", start)
        self.register_buffer("coefficients_begun", basis.encode(start))
        self.register_buffer("moved", moved)
        self.to(base.device)

    def learned(self) -> Tensor:
        """h, (2, components)."""
        return self.coefficients_begun + self.moved

    def vectors(self) -> Tensor:
        """v, (2, dim); without a radius, not rounded where nothing is moved."""
        if self.radius is not None:
            return super().vectors()
        return self.begun + torch.einsum("kp,kpd->kd", self.moved, self.directions)


def nearest_name(
    basis: NameBasis, a: Tensor, known: Mapping[str, Tensor]
) -> tuple[str, float] | None:
    """The name whose coefficients have the largest cosine to a (2, components).

    None for the mean person, who has no direction.
    """
    if not a.any():
        return None
    of_names = basis.encode(torch.stack([*known.values()])).flatten(1)
    cosines = F.cosine_similarity(of_names, a.flatten(), dim=-1)  # (names,)
    return list(known)[int(cosines.argmax())], float(cosines.max())


def distance_from_mean(basis: NameBasis, a: Tensor) -> float:
    """Length of a (2, components), 1: half of the names are nearer; mean of slots."""
    return float((a.norm(dim=1) / basis.lengths[:, -1]).mean())


def vectors_by_name(
    base: StableDiffusionPipeline, basis: NameBasis
) -> dict[str, Tensor]:
    """The pairs of vectors (2, dim) of the names of a basis, as far as they are in it.

    Names that are not two tokens of the base, in a basis made as released, are left
    out. A basis of all directions gives a name's own vectors, without rounding.

    Raises:
        PersoError: the basis does not say its names.
    """
    found = {}
    for name in readable_names(base, basis.names)[0]:
        own = vectors_of(base, name).cpu()
        inside = basis.decode(basis.encode(own))
        found[name] = own if torch.allclose(inside, own, atol=1e-5) else inside
    if not found:
        raise PersoError(
            "The basis does not say of which names of two tokens it was made, so there "
            "is none to mix or to compare with: make it with build_basis(base, names)."
        )
    return found
