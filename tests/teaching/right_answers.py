"""Answers that are right and written otherwise than the solution; some in place."""

import torch

from perso_lite.methods.perfusion.rank_one import gated


def own_attention(queries, keys, values):
    weights = torch.softmax(queries @ keys.T / queries.shape[-1] ** 0.5, -1)
    return torch.einsum("pt,tv->pv", weights, values)


def attention_by_torch(queries, keys, values):
    return torch.nn.functional.scaled_dot_product_attention(queries, keys, values)


def attention_by_position(queries, keys, values):
    rows = []
    for query in queries:
        weights = (keys @ query / len(query) ** 0.5).exp()
        rows.append(weights / weights.sum() @ values)
    return torch.stack(rows)


def own_guidance(unprompted, prompted, guidance_scale):
    prompted -= unprompted  # changes its input, which is allowed
    return unprompted + prompted * guidance_scale


def mixed_guidance(unprompted, prompted, guidance_scale):
    return (1 - guidance_scale) * unprompted + guidance_scale * prompted


def overlap_of_counts(heat, mask):
    heat /= heat.max()
    on = heat >= 0.5
    both = int(on[mask].sum())
    return both / (int(on.sum()) + int(mask.sum()) - both)


def overlap_of_products(heat, mask):
    on, mask = (2 * heat >= heat.amax()).float(), mask.float()
    return (on * mask).sum() / torch.maximum(on, mask).sum()


def own_injection(embeddings, input_ids, placeholder_id, vector):
    embeddings = embeddings.clone()
    embeddings[input_ids == placeholder_id] = vector
    return embeddings


def mixed_injection(embeddings, input_ids, placeholder_id, vector):
    here = (input_ids == placeholder_id).float().unsqueeze(-1)
    return embeddings * (1 - here) + here * vector


def noise_in_place(latents, noise, alpha_bar):
    signal = alpha_bar.view(-1, 1, 1, 1)
    latents *= signal.sqrt()
    return latents.addcmul_((1 - signal) ** 0.5, noise)


def noise_by_picture(latents, noise, alpha_bar):
    mixed = [
        a**0.5 * z + (1 - a) ** 0.5 * eps
        for z, eps, a in zip(latents, noise, alpha_bar.tolist(), strict=True)
    ]
    return torch.stack(mixed)


def own_leak(heat, mask):
    return 1 - (heat * mask).sum().item() / heat.sum().item()


def leak_left_over(heat, mask):
    return torch.where(mask, 0, heat / heat.sum()).sum()


def own_rest(states, target_input, inverse):
    parameters = torch.tensor([0.65]), torch.tensor([0.15])
    return gated(states, target_input[None], inverse, *parameters)[0]


def projected_rest(states, target_input, inverse):
    share = inverse @ target_input / (target_input @ inverse @ target_input)
    return states @ (torch.eye(len(share)) - torch.outer(share, target_input))


def own_gate(similarity, beta, tau):
    return 1 / (1 + torch.exp((beta - similarity) / tau))


def gate_by_tanh(similarity, beta, tau):
    return 0.5 + 0.5 * ((similarity - beta) / (2 * tau)).tanh()


def own_waves(points, frequencies):
    angles = torch.einsum("nc,wc->nw", points, frequencies)
    both = torch.stack([angles.sin(), angles.cos()], 1).flatten(1)
    return both / len(frequencies) ** 0.5


def waves_by_point(points, frequencies):
    rows = []
    for point in points:
        angles = frequencies @ point
        features = torch.cat((torch.sin(angles), torch.cos(angles)))
        rows.append(features / features.square().sum().sqrt())
    return torch.stack(rows)


def own_cut(hidden, kept):
    for row, k in zip(hidden, kept.tolist(), strict=True):
        row[k:] = 0
    return hidden


def counted_units(hidden, kept):
    number = torch.ones_like(hidden).cumsum(1)
    return torch.where(number <= kept.unsqueeze(1), hidden, 0)


