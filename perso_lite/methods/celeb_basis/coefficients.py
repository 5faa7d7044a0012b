"""Where coefficients come from: free numbers, or the paper's network of one layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perso_lite.errors import PersoError, check_finite
from perso_lite.methods.celeb_basis.names import SLOTS

SOURCES = ("free", "network")
SLOPE = 0.2  # of LeakyReLU (released code)


class CoefficientNetwork(nn.Module):
    """h = LeakyReLU(W f + c), for the feature f of a face.

    The published method trains this network and, when it is done, throws it away and
    keeps what it gives for the photo. One network may serve several people, who differ
    by their features alone.

    Args:
        feature_dim: length of f (paper: 512).
        num_components: p, of each slot.
        seed: of W, which is drawn from N(0, 1) as in the released code; c is 0.
    """

    def __init__(self, feature_dim: int, num_components: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shape = (SLOTS * num_components, feature_dim)
        self.weight = nn.Parameter(torch.randn(shape, generator=generator))  # W
        self.bias = nn.Parameter(torch.zeros(shape[0]))  # c

    def forward(self, feature: Tensor) -> Tensor:
        """Coefficients (..., 2, p) before their length is set, of f (..., dim)."""
        h = F.leaky_relu(F.linear(feature, self.weight, self.bias), SLOPE)
        return h.unflatten(-1, (SLOTS, -1))

    def checked(self, feature_dim: int, num_components: int) -> "CoefficientNetwork":
        """Itself, if it is of these sizes.

        Raises:
            PersoError: it is of others.
        """
        if self.weight.shape != (SLOTS * num_components, feature_dim):
            raise PersoError(
                f"The shared network makes {len(self.weight)} numbers of features of "
                f"length {self.weight.shape[1]}, but {SLOTS} x {num_components} of "
                f"length {feature_dim} are needed: share one between people with the "
                "same basis and face network."
            )
        return self


def on_sphere(h: Tensor, radius: float | Tensor) -> Tensor:
    """Coefficients of length `radius` in each slot, (..., 2, p).

    Only the direction of h counts, so its gradient has no part along h; 0 stays 0.
    """
    return F.normalize(h, dim=-1) * radius


def check_source(source: str, decay: float) -> None:
    """Refuse an unknown source of coefficients, or an average that cannot be made.

    Raises:
        PersoError: source is none of `SOURCES`, or decay out of range.
    """
    if source not in SOURCES:
        raise PersoError(f'source is "{source}"; choose from {", ".join(SOURCES)}.')
    check_finite("decay", decay, least=0)
    if decay >= 1:
        raise PersoError(
            f"decay is {decay}, but it is the part of the average that a step leaves: "
            "from 0 to less than 1, for example 0.99."
        )
