"""Wrong answers to the exercises of notebook 07, and which facts they fail.

✓ or ✗ for each fact, or "stops": with an exception.
"""

import torch
import torch.nn.functional as F

from perso_lite.teaching import solutions


def projected(vectors, rows, p, **changed):
    """The solution, with one of its decisions taken otherwise.

    Args:
        vectors: as for the solution, like the others.
        rows: of the names.
        p: directions to keep.
        changed: the `center` of the rows, the point to measure from, `start`, the point
            to come back to, `end`, or which directions are `kept`.
    """
    mean = rows.mean(0)
    center, start, end = (changed.get(n, mean) for n in ("center", "start", "end"))
    directions = torch.linalg.svd(rows - center, full_matrices=False).Vh
    directions = directions[changed.get("kept", slice(p))]
    return end + (vectors - start) @ directions.T @ directions


def not_centered(vectors, rows, p):
    return projected(vectors, rows, p, center=0, start=0, end=0)


def pca_not_centered(vectors, rows, p):
    return projected(vectors, rows, p, center=0)


def not_subtracted(vectors, rows, p):
    return projected(vectors, rows, p, start=0)


def not_added(vectors, rows, p):
    return projected(vectors, rows, p, end=0)


def last_directions(vectors, rows, p):
    return projected(vectors, rows, p, kept=slice(-p, None))


def one_too_few(vectors, rows, p):
    return projected(vectors, rows, p, kept=slice(p - 1))


def one_too_many(vectors, rows, p):
    return projected(vectors, rows, p, kept=slice(p + 1))


def first_missed(vectors, rows, p):
    return projected(vectors, rows, p, kept=slice(1, p + 1))


def mean_of_vectors(vectors, rows, p):
    mean = vectors.mean(0)
    return projected(vectors, rows, p, start=mean, end=mean)


def median_name(vectors, rows, p):
    middle = rows.median(0).values
    return projected(vectors, rows, p, center=middle, start=middle, end=middle)


def whitened(vectors, rows, p):
    mean = rows.mean(0)
    _, singular, directions = torch.linalg.svd(rows - mean, full_matrices=False)
    return mean + (vectors - mean) @ directions[:p].T / singular[:p] @ directions[:p]


def columns_for_rows(vectors, rows, p):
    directions = torch.linalg.svd(rows - rows.mean(0), full_matrices=False).Vh[:, :p]
    return rows.mean(0) + (vectors - rows.mean(0)) @ directions @ directions.T


def of_normed_rows(vectors, rows, p):
    unit = (rows - rows.mean(0)) / rows.std(0)
    directions = torch.linalg.svd(unit, full_matrices=False).Vh[:p]
    return rows.mean(0) + (vectors - rows.mean(0)) @ directions.T @ directions


def first_axes(vectors, rows, p):
    kept = (torch.arange(rows.shape[1]) < p).float()
    return rows.mean(0) + (vectors - rows.mean(0)) * kept


def coefficients_alone(vectors, rows, p):
    directions = torch.linalg.svd(rows - rows.mean(0), full_matrices=False).Vh[:p]
    return (vectors - rows.mean(0)) @ directions.T


def left_vectors(vectors, rows, p):
    directions = torch.linalg.svd(rows - rows.mean(0)).U[:p]
    return rows.mean(0) + (vectors - rows.mean(0)) @ directions.T @ directions


def placed(coefficients, mean, directions):
    """M + a B, slot by slot."""
    return mean + torch.einsum("kp,kpd->kd", coefficients, directions)


def not_normalized(weights, mean, directions, lengths, radius):
    return placed(radius * lengths[:, None] * weights, mean, directions)


def jointly(weights, mean, directions, lengths, radius):
    unit = weights / weights.norm()
    return placed(radius * lengths[:, None] * unit, mean, directions)


def along_slots(weights, mean, directions, lengths, radius):
    unit = F.normalize(weights, dim=0)
    return placed(radius * lengths[:, None] * unit, mean, directions)


