"""Wrong answers to the exercises of notebook 08, and which facts they fail.

✓ or ✗ for each fact, or "stops": with an exception.
"""

import torch
from torch.nn.functional import cosine_similarity, mse_loss

from perso_lite.teaching import solutions


def started(ids, word):
    return ((ids == word).cumsum(1) > 0).float()


def ended(ids, end):
    return ((ids == end).cumsum(1) > 0).float()


WRONG = {
    "low_rank": {
        "scale forgotten": (lambda x, a, b, s: x @ a.T @ b.T, "✓✓✗"),
        "scale squared": (lambda x, a, b, s: s * s * (x @ a.T) @ b.T, "✓✓✗"),
        "divided by the scale": (lambda x, a, b, s: (x @ a.T) @ b.T / s, "✓✓✗"),
        "scale added": (lambda x, a, b, s: (x @ a.T) @ b.T + s - 1, "✓✓✗"),
        "divided by the rank": (
            lambda x, a, b, s: s * (x @ a.T) @ b.T / len(a),
            "✓✗✗",
        ),
        "scale over the rank": (
            lambda x, a, b, s: s * (x @ a.T) @ b.T * len(a),
            "✓✗✗",
        ),
        "with a bend": (lambda x, a, b, s: s * (x @ a.T).relu() @ b.T, "✓✗✗"),
        "subtracted": (lambda x, a, b, s: -s * (x @ a.T) @ b.T, "✓✗✗"),
        "first rank alone": (
            lambda x, a, b, s: s * (x @ a[:1].T) @ b[:, :1].T,
            "✓✗✗",
        ),
        "first token alone": (
            lambda x, a, b, s: s * (x[:, :1] @ a.T @ b.T).expand(-1, 5, -1),
            "✓✗✗",
        ),
        "first text alone": (
            lambda x, a, b, s: s * (x[:1] @ a.T @ b.T).expand(3, -1, -1),
            "✓✗✗",
        ),
        "mean over tokens": (
            lambda x, a, b, s: s * (x.mean(1, True) @ a.T @ b.T).expand(-1, 5, -1),
            "✓✗✗",
        ),
        "A alone": (lambda x, a, b, s: s * x @ a.T, "✗✗✗"),
        "not transposed": (lambda x, a, b, s: s * x @ a @ b, "stops"),
        "B first": (lambda x, a, b, s: s * x @ b.T @ a.T, "stops"),
        "the matrix alone": (lambda x, a, b, s: s * b @ a, "✗✗✗"),
        "on the last token": (
            lambda x, a, b, s: s * x[:, -1] @ a.T @ b.T,
            "✗✗✗",
        ),
        "zeros": (lambda x, a, b, s: torch.zeros(3, 5, 11), "✓✗✗"),
        "x added": (
            lambda x, a, b, s: x.sum(-1, True) + solutions.low_rank(x, a, b, s),
            "✓✗✗",
        ),
    },
    "knowledge_loss": {
        "cosine itself": (lambda a, b: cosine_similarity(a, b, dim=-1).mean(), "✗✗✗"),
        "minus the cosine": (
            lambda a, b: -cosine_similarity(a, b, dim=-1).mean(),
            "✗✗✗",
        ),
        "squared error": (lambda a, b: mse_loss(a, b), "✗✗✗"),
        "dot product": (lambda a, b: (1 - (a * b).sum(-1)).mean(), "✗✗✗"),
        "one side normalized": (
            lambda a, b: (1 - (a * b).sum(-1) / a.norm(dim=-1)).mean(),
            "✗✗✗",
        ),
        "a sum": (lambda a, b: (1 - cosine_similarity(a, b, dim=-1)).sum(), "✗✗✗"),
        "no mean": (lambda a, b: 1 - cosine_similarity(a, b, dim=-1), "✗✗✗"),
        "mean over texts alone": (
            lambda a, b: (1 - cosine_similarity(a, b, dim=-1)).mean(0),
            "✗✗✗",
        ),
        "along the tokens": (
            lambda a, b: (1 - cosine_similarity(a, b, dim=1)).mean(),
            "✓✗✗",
        ),
        "along the texts": (
            lambda a, b: (1 - cosine_similarity(a, b, dim=0)).mean(),
            "✓✗✗",
        ),
        "of whole texts": (
            lambda a, b: (1 - cosine_similarity(a.flatten(1), b.flatten(1))).mean(),
            "✓✗✗",
        ),
        "of the mean states": (
            lambda a, b: (1 - cosine_similarity(a.mean(1), b.mean(1))).mean(),
            "✓✗✗",
        ),
        "first position alone": (
            lambda a, b: (1 - cosine_similarity(a[:, 0], b[:, 0])).mean(),
            "✓✗✗",
        ),
        "start token left out": (
            lambda a, b: (1 - cosine_similarity(a[:, 1:], b[:, 1:], dim=-1)).mean(),
            "✓✗✗",
        ),
        "squared": (
            lambda a, b: (1 - cosine_similarity(a, b, dim=-1)).square().mean(),
            "✗✗✗",
        ),
        "absolute cosine": (
            lambda a, b: (1 - cosine_similarity(a, b, dim=-1).abs()).mean(),
            "✗✗✗",
        ),
        "halved": (
            lambda a, b: (1 - cosine_similarity(a, b, dim=-1)).mean() / 2,
            "✗✗✗",
        ),
        "largest": (
            lambda a, b: (1 - cosine_similarity(a, b, dim=-1)).max(),
            "✓✗✗",
        ),
        "distance of unit vectors": (
            lambda a, b: 2 * solutions.knowledge_loss(a, b),
            "✗✗✗",
        ),
        "of normalized sizes": (
            lambda a, b: (1 - (a * b).sum(-1) / a.square().sum(-1)).mean(),
            "✓✗✗",
        ),
    },
    "word_to_end": {
        "the word alone": (lambda ids, word, end: ids == word, "✗✗✓"),
        "to the very end": (lambda ids, word, end: started(ids, word), "✓✗✓"),
        "before the end": (
            lambda ids, word, end: started(ids, word) * (1 - ended(ids, end)),
            "✗✗✓",
        ),
        "from the start": (
            lambda ids, word, end: (ids == word).any(1, True).float().expand(ids.shape),
            "✗✗✓",
        ),
        "all": (lambda ids, word, end: torch.ones(ids.shape), "✗✗✗"),
        "none": (lambda ids, word, end: torch.zeros(ids.shape), "✗✗✓"),
        "without the word itself": (
            lambda ids, word, end: (
                solutions.word_to_end(ids, word, end) * (ids != word)
            ),
            "✗✗✓",
        ),
        "counted": (
            lambda ids, word, end: (
                (ids == word).cumsum(1) * solutions.word_to_end(ids, word, end)
            ),
            "✗✓✓",
        ),
        "pads by their id": (
            lambda ids, word, end: started(ids, word) * (ids != end),
            "✗✗✓",
        ),
        "word and end": (
            lambda ids, word, end: ((ids == word) | (ids == end)).float(),
            "✗✗✗",
        ),
        "between words": (
            lambda ids, word, end: (
                (ids == word).cumsum(1) % 2 * solutions.word_to_end(ids, word, end)
            ),
            "✗✓✓",
        ),
        "inverted": (
            lambda ids, word, end: 1 - solutions.word_to_end(ids, word, end),
            "✗✗✗",
        ),
        "up to the word": (
            lambda ids, word, end: 1 - started(ids, word),
            "✗✗✗",
        ),
        "end everywhere": (
            lambda ids, word, end: (
                solutions.word_to_end(ids, word, end) + (ids == end)
            ).clamp(max=1),
            "✓✗✗",
        ),
        "pads without an id": (
            lambda ids, word, end: started(ids, word) * (ids > 0),
            "✓✗✓",
        ),
        "first text's place": (
            lambda ids, word, end: solutions.word_to_end(ids, word, end)[:1].expand(
                ids.shape
            ),
            "✗✗✓",
        ),
        "along the texts": (
            lambda ids, word, end: ((ids == word).cumsum(0) > 0).float(),
            "✗✗✓",
        ),
        "as a mean": (
            lambda ids, word, end: solutions.word_to_end(ids, word, end).mean(),
            "✗✗✗",
        ),
    },
}