def own_bypass(state, bypass, alpha):
    ratio = state.norm(dim=-1) / bypass.norm(dim=-1)
    return state + (alpha * ratio)[:, None] * bypass


def bypass_by_row(state, bypass, alpha):
    rows = []
    for h, b in zip(state, bypass, strict=True):
        rows.append(h + alpha * (h @ h).sqrt() * b / (b @ b).sqrt())
    return torch.stack(rows)


def as_residual(queries, keys, values, prefix_key, prefix_value, bias):
    scores = (queries @ keys.T).exp().tril()
    prefix = (queries @ prefix_key + bias).exp()
    alpha = (prefix / (prefix + scores.sum(1)))[:, None]
    plain = scores @ values / scores.sum(1, keepdim=True)
    return plain + alpha * (prefix_value - plain)


def token_by_token(queries, keys, values, prefix_key, prefix_value, bias):
    rows = []
    for i, query in enumerate(queries):
        seen = torch.cat([prefix_key[None], keys[: i + 1]]) @ query
        seen[0] += bias
        rows.append(seen.softmax(0) @ torch.cat([prefix_value[None], values[: i + 1]]))
    return torch.stack(rows)


def own_similarity(drawn, drawn_masks, known, known_masks):
    drawn[~drawn_masks.expand_as(drawn)] = 0.5
    known[~known_masks.expand_as(known)] = 0.5
    one, other = drawn.flatten(1)[:, None], known.flatten(1)[None]
    return torch.cosine_similarity(one, other, dim=-1).mean(1)


def similarity_pair_by_pair(drawn, drawn_masks, known, known_masks):
    pictures = [
        [(p * m + 0.5 * ~m).flatten() for p, m in zip(*both, strict=True)]
        for both in ((drawn, drawn_masks), (known, known_masks))
    ]
    return torch.tensor(
        [
            sum((a @ b / (a.norm() * b.norm())).item() for b in pictures[1])
            / len(known)
            for a in pictures[0]
        ]
    )


def low_rank_in_place(inputs, thin, wide, scale):
    inputs *= scale
    return torch.einsum("or,ri,bti->bto", wide, thin, inputs)


def low_rank_as_one_matrix(inputs, thin, wide, scale):
    return torch.nn.functional.linear(inputs, scale * wide @ thin)


def half_squared_distance(states, known):
    one, other = (x / x.norm(dim=-1, keepdim=True) for x in (states, known))
    return (one - other).square().sum(-1).mean() / 2


def knowledge_by_position(states, known):
    total = 0.0
    for a, b in zip(states.flatten(0, 1), known.flatten(0, 1), strict=True):
        total += 1 - (a @ b / (a.norm() * b.norm())).item()
    return total / (states.shape[0] * states.shape[1])


def word_to_end_by_text(input_ids, placeholder_id, end_id):
    rows = []
    for ids in input_ids.tolist():
        row = [0.0] * len(ids)
        if placeholder_id in ids:
            first, last = ids.index(placeholder_id), ids.index(end_id)
            row[first : last + 1] = [1.0] * (last + 1 - first)
        rows.append(row)
    return torch.tensor(rows)


def word_to_end_by_places(input_ids, placeholder_id, end_id):
    places = torch.arange(input_ids.shape[1])
    is_word, end = input_ids == placeholder_id, (input_ids == end_id).int().argmax(1)
    first = torch.where(is_word.any(1), is_word.int().argmax(1), len(places))
    return (places >= first[:, None]) & (places <= end[:, None])


def directions_of_covariance(vectors, rows, p):
    centered = rows - rows.mean(0)
    _, directions = torch.linalg.eigh(centered.T @ centered)
    kept = directions[:, -p:]  # the largest eigenvalues come last
    return rows.mean(0) + (vectors - rows.mean(0)) @ kept @ kept.T


