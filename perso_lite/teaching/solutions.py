"""The exercises' solutions: plain functions, each a formula of its notebook."""

import torch
from torch import Tensor

# -- notebook 01: a tiny text-to-image model -------------------------------------------


def cross_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What the words tell each position of a picture: softmax(Q Kᵀ / √dim) V.

    Args:
        queries: (positions, dim), from the picture.
        keys: (tokens, dim), from the text.
        values: (tokens, value_dim), from the text.

    Returns:
        (positions, value_dim).
    """
    scores = queries @ keys.T / queries.shape[1] ** 0.5  # (positions, tokens)
    weights = scores.softmax(dim=1)  # (positions, tokens), each row sums to 1
    return weights @ values


def guided_noise(unprompted: Tensor, prompted: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance: past the prompt, away from no prompt.

    Args:
        unprompted: noise predicted without a prompt, (batch, channels, height,
            width).
        prompted: noise predicted with the prompt, the same shape.
        guidance_scale: 0 ignores the prompt, 1 follows it, more exaggerates it.

    Returns:
        The noise to take away, the same shape.
    """
    return unprompted + guidance_scale * (prompted - unprompted)


# -- notebook 02: where words look -----------------------------------------------------


def intersection_over_union(heat: Tensor, mask: Tensor) -> Tensor:
    """How well a word's map covers the thing it names.

    The map is "on" where it reaches half of its own maximum, as in
    `metrics.attention_against_mask`.

    Args:
        heat: attention that the word gets, (height, width), not negative.
        mask: where the thing is, bool (height, width).

    Returns:
        A number () in [0, 1].
    """
    on = (heat >= heat.max() / 2) & (heat > 0)
    return (on & mask).sum() / (on | mask).sum()


def leaked_share(heat: Tensor, mask: Tensor) -> Tensor:
    """The share of a word's attention that falls beside the thing it names.

    Args:
        heat: attention that the word gets, (height, width), not negative.
        mask: where the thing is, bool (height, width).

    Returns:
        A number () in [0, 1].
    """
    return heat[~mask].sum() / heat.sum()


# -- notebook 03: textual inversion ----------------------------------------------------


def inject(
    embeddings: Tensor, input_ids: Tensor, placeholder_id: int, vector: Tensor
) -> Tensor:
    """Let a new word have a vector that the embedding table does not hold.

    Args:
        embeddings: as read from the table, (batch, tokens, dim); left as they are.
        input_ids: the prompts' tokens, (batch, tokens).
        placeholder_id: the new word's id.
        vector: the new word's vector (dim,), which gradients reach.

    Returns:
        New embeddings, (batch, tokens, dim).
    """
    is_placeholder = (input_ids == placeholder_id)[..., None]  # (batch, tokens, 1)
    return torch.where(is_placeholder, vector, embeddings)


def noisy_latents(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Mix latents and noise: z_t = √alpha_bar z + √(1 - alpha_bar) eps.

    Args:
        latents: (batch, channels, height, width).
        noise: the same shape.
        alpha_bar: how much of each picture is left at its timestep, (batch,) in [0, 1].

    Returns:
        The same shape as the latents.
    """
    alpha_bar = alpha_bar[:, None, None, None]  # (batch, 1, 1, 1)
    return alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise


# -- notebook 04: perfusion ------------------------------------------------------------


def gate(similarity: Tensor, beta: float, tau: float) -> Tensor:
    """How loud a concept is where so much of it is found: sigmoid((s - beta) / tau).

    Args:
        similarity: the share of i* in text states, any shape; 1 for i* itself.
        beta: where the gate is half open.
        tau: how soft it is, positive.

    Returns:
        Numbers in [0, 1], the same shape.
    """
    return torch.sigmoid((similarity - beta) / tau)


def rest(states: Tensor, target_input: Tensor, inverse: Tensor) -> Tensor:
    """What is left of text states without one concept: e - s i*.

    The share s = <i*, e> / <i*, i*> is measured in the metric <a, b> = a^T C^-1 b.

    Args:
        states: e, (batch, tokens, dim).
        target_input: i*, (dim,).
        inverse: C^-1, (dim, dim), symmetric.

    Returns:
        (batch, tokens, dim).
    """
    direction = inverse @ target_input  # (dim,)
    shares = states @ direction / (target_input @ direction)  # (batch, tokens)
    return states - shares[..., None] * target_input


# -- notebook 05: neti -----------------------------------------------------------------


def waves(points: Tensor, frequencies: Tensor) -> Tensor:
    """Points as waves of length one: (sin W p, cos W p) / |.|.

    Args:
        points: (points, 2), timestep and layer.
        frequencies: W, (waves, 2).

    Returns:
        (points, 2 * waves): all sines, then all cosines.
    """
    angles = points @ frequencies.T  # (points, waves)
    both = torch.cat([angles.sin(), angles.cos()], dim=1)
    return both / both.norm(dim=1, keepdim=True)


def first_units(hidden: Tensor, kept: Tensor) -> Tensor:
    """Nested dropout: of each row only the first units, the others zero.

    Args:
        hidden: (batch, units).
        kept: how many to keep of each row, (batch,) from 0 to units.

    Returns:
        The same shape as hidden.
    """
    unit = torch.arange(hidden.shape[1])  # (units,)
    return hidden * (unit < kept[:, None])


def bypassed(state: Tensor, bypass: Tensor, alpha: float) -> Tensor:
    """A text state moved by a share of its own length: H + alpha |H| b / |b|.

    Args:
        state: H, (batch, dim).
        bypass: b, (batch, dim), of any length but 0.
        alpha: the step's length, as a share of that of the state.

    Returns:
        (batch, dim).
    """
    direction = bypass / bypass.norm(dim=1, keepdim=True)  # (batch, dim)
    return state + alpha * state.norm(dim=1, keepdim=True) * direction
