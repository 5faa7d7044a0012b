"""Wrong answers to the exercises of notebook 06, and which facts they fail.

✓ or ✗ for each fact, or "stops": with an exception.
"""

import torch
from torch.nn.functional import normalize

from perso_lite.teaching import solutions


def attention(queries, keys, values, prefix_key, prefix_value, bias, **changed):
    """The solution, with one of its decisions taken otherwise.

    Args:
        queries: as for the solution, like the others.
        keys: of the tokens.
        values: of the tokens.
        prefix_key: P_K.
        prefix_value: P_V.
        bias: b.
        changed: `diagonal` from which the future begins, or a `scale` of all logits.
    """
    future = torch.ones(len(keys), len(keys)).triu(changed.get("diagonal", 1)).bool()
    to_tokens = (queries @ keys.T).masked_fill(future, -torch.inf)
    logits = torch.cat([(queries @ prefix_key + bias)[:, None], to_tokens], 1)
    weights = (logits * changed.get("scale", 1)).softmax(1)
    return weights @ torch.cat([prefix_value[None], values])


def not_causal(*given):
    return attention(*given, diagonal=9)


def not_itself(*given):
    return attention(*given, diagonal=0)


def one_token_ahead(*given):
    return attention(*given, diagonal=2)


def scaled_twice(*given):
    return attention(*given, scale=7**-0.5)


def no_bias(q, k, v, prefix_key, prefix_value, bias):
    return attention(q, k, v, prefix_key, prefix_value, 0.0)


def bias_for_all(q, k, v, prefix_key, prefix_value, bias):
    weights = (q @ prefix_key + bias).exp()[:, None]
    tokens = (q @ k.T + bias).exp().tril()
    total = weights + tokens.sum(1, keepdim=True)
    return (weights * prefix_value + tokens @ v) / total


def prefix_last(q, k, v, prefix_key, prefix_value, bias):
    keys, values = torch.cat([k, prefix_key[None]]), torch.cat([v, prefix_value[None]])
    logits = q @ keys.T
    logits[:, -1] += bias
    return (
        logits.masked_fill(torch.ones_like(logits).triu(1).bool(), -torch.inf).softmax(
            1
        )
        @ values
    )


def values_swapped(q, k, v, prefix_key, prefix_value, bias):
    weights = torch.cat([(q @ prefix_key + bias)[:, None], q @ k.T], 1)
    weights[:, 1:] = weights[:, 1:].masked_fill(
        torch.ones(5, 5).triu(1) > 0, -torch.inf
    )
    return weights.softmax(1) @ torch.cat([v, prefix_value[None]])


def two_softmaxes(q, k, v, prefix_key, prefix_value, bias):
    plain = attention(q, k, v, prefix_key, prefix_value, -torch.inf)
    return plain + torch.sigmoid(q @ prefix_key + bias)[:, None] * (
        prefix_value - plain
    )


def added(q, k, v, prefix_key, prefix_value, bias):
    plain = attention(q, k, v, prefix_key, prefix_value, -torch.inf)
    return plain + (q @ prefix_key + bias).exp()[:, None] * prefix_value


def prefix_times_bias(q, k, v, prefix_key, prefix_value, bias):
    return attention(q, k, v, prefix_key * bias, prefix_value, 0.0)


def on(fill):
    """The solution, with another number in place of backgrounds."""

    def similarity(drawn, drawn_masks, known, known_masks):
        drawn = torch.where(drawn_masks, drawn, fill).flatten(1)
        known = torch.where(known_masks, known, fill).flatten(1)
        return (normalize(drawn) @ normalize(known).T).mean(1)

    return similarity


def not_masked(drawn, drawn_masks, known, known_masks):
    return (normalize(drawn.flatten(1)) @ normalize(known.flatten(1)).T).mean(1)


def drawn_alone(drawn, drawn_masks, known, known_masks):
    return solutions.masked_similarity(
        drawn, drawn_masks, known, torch.ones_like(known_masks)
    )


def known_alone(drawn, drawn_masks, known, known_masks):
    return solutions.masked_similarity(
        drawn, torch.ones_like(drawn_masks), known, known_masks
    )


def turned_masks(drawn, drawn_masks, known, known_masks):
    return solutions.masked_similarity(drawn, ~drawn_masks, known, ~known_masks)


def matched(drawn, drawn_masks, known, known_masks):
    pairs = zip(drawn, drawn_masks, known, known_masks, strict=False)
    return torch.stack(
        [solutions.masked_similarity(*(x[None] for x in pair))[0] for pair in pairs]
    )


def best(drawn, drawn_masks, known, known_masks):
    each = [
        solutions.masked_similarity(drawn, drawn_masks, k[None], m[None])
        for k, m in zip(known, known_masks, strict=True)
    ]
    return torch.stack(each).amax(0)


def mean_picture(drawn, drawn_masks, known, known_masks):
    known = torch.where(known_masks, known, 0.5).mean(0, keepdim=True)
    mask = torch.ones_like(known_masks[:1])
    return solutions.masked_similarity(drawn, drawn_masks, known, mask)


def not_normalized(drawn, drawn_masks, known, known_masks):
    drawn = torch.where(drawn_masks, drawn, 0.5).flatten(1)
    return (drawn @ torch.where(known_masks, known, 0.5).flatten(1).T).mean(1)


def one_for_each_known(drawn, drawn_masks, known, known_masks):
    return solutions.masked_similarity(known, known_masks, drawn, drawn_masks)


def one_number(*given):
    return solutions.masked_similarity(*given).mean()


WRONG = {
    "concatenated": {
        "not causal": (not_causal, "✗✓✗"),
        "not itself": (not_itself, "✗✓✗"),
        "one token ahead": (one_token_ahead, "✗✓✗"),
        "scaled twice": (scaled_twice, "✗✓✗"),
        "no bias": (no_bias, "✗✗✗"),
        "bias for all": (bias_for_all, "✗✗✗"),
        "prefix last": (prefix_last, "✓✗✗"),
        "values swapped": (values_swapped, "✗✗✗"),
        "two softmaxes": (two_softmaxes, "✓✓✗"),
        "added": (added, "✓✗✗"),
        "prefix times bias": (prefix_times_bias, "✗✗✗"),
        "plain": (lambda *given: attention(*given[:-1], -torch.inf), "✓✗✗"),
        "the prefix alone": (lambda *given: given[4].expand(5, 3), "✗✓✗"),
        "twice the bias": (lambda *given: attention(*given[:-1], 2 * given[-1]), "✓✓✗"),
        "key not concatenated": (
            lambda q, k, v, p, pv, b: torch.cat([p, k]) @ q.T,
            "stops",
        ),
    },
    "masked_similarity": {
        "not masked": (not_masked, "✗✓✗"),
        "drawn alone": (drawn_alone, "✗✗✗"),
        "known alone": (known_alone, "✗✗✗"),
        "turned masks": (turned_masks, "✗✓✗"),
        "matched": (matched, "✓✓✗"),
        "best": (best, "✓✓✗"),
        "mean picture": (mean_picture, "✓✓✗"),
        "not normalized": (not_normalized, "✓✗✗"),
        "one for each known": (one_for_each_known, "✓✓✗"),
        "one number": (one_number, "✓✗✗"),
        "on black": (on(0.0), "✓✓✗"),
        "on white": (on(1.0), "✓✓✗"),
        "sum over pairs": (
            lambda *given: solutions.masked_similarity(*given) * len(given[2]),
            "✓✓✗",
        ),
        "masks not broadcast": (
            lambda d, dm, k, km: d[dm] @ k[km],
            "stops",
        ),
    },
}