def directions_one_by_one(vectors, rows, p):
    mean = rows.mean(0)
    _, _, directions = torch.linalg.svd(rows - mean)
    found = mean.expand(len(vectors), -1).clone()
    for direction in directions[:p]:
        found += ((vectors - mean) @ direction)[:, None] * direction
    return found


def person_by_einsum(weights, mean, directions, lengths, radius):
    unit = weights / weights.norm(dim=1, keepdim=True)
    along = torch.einsum("kp,kpd,k->kd", unit, directions, lengths)
    return mean + radius * along


def person_slot_by_slot(weights, mean, directions, lengths, radius):
    slots = zip(weights, mean, directions, lengths, strict=True)
    return torch.stack([m + radius * n * (h / h.norm()) @ b for h, m, b, n in slots])


def undominated_one_by_one(places):
    kept = []
    for own in places.tolist():
        rivals = [p for p in places.tolist() if p != own]
        kept.append(not any(all(map(float.__ge__, p, own)) for p in rivals))
    return torch.tensor(kept)


def undominated_by_least(places):
    gap = places[None] - places[:, None]  # the other minus the own
    beaten = (gap.amin(-1) >= 0) & (gap.amax(-1) > 0)
    return beaten.sum(1) == 0


def means_toy_by_toy(values, chosen):
    return torch.stack([values[row].mean() for row in chosen])


def means_of_means(values, chosen):
    return values.mean(1)[chosen].mean(1)


def tau_of_a_table(one, other):
    signs = [(x[:, None] - x[None]).sign() for x in (one, other)]
    return (signs[0] * signs[1]).sum() / (len(one) * (len(one) - 1))


def tau_pair_by_pair(one, other):
    pairs = [(i, j) for i in range(len(one)) for j in range(i)]
    alike = sum((one[i] > one[j]) == (other[i] > other[j]) for i, j in pairs)
    return 2 * alike / len(pairs) - 1


def sharpness_by_convolution(gray):
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
    return (
        torch.nn.functional.conv2d(gray[None, None], kernel[None, None]).pow(2).mean()
    )


def sharpness_pixel_by_pixel(gray):
    height, width = gray.shape
    found = [
        (
            gray[y - 1, x] + gray[y + 1, x] + gray[y, x - 1] + gray[y, x + 1]
            - 4 * gray[y, x]
        ) ** 2
        for y in range(1, height - 1)
        for x in range(1, width - 1)
    ]  # fmt: skip
    return sum(found) / len(found)


RIGHT = {
    "cross_attention": [own_attention, attention_by_torch, attention_by_position],
    "guided_noise": [own_guidance, mixed_guidance, torch.lerp],
    "intersection_over_union": [overlap_of_counts, overlap_of_products],
    "leaked_share": [own_leak, leak_left_over],
    "inject": [own_injection, mixed_injection],
    "noisy_latents": [noise_in_place, noise_by_picture],
    "gate": [own_gate, gate_by_tanh],
    "rest": [own_rest, projected_rest],
    "waves": [own_waves, waves_by_point],
    "first_units": [own_cut, counted_units],
    "bypassed": [own_bypass, bypass_by_row],
    "concatenated": [as_residual, token_by_token],
    "masked_similarity": [own_similarity, similarity_pair_by_pair],
    "in_first_directions": [directions_of_covariance, directions_one_by_one],
    "person_vectors": [person_by_einsum, person_slot_by_slot],
    "low_rank": [low_rank_in_place, low_rank_as_one_matrix],
    "knowledge_loss": [half_squared_distance, knowledge_by_position],
    "word_to_end": [word_to_end_by_text, word_to_end_by_places],
    "undominated": [undominated_one_by_one, undominated_by_least],
    "resampled_means": [means_toy_by_toy, means_of_means],
    "kendall_tau": [tau_of_a_table, tau_pair_by_pair],
    "sharpness": [sharpness_by_convolution, sharpness_pixel_by_pixel],
}
