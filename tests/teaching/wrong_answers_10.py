"""Wrong answers to the exercises of notebook 10, and which facts they fail.

✓ or ✗ for each fact, or "stops": with an exception.
"""

import torch


def laplacian(gray):
    vertical, horizontal = gray[:-2] + gray[2:], gray[:, :-2] + gray[:, 2:]
    return vertical[:, 1:-1] + horizontal[1:-1] - 4 * gray[1:-1, 1:-1]


def rolled(gray):
    """The Laplacian of a picture whose ends are joined."""
    moves = [(1, 0), (-1, 0), (1, 1), (-1, 1)]
    return sum(gray.roll(*move) for move in moves) - 4 * gray


WRONG = {
    "sharpness": {
        "a mean": (lambda g: laplacian(g).mean(), "✓✗✗"),
        "a mean of sizes": (lambda g: laplacian(g).abs().mean(), "✓✗✗"),
        "a sum": (lambda g: laplacian(g).square().sum(), "✓✗✗"),
        "a root": (lambda g: laplacian(g).square().mean().sqrt(), "✓✗✗"),
        "the largest": (lambda g: laplacian(g).abs().max(), "✓✗✗"),
        "unbiased variance": (lambda g: laplacian(g).var(), "✓✗✗"),
        "not reduced": (lambda g: laplacian(g).square(), "✗✗✗"),
        "ends joined": (lambda g: rolled(g).square().mean(), "✗✗✗"),
        "one neighbor": (lambda g: g.diff(dim=1).square().mean(), "✗✗✗"),
        "left and right alone": (
            lambda g: (g[:, :-2] + g[:, 2:] - 2 * g[:, 1:-1]).square().mean(),
            "✓✗✗",
        ),
        "once itself": (
            lambda g: (laplacian(g) + 3 * g[1:-1, 1:-1]).square().mean(),
            "✗✗✗",
        ),
        "contrast": (lambda g: g.var(correction=0), "✗✗✗"),
        "no picture": (lambda g: None, "stops"),
        "edges cut": (lambda g: laplacian(g)[1:-1, 1:-1].square().mean(), "✓✗✗"),
        "columns alone": (
            lambda g: (g[:-2] + g[2:] - 2 * g[1:-1]).square().mean(),
            "✓✗✗",
        ),
        "always zero": (lambda g: torch.zeros(()), "✓✗✗"),
    },
}
