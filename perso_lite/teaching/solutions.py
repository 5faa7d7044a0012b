"""Solutions of the exercises: plain functions, each a formula from its notebook."""

import torch
import torch.nn.functional as F
from torch import Tensor

from perso_lite.teaching.exercises.solutions_celeb_basis import (
    in_first_directions as in_first_directions,
)
from perso_lite.teaching.exercises.solutions_celeb_basis import (
    person_vectors as person_vectors,
)
from perso_lite.teaching.exercises.solutions_comparison import (
    kendall_tau as kendall_tau,
)
from perso_lite.teaching.exercises.solutions_comparison import (
    resampled_means as resampled_means,
)
from perso_lite.teaching.exercises.solutions_comparison import (
    undominated as undominated,
)
from perso_lite.teaching.exercises.solutions_own_pictures import sharpness as sharpness

# -- notebook 01: a tiny text-to-image model -------------------------------------------


def cross_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Cross-attention from the positions of a picture to words: softmax(Q Kᵀ / √dim) V.

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
    """Classifier-free guidance: extrapolate from the unprompted to the prompted noise.

    Args:
        unprompted: noise predicted without a prompt, (batch, channels, height, width).
        prompted: noise predicted with the prompt, the same shape.
        guidance_scale: 0 ignores the prompt, 1 follows it, more exaggerates it.

    Returns:
        The guided noise, the same shape.
    """
    return unprompted + guidance_scale * (prompted - unprompted)


# -- notebook 02: attention ------------------------------------------------------------


def intersection_over_union(heat: Tensor, mask: Tensor) -> Tensor:
    """Intersection over union of a word's attention map and an object's mask.

    The map is "on" from half of its maximum, as in `attention_against_mask`.

    Args:
        heat: attention to the word, (height, width), not negative.
        mask: where the object is, bool (height, width).

    Returns:
        A number () in [0, 1].
    """
    on = (heat >= heat.max() / 2) & (heat > 0)
    return (on & mask).sum() / (on | mask).sum()


def leaked_share(heat: Tensor, mask: Tensor) -> Tensor:
    """The share of a word's attention that falls outside the object it names.

    Args:
        heat: attention to the word, (height, width), not negative.
        mask: where the object is, bool (height, width).

    Returns:
        A number () in [0, 1].
    """
    return heat[~mask].sum() / heat.sum()


# -- notebook 03: textual inversion ----------------------------------------------------


def inject(
    embeddings: Tensor, input_ids: Tensor, placeholder_id: int, vector: Tensor
) -> Tensor:
    """Replace the embeddings of a new word with a vector that is not in the table.

    Args:
        embeddings: from the embedding table, (batch, tokens, dim); not changed.
        input_ids: token ids of the prompts, (batch, tokens).
        placeholder_id: token id of the new word.
        vector: vector of the new word, (dim,); gradients flow back to it.

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
        alpha_bar: share of signal variance at each timestep, (batch,) in [0, 1].

    Returns:
        The same shape as the latents.
    """
    alpha_bar = alpha_bar[:, None, None, None]  # (batch, 1, 1, 1)
    return alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise


# -- notebook 04: perfusion ------------------------------------------------------------


def gate(similarity: Tensor, beta: float, tau: float) -> Tensor:
    """The gate of a concept as a function of similarity: sigmoid((s - beta) / tau).

    Args:
        similarity: the share s of i* in text states, any shape; 1 for i* itself.
        beta: the share at which the gate is half open.
        tau: the temperature, positive; larger is softer.

    Returns:
        Numbers in [0, 1], the same shape.
    """
    return torch.sigmoid((similarity - beta) / tau)


def rest(states: Tensor, target_input: Tensor, inverse: Tensor) -> Tensor:
    """Remove the component of one concept from text states: e - s i*.

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
    """Fourier features of points, normalized to length 1: (sin W p, cos W p) / |.|.

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
    """Nested dropout: keep the first units of each row and set the others to zero.

    Args:
        hidden: (batch, units).
        kept: number of units to keep per row, (batch,) from 0 to units.

    Returns:
        The same shape as hidden.
    """
    unit = torch.arange(hidden.shape[1])  # (units,)
    return hidden * (unit < kept[:, None])


