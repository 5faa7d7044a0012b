"""CLIP's text encoder with keys and values concatenated before the tokens.

Written out layer by layer, as the paper has it: what the library computes as a
residual has to be this.
"""

import torch
from torch.nn import functional as F

from perso_lite.methods.catversion.prefix import in_heads


def text_model(encoder):
    """The same in transformers 4 and 5."""
    return getattr(encoder, "text_model", encoder)


def attention_with_prefix(
    query, key, value, prefix_keys, prefix_values, bias, sdpa, padding=None
):
    """softmax(q [P_K, k]^T + b) [P_V, v]; q is scaled, P are (heads, prefixes, dim)."""
    texts, _, tokens, _ = query.shape
    prefixes = prefix_keys.shape[1]
    keys = torch.cat([prefix_keys.expand(texts, -1, -1, -1), key], 2)
    values = torch.cat([prefix_values.expand(texts, -1, -1, -1), value], 2)
    mask = torch.full((tokens, tokens), -torch.inf).triu(1)
    mask = torch.cat([torch.full((tokens, prefixes), float(bias)), mask], 1)
    mask = mask.repeat(texts, 1, 1, 1)  # (texts, 1, tokens, prefixes + tokens)
    if padding is not None:
        mask[..., prefixes:].masked_fill_(padding[:, None, None] == 0, -torch.inf)
    if sdpa:
        options = {"attn_mask": mask, "scale": 1.0}
        return F.scaled_dot_product_attention(query, keys, values, **options)
    return (query @ keys.mT + mask).softmax(-1) @ values


def states_with_prefix(encoder, ids, prefixes, bias=0.0, sdpa=False, padding=None):
    """Text states of ids (texts, tokens).

    Args:
        encoder: of the base, with nothing attached.
        ids: (texts, tokens).
        prefixes: by layer, P_K and P_V, (prefixes, dim) each.
        bias: of their logits.
        sdpa: whether PyTorch's own attention computes it.
        padding: 0 for tokens that are not seen, (texts, tokens).
    """
    model = text_model(encoder)
    states = model.embeddings(input_ids=ids)
    for index, layer in enumerate(model.encoder.layers):
        attention, normed = layer.self_attn, layer.layer_norm1(states)
        nothing = torch.zeros(0, normed.shape[-1])
        pair = prefixes.get(index, (nothing, nothing))
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        query, key, value = (in_heads(p(normed), attention) for p in projections)
        found = attention_with_prefix(
            query * attention.scale,
            key,
            value,
            *(in_heads(part, attention) for part in pair),
            bias,
            sdpa,
            padding,
        )
        found = attention.out_proj(found.transpose(1, 2).flatten(2))
        states = states + found
        states = states + layer.mlp(layer.layer_norm2(states))
    return model.final_layer_norm(states)