def length_one(weights, mean, directions, lengths, radius):
    return placed(radius * F.normalize(weights, dim=1), mean, directions)


def lengths_swapped(weights, mean, directions, lengths, radius):
    return solutions.person_vectors(weights, mean, directions, lengths.flip(0), radius)


def mean_length(weights, mean, directions, lengths, radius):
    same = lengths.mean().expand(2)
    return solutions.person_vectors(weights, mean, directions, same, radius)


def no_mean(weights, mean, directions, lengths, radius):
    return solutions.person_vectors(weights, 0 * mean, directions, lengths, radius)


def one_mean(weights, mean, directions, lengths, radius):
    middle = mean.mean(0).expand(2, -1)
    return solutions.person_vectors(weights, middle, directions, lengths, radius)


def no_radius(weights, mean, directions, lengths, radius):
    return solutions.person_vectors(weights, mean, directions, lengths, 1.0)


def radius_squared(weights, mean, directions, lengths, radius):
    return solutions.person_vectors(weights, mean, directions, lengths, radius**2)


def softmax(weights, mean, directions, lengths, radius):
    shares = weights.softmax(1)
    return placed(radius * lengths[:, None] * shares, mean, directions)


def sum_to_one(weights, mean, directions, lengths, radius):
    shares = weights / weights.sum(1, keepdim=True)
    return placed(radius * lengths[:, None] * shares, mean, directions)


def one_basis(weights, mean, directions, lengths, radius):
    first = directions[:1].expand(2, -1, -1)
    return solutions.person_vectors(weights, mean, first, lengths, radius)


def vector_normalized(weights, mean, directions, lengths, radius):
    vectors = F.normalize(placed(weights, mean, directions), dim=1)
    return radius * lengths[:, None] * vectors


def squares_sum_to_one(weights, mean, directions, lengths, radius):
    unit = weights / weights.square().sum(1, keepdim=True)
    return placed(radius * lengths[:, None] * unit, mean, directions)


def from_the_left(weights, mean, directions, lengths, radius):
    return mean + directions @ weights


WRONG = {
    "in_first_directions": {
        "not centered": (not_centered, "✗✓✗"),
        "PCA not centered": (pca_not_centered, "✓✓✗"),
        "mean not subtracted": (not_subtracted, "✗✗✗"),
        "mean not added": (not_added, "✗✗✗"),
        "last directions": (last_directions, "✓✓✗"),
        "one too few": (one_too_few, "✓✗✗"),
        "one too many": (one_too_many, "✓✓✗"),
        "the first is missed": (first_missed, "✓✗✗"),
        "mean of the vectors": (mean_of_vectors, "✓✓✗"),
        "median": (median_name, "✗✓✗"),
        "whitened": (whitened, "✓✗✗"),
        "columns for rows": (columns_for_rows, "✓✓✗"),
        "of normed rows": (of_normed_rows, "✓✓✗"),
        "first axes": (first_axes, "✓✓✗"),
        "coefficients alone": (coefficients_alone, "✗✗✗"),
        "left vectors": (left_vectors, "stops"),
    },
    "person_vectors": {
        "not normalized": (not_normalized, "✓✗✗"),
        "both slots jointly": (jointly, "✓✗✗"),
        "along the slots": (along_slots, "✓✗✗"),
        "length one": (length_one, "✓✓✗"),
        "lengths swapped": (lengths_swapped, "✓✓✗"),
        "mean length": (mean_length, "✓✓✗"),
        "no mean": (no_mean, "✗✓✗"),
        "one mean": (one_mean, "✗✓✗"),
        "no radius": (no_radius, "✗✓✗"),
        "radius squared": (radius_squared, "✓✓✗"),
        "softmax": (softmax, "✓✗✗"),
        "sum to one": (sum_to_one, "✓✓✗"),
        "one basis": (one_basis, "✓✓✗"),
        "vectors normalized": (vector_normalized, "✗✗✗"),
        "squares sum to one": (squares_sum_to_one, "✓✗✗"),
        "from the left": (from_the_left, "stops"),
    },
}
