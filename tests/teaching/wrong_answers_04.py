"""Wrong answers to the exercises of notebook 04, and which facts they fail.

✓ or ✗ for each fact, or "stops": with an exception.
"""

import torch

from perso_lite.teaching import solutions


def hard_gate(similarity, beta, tau):
    return (similarity > beta).float()


def no_beta(similarity, beta, tau):
    return torch.sigmoid(similarity / tau)


def beta_outside(similarity, beta, tau):
    return torch.sigmoid(similarity / tau - beta)


def no_tau(similarity, beta, tau):
    return torch.sigmoid(similarity - beta)


def times_tau(similarity, beta, tau):
    return torch.sigmoid((similarity - beta) * tau)


def upside_down(similarity, beta, tau):
    return torch.sigmoid((beta - similarity) / tau)


def plain_dot_product(states, target_input, inverse):
    return solutions.rest(states, target_input, torch.eye(len(inverse)))


def not_divided(states, target_input, inverse):
    shares = states @ inverse @ target_input
    return states - shares[..., None] * target_input


def all_of_it(states, target_input, inverse):
    return states - target_input


def along_the_metric(states, target_input, inverse):
    direction = inverse @ target_input
    return plain_dot_product(states, direction, inverse)


def covariance_for_inverse(states, target_input, inverse):
    return solutions.rest(states, target_input, torch.linalg.inv(inverse))


def of_the_first_text(states, target_input, inverse):
    return solutions.rest(states, target_input, inverse)[:1].expand_as(states)


def metric_direction_removed(states, target_input, inverse):
    direction = inverse @ target_input
    shares = states @ direction / (target_input @ direction)
    return states - shares[..., None] * direction


WRONG = {
    "gate": {
        "hard gate": (hard_gate, "✗✓✗"),
        "no beta": (no_beta, "✗✓✗"),
        "beta outside": (beta_outside, "✗✓✗"),
        "no tau": (no_tau, "✓✓✗"),
        "times tau": (times_tau, "✓✗✗"),
        "upside down": (upside_down, "✓✗✗"),
        "similarity itself": (lambda similarity, beta, tau: similarity, "✗✗✗"),
        "beta added": (lambda s, beta, tau: torch.sigmoid((s + beta) / tau), "✗✓✗"),
        "tau outside": (lambda s, beta, tau: torch.sigmoid(s - beta) / tau, "✗✗✗"),
        "beta and tau swapped": (
            lambda s, beta, tau: solutions.gate(s, tau, beta),
            "✗✓✗",
        ),
        "tanh": (lambda s, beta, tau: torch.tanh((s - beta) / tau), "✗✗✗"),
        "straight line": (
            lambda s, beta, tau: ((s - beta) / tau + 0.5).clamp(0, 1),
            "✓✓✗",
        ),
        "half the slope": (
            lambda s, beta, tau: torch.sigmoid((s - beta) / (2 * tau)),
            "✓✓✗",
        ),
        "tau squared": (lambda s, beta, tau: torch.sigmoid((s - beta) / tau**2), "✓✓✗"),
        "softmax": (lambda s, beta, tau: ((s - beta) / tau).softmax(-1), "✗✓✗"),
        "brackets forgotten": (
            lambda s, beta, tau: torch.sigmoid(s - beta / tau),
            "✗✓✗",
        ),
        "mean": (lambda s, beta, tau: solutions.gate(s, beta, tau).mean(), "✗✗✗"),
        "steep step": (
            lambda s, beta, tau: torch.heaviside(s - beta, torch.tensor(0.5)),
            "✓✓✗",
        ),
        "fixed beta": (lambda s, beta, tau: torch.sigmoid((s - 0.65) / tau), "✓✓✗"),
        "fixed tau": (lambda s, beta, tau: torch.sigmoid((s - beta) / 0.15), "✓✓✗"),
    },
    "rest": {
        "plain dot product": (plain_dot_product, "✓✗✗"),
        "not divided": (not_divided, "✗✗✗"),
        "all of it": (all_of_it, "✓✗✗"),
        "along the metric": (along_the_metric, "✗✓✗"),
        "covariance for inverse": (covariance_for_inverse, "✓✗✗"),
        "of the first text": (of_the_first_text, "✓✓✗"),
        "zeros": (lambda states, i, inverse: torch.zeros_like(states), "✓✓✗"),
        "unchanged": (lambda states, i, inverse: states, "✗✗✗"),
        "added": (lambda e, i, inverse: 2 * e - solutions.rest(e, i, inverse), "✗✗✗"),
        "component alone": (
            lambda e, i, inverse: e - solutions.rest(e, i, inverse),
            "✗✗✗",
        ),
        "shares alone": (
            lambda e, i, inverse: e @ inverse @ i / (i @ inverse @ i),
            "stops",
        ),
        "root of the length": (
            lambda e, i, inverse: (
                e - (e @ inverse @ i / (i @ inverse @ i).sqrt())[..., None] * i
            ),
            "✗✗✗",
        ),
        "divided by plain length": (
            lambda e, i, inverse: e - (e @ inverse @ i / (i @ i))[..., None] * i,
            "✗✗✗",
        ),
        "metric direction removed": (metric_direction_removed, "✗✗✗"),
        "shares clamped": (
            lambda e, i, inverse: (
                e - (e @ inverse @ i / (i @ inverse @ i)).clamp(0, 1)[..., None] * i
            ),
            "✓✗✗",
        ),
        "mean share": (
            lambda e, i, inverse: e - (e @ inverse @ i / (i @ inverse @ i)).mean() * i,
            "✓✗✗",
        ),
        "not broadcast": (
            lambda e, i, inverse: e - (e @ inverse @ i / (i @ inverse @ i)) * i,
            "stops",
        ),
        "share of each text": (
            lambda e, i, inverse: (
                e - (e.mean(1, True) @ inverse @ i / (i @ inverse @ i))[..., None] * i
            ),
            "✓✗✗",
        ),
        "metric twice": (
            lambda e, i, inverse: solutions.rest(e, i, inverse @ inverse),
            "✓✗✗",
        ),
        "divided by the state": (
            lambda e, i, inverse: (
                e - (e @ inverse @ i / (e @ inverse * e).sum(-1))[..., None] * i
            ),
            "✓✗✗",
        ),
        "first token alone": (
            lambda e, i, inverse: solutions.rest(e, i, inverse)[:, :1],
            "✗✗✗",
        ),
    },
}
