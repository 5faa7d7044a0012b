"""Wrong answers to the exercises of notebook 03, and which facts they fail.

✓ or ✗ for each fact, or "stops": with an exception.
"""

import torch
from torch.nn.functional import normalize

from perso_lite.teaching import solutions


def in_place(embeddings, input_ids, placeholder_id, vector):
    embeddings[input_ids == placeholder_id] = vector
    return embeddings


def detached(embeddings, input_ids, placeholder_id, vector):
    return solutions.inject(embeddings, input_ids, placeholder_id, vector.detach())


def first_only(embeddings, input_ids, placeholder_id, vector):
    embeddings = embeddings.clone()
    embeddings[0, 1] = embeddings[1, 2] = vector
    return embeddings


def the_others(embeddings, input_ids, placeholder_id, vector):
    ours = (input_ids != placeholder_id)[..., None]
    return torch.where(ours, vector, embeddings)


def added(embeddings, input_ids, placeholder_id, vector):
    return embeddings + (input_ids == placeholder_id)[..., None] * vector


def per_picture(alpha_bar):
    return alpha_bar[:, None, None, None]


def no_roots(latents, noise, alpha_bar):
    return per_picture(alpha_bar) * latents + per_picture(1 - alpha_bar) * noise


def roles_swapped(latents, noise, alpha_bar):
    return solutions.noisy_latents(noise, latents, alpha_bar)


def noise_left_out(latents, noise, alpha_bar):
    return per_picture(alpha_bar).sqrt() * latents


def one_for_all(latents, noise, alpha_bar):
    return solutions.noisy_latents(latents, noise, alpha_bar[:1].expand(3))


def first_of_each_prompt(embeddings, input_ids, placeholder_id, vector):
    embeddings = embeddings.clone()
    first = (input_ids == placeholder_id).int().argmax(1)
    embeddings[range(len(first)), first] = vector
    return embeddings


def copied_numbers(embeddings, input_ids, placeholder_id, vector):
    embeddings = embeddings.clone()
    embeddings[input_ids == placeholder_id] = torch.tensor(vector.tolist())
    return embeddings


def at_position_of_the_id(embeddings, input_ids, placeholder_id, vector):
    embeddings = embeddings.clone()
    embeddings[:, placeholder_id] = vector
    return embeddings


@torch.no_grad()
def gradient_off(embeddings, input_ids, placeholder_id, vector):
    return solutions.inject(embeddings, input_ids, placeholder_id, vector)


WRONG = {
    "inject": {
        "in place": (in_place, "✓✗✓"),
        "detached": (detached, "✓✓✗"),
        "first only": (first_only, "✗✓✓"),
        "the others": (the_others, "✗✗✓"),
        "added": (added, "✗✓✓"),
        "unchanged": (lambda embeddings, ids, id_, vector: embeddings, "✗✓✗"),
        "zeros": (lambda embeddings, ids, id_, vector: 0 * embeddings, "✗✗✗"),
        "first of each prompt": (first_of_each_prompt, "✗✗✓"),
        "the largest id": (
            lambda e, ids, id_, vector: solutions.inject(e, ids, ids.max(), vector),
            "✗✗✓",
        ),
        "from that id on": (
            lambda e, ids, id_, vector: torch.where((ids >= id_)[..., None], vector, e),
            "✓✗✓",
        ),
        "next id": (
            lambda e, ids, id_, vector: solutions.inject(e, ids, id_ + 1, vector),
            "✗✓✗",
        ),
        "next position": (
            lambda e, ids, id_, vector: solutions.inject(
                e, ids.roll(1, 1), id_, vector
            ),
            "✗✗✓",
        ),
        "whole prompt": (
            lambda e, ids, id_, vector: torch.where(
                (ids == id_).any(1)[:, None, None], vector, e
            ),
            "✓✗✓",
        ),
        "not reshaped": (
            lambda e, ids, id_, vector: torch.where(ids == id_, vector, e),
            "stops",
        ),
        "copied numbers": (copied_numbers, "✓✓✗"),
        "at position of the id": (at_position_of_the_id, "stops"),
        "averaged": (
            lambda e, ids, id_, vector: (e + solutions.inject(e, ids, id_, vector)) / 2,
            "✗✓✓",
        ),
        "unit length": (
            lambda e, ids, id_, vector: solutions.inject(
                e, ids, id_, normalize(vector, dim=0)
            ),
            "✗✓✓",
        ),
        "vectors alone": (
            lambda e, ids, id_, vector: vector.expand(int((ids == id_).sum()), -1),
            "stops",
        ),
        "gradient off": (gradient_off, "✓✓✗"),
    },
    "noisy_latents": {
        "no roots": (no_roots, "✓✓✗"),
        "roles swapped": (roles_swapped, "✗✗✗"),
        "noise left out": (noise_left_out, "✓✗✗"),
        "one for all": (one_for_all, "✓✓✗"),
        "latents alone": (lambda latents, noise, a: latents, "✓✗✗"),
        "zeros": (lambda latents, noise, a: torch.zeros_like(noise), "✗✗✗"),
        "root of signal alone": (
            lambda z, eps, a: per_picture(a).sqrt() * z + per_picture(1 - a) * eps,
            "✓✓✗",
        ),
        "root of noise alone": (
            lambda z, eps, a: per_picture(a) * z + per_picture(1 - a).sqrt() * eps,
            "✓✓✗",
        ),
        "one minus root": (
            lambda z, eps, a: (
                per_picture(a).sqrt() * z + (1 - per_picture(a).sqrt()) * eps
            ),
            "✓✓✗",
        ),
        "alpha for alpha bar": (
            lambda z, eps, a: (
                per_picture(a) * z + (1 - per_picture(a) ** 2).sqrt() * eps
            ),
            "✓✓✗",
        ),
        "signal not scaled": (
            lambda z, eps, a: z + per_picture(1 - a).sqrt() * eps,
            "✓✗✗",
        ),
        "noise not scaled": (lambda z, eps, a: per_picture(a).sqrt() * z + eps, "✗✓✗"),
        "noise subtracted": (
            lambda z, eps, a: solutions.noisy_latents(z, -eps, a),
            "✓✗✗",
        ),
        "mean of all": (
            lambda z, eps, a: solutions.noisy_latents(z, eps, a.mean().expand(3)),
            "✓✓✗",
        ),
        "reversed batch": (
            lambda z, eps, a: solutions.noisy_latents(z, eps, a.flip(0)),
            "✓✓✗",
        ),
        "squares": (
            lambda z, eps, a: per_picture(a) ** 2 * z + per_picture(1 - a) ** 2 * eps,
            "✓✓✗",
        ),
        "not broadcast": (
            lambda z, eps, a: a.sqrt() * z + (1 - a).sqrt() * eps,
            "stops",
        ),
        "first picture alone": (
            lambda z, eps, a: solutions.noisy_latents(z, eps, a)[:1],
            "✗✗✗",
        ),
        "noise of one": (
            lambda z, eps, a: solutions.noisy_latents(z, eps[:1].expand_as(z), a),
            "✓✗✗",
        ),
        "noise scaled too": (
            lambda z, eps, a: (
                per_picture(a).sqrt() * (z + per_picture(1 - a).sqrt() * eps)
            ),
            "✓✗✗",
        ),
    },
}