def bypassed(state: Tensor, bypass: Tensor, alpha: float) -> Tensor:
    """The textual bypass, scaled relative to the text state: H + alpha |H| b / |b|.

    Args:
        state: H, (batch, dim).
        bypass: b, (batch, dim), of any length except 0.
        alpha: length of the step, relative to that of the state.

    Returns:
        (batch, dim).
    """
    direction = bypass / bypass.norm(dim=1, keepdim=True)  # (batch, dim)
    return state + alpha * state.norm(dim=1, keepdim=True) * direction


# -- notebook 06: catversion -----------------------------------------------------------


def concatenated(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    prefix_key: Tensor,
    prefix_value: Tensor,
    bias: float,
) -> Tensor:
    """Causal self-attention with one key and one value put before the tokens.

    Args:
        queries: scaled, (tokens, dim).
        keys: (tokens, dim).
        values: (tokens, value_dim).
        prefix_key: P_K, (dim,), which every token sees.
        prefix_value: P_V, (value_dim,).
        bias: b, added to the prefix's logits; may be -inf.

    Returns:
        (tokens, value_dim).
    """
    future = torch.ones(len(keys), len(keys)).triu(1).bool()
    to_tokens = (queries @ keys.T).masked_fill(future, -torch.inf)  # (tokens, tokens)
    to_prefix = queries @ prefix_key + bias  # (tokens,)
    weights = torch.cat([to_prefix[:, None], to_tokens], 1).softmax(1)
    return weights @ torch.cat([prefix_value[None], values])


def masked_similarity(
    drawn: Tensor, drawn_masks: Tensor, known: Tensor, known_masks: Tensor
) -> Tensor:
    """Mean cosine over all pairs of pictures, backgrounds replaced by gray (0.5).

    Args:
        drawn: pictures, (drawn, 3, height, width).
        drawn_masks: where the subject is, bool (drawn, 1, height, width).
        known: pictures of the concept, (known, 3, height, width).
        known_masks: where it is, bool (known, 1, height, width).

    Returns:
        (drawn,) in [-1, 1].
    """
    drawn = torch.where(drawn_masks, drawn, 0.5).flatten(1)  # (drawn, numbers)
    known = torch.where(known_masks, known, 0.5).flatten(1)
    drawn, known = (x / x.norm(dim=1, keepdim=True) for x in (drawn, known))
    return (drawn @ known.T).mean(1)


# -- notebook 08: textboost ------------------------------------------------------------


def low_rank(inputs: Tensor, thin: Tensor, wide: Tensor, scale: float) -> Tensor:
    """What LoRA adds to a layer's output: s B A x.

    Args:
        inputs: x, what the layer reads, (batch, tokens, in).
        thin: A, (rank, in).
        wide: B, (out, rank).
        scale: s; 0 adds nothing.

    Returns:
        (batch, tokens, out).
    """
    return scale * (inputs @ thin.T) @ wide.T


def knowledge_loss(states: Tensor, known: Tensor) -> Tensor:
    """Knowledge preservation: 1 - cosine, as a mean over captions and positions.

    Args:
        states: of general captions, by the text encoder that is trained, (batch,
            tokens, dim).
        known: by the base's, the same shape.

    Returns:
        A number () from 0 to 2.
    """
    return (1 - F.cosine_similarity(states, known, dim=-1)).mean()


def word_to_end(input_ids: Tensor, placeholder_id: int, end_id: int) -> Tensor:
    """Where LoRA acts if causality is preserved: from the new word to the end token.

    Args:
        input_ids: token ids of prompts, (batch, tokens); padding may be the end token.
        placeholder_id: of the new word.
        end_id: of the end token, which each prompt has.

    Returns:
        1 from the first new word to the first end token, else 0: (batch, tokens).
    """
    started = (input_ids == placeholder_id).cumsum(1) > 0
    is_end = (input_ids == end_id).long()
    behind_end = is_end.cumsum(1) - is_end > 0  # an end token came before
    return (started & ~behind_end).float()
