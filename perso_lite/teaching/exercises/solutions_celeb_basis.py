"""Solutions to the exercises of notebook 07; a learner finds them in `solutions.py`."""

import torch
import torch.nn.functional as F
from torch import Tensor


def in_first_directions(vectors: Tensor, rows: Tensor, p: int) -> Tensor:
    """The nearest points to vectors in the space of the rows' first p directions.

    Args:
        vectors: (batch, dim).
        rows: what the principal component analysis is made of, (names, dim).
        p: how many directions are kept.

    Returns:
        m + (v - m) B^T B, (batch, dim).
    """
    mean = rows.mean(0)
    directions = torch.linalg.svd(rows - mean, full_matrices=False).Vh[:p]  # (p, dim)
    coefficients = (vectors - mean) @ directions.T  # (batch, p)
    return mean + coefficients @ directions


def person_vectors(
    weights: Tensor, mean: Tensor, directions: Tensor, lengths: Tensor, radius: float
) -> Tensor:
    """Both vectors of a person: v = m + r l h / |h| B, slot by slot.

    Args:
        weights: h, what is learned, (2, p).
        mean: m, of each slot, (2, dim).
        directions: B, of each slot, (2, p, dim).
        lengths: l, of each slot, (2,).
        radius: r; 0 is the mean person.

    Returns:
        (2, dim).
    """
    coefficients = radius * lengths[:, None] * F.normalize(weights, dim=1)  # (2, p)
    return mean + (coefficients[:, None] @ directions)[:, 0]
