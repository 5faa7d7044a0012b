import inspect
from functools import partial

import pytest
import torch

from perso_lite.attention.grounding import attention_against_mask
from perso_lite.methods.perfusion.rank_one import gated
from perso_lite.teaching import check, solutions

EXERCISES = (
    "cross_attention",
    "guided_noise",
    "intersection_over_union",
    "leaked_share",
    "inject",
    "noisy_latents",
    "gate",
    "rest",
    "waves",
    "first_units",
    "bypassed",
)


def facts_of(name, mine):
    """✓ and ✗ of the three facts, from left to right, as one word."""
    return "".join(
        "✓" if fact else "✗" for fact in getattr(check, name).facts(mine).values()
    )


# -- answers ---------------------------------------------------------------------------


def test_every_solution_has_a_checker_and_every_checker_a_solution():
    public = {n for n, f in vars(solutions).items() if inspect.isfunction(f)}
    checkers = {n for n, f in vars(check).items() if hasattr(f, "facts")}
    assert public == checkers == set(EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_is_accepted(name):
    facts = getattr(check, name).facts(getattr(solutions, name))
    assert len(facts) == 3
    assert all(facts.values())
    assert {type(holds) for holds in facts.values()} == {bool}


def wrong_axis(q, k, v):
    return (q @ k.T / q.shape[1] ** 0.5).softmax(0) @ v


def no_scaling(q, k, v):
    return (q @ k.T).softmax(1) @ v


def scaled_by_dim(q, k, v):
    return (q @ k.T / q.shape[1]).softmax(1) @ v


def scaled_by_tokens(q, k, v):
    return (q @ k.T / k.shape[0] ** 0.5).softmax(1) @ v


def wrong_sign(q, k, v):
    return (-q @ k.T / q.shape[1] ** 0.5).softmax(1) @ v


def no_softmax(q, k, v):
    return q @ k.T / q.shape[1] ** 0.5 @ v


def weights_alone(q, k, v):
    return (q @ k.T / q.shape[1] ** 0.5).softmax(1)


def half_on(heat):
    return (heat >= heat.max() / 2) & (heat > 0)


def over_the_mask(heat, mask):
    return (half_on(heat) & mask).sum() / mask.sum()


def dice(heat, mask):
    on = half_on(heat)
    return 2 * (on & mask).sum() / (on.sum() + mask.sum())


def cut_at_the_mean(heat, mask):
    return solutions.intersection_over_union((heat >= heat.mean()).float(), mask)


def cut_at_one_half(heat, mask):
    on = heat >= 0.5
    return (on & mask).sum() / (on | mask).sum()


def as_many_as_the_mask(heat, mask):
    on = heat >= heat.flatten().sort(descending=True).values[mask.sum() - 1]
    return (on & mask).sum() / (on | mask).sum()


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


def no_length(points, frequencies):
    angles = points @ frequencies.T
    return torch.cat([angles.sin(), angles.cos()], 1)


def sines_alone(points, frequencies):
    angles = points @ frequencies.T
    return torch.nn.functional.normalize(angles.sin(), dim=1)


def cosines_first(points, frequencies):
    return solutions.waves(points, frequencies).roll(len(frequencies), 1)


def two_pi(points, frequencies):
    return solutions.waves(points, 2 * torch.pi * frequencies)


def the_points_normalized(points, frequencies):
    return solutions.waves(torch.nn.functional.normalize(points, dim=1), frequencies)


def one_more(hidden, kept):
    return solutions.first_units(hidden, kept + 1)


def the_last_units(hidden, kept):
    return solutions.first_units(hidden.flip(1), kept).flip(1)


def one_k_for_all(hidden, kept):
    return solutions.first_units(hidden, kept[:1].expand(len(kept)))


def rescaled(hidden, kept):
    scale = hidden.shape[1] / kept[:, None].clamp(min=1)
    return solutions.first_units(hidden, kept) * scale


def whole_batch_length(state, bypass, alpha):
    return state + alpha * state.norm() * bypass / bypass.norm()


def plain_sum(state, bypass, alpha):
    return state + alpha * bypass


def unit_step(state, bypass, alpha):
    return state + alpha * torch.nn.functional.normalize(bypass, dim=1)


def length_of_bypass(state, bypass, alpha):
    direction = torch.nn.functional.normalize(state, dim=1)
    return state + alpha * bypass.norm(dim=1, keepdim=True) * direction


def mixed_in(state, bypass, alpha):
    moved = solutions.bypassed(torch.zeros_like(state), bypass, 0) + alpha * (
        state.norm(dim=1, keepdim=True) * bypass / bypass.norm(dim=1, keepdim=True)
    )
    return (1 - alpha) * state + moved


WRONG = [
    ("cross_attention", wrong_axis, "✓✗✗"),
    ("cross_attention", no_scaling, "✓✓✗"),
    ("cross_attention", scaled_by_dim, "✓✓✗"),
    ("cross_attention", scaled_by_tokens, "✓✓✗"),
    ("cross_attention", wrong_sign, "✓✓✗"),
    ("cross_attention", no_softmax, "✓✗✗"),
    ("cross_attention", weights_alone, "✗✗✗"),
    ("cross_attention", lambda q, k, v: q, "✗✗✗"),
    ("cross_attention", lambda q, k, v: torch.zeros(5, 11), "✓✗✗"),
    ("guided_noise", lambda un, pro, scale: un, "✓✗✗"),
    ("guided_noise", lambda un, pro, scale: pro, "✗✓✗"),
    ("guided_noise", lambda un, pro, scale: scale * pro, "✗✓✗"),
    ("guided_noise", lambda un, pro, scale: pro + scale * (un - pro), "✗✗✗"),
    ("guided_noise", lambda un, pro, scale: pro + scale * (pro - un), "✗✗✗"),
    ("guided_noise", lambda un, pro, scale: un.lerp(pro, min(scale, 1)), "✓✓✗"),
    ("guided_noise", lambda un, pro, scale: torch.zeros_like(un), "✗✗✗"),
    ("intersection_over_union", over_the_mask, "✓✓✗"),
    ("intersection_over_union", dice, "✓✗✗"),
    ("intersection_over_union", cut_at_the_mean, "✓✗✓"),
    ("intersection_over_union", cut_at_one_half, "✓✗✗"),
    ("intersection_over_union", as_many_as_the_mask, "✓✗✓"),
    ("intersection_over_union", lambda heat, mask: half_on(heat) & mask, "✗✗✗"),
    ("intersection_over_union", lambda heat, mask: 0.0, "✓✗✗"),
    ("leaked_share", lambda heat, mask: heat[mask].sum() / heat.sum(), "✗✗✗"),
    ("leaked_share", lambda heat, mask: heat[~mask].sum(), "✓✗✗"),
    ("leaked_share", lambda heat, mask: heat[~mask].mean() / heat.mean(), "✓✗✗"),
    ("leaked_share", lambda heat, mask: (half_on(heat) & ~mask).sum() / 40, "✓✗✗"),
    ("leaked_share", lambda heat, mask: heat * ~mask / heat.sum(), "✗✗✗"),
    ("leaked_share", lambda heat, mask: 0, "✓✗✗"),
    ("inject", in_place, "✓✗✓"),
    ("inject", detached, "✓✓✗"),
    ("inject", first_only, "✗✓✓"),
    ("inject", the_others, "✗✗✓"),
    ("inject", added, "✗✓✓"),
    ("inject", lambda embeddings, ids, id_, vector: embeddings, "✗✓✗"),
    ("inject", lambda embeddings, ids, id_, vector: 0 * embeddings, "✗✗✗"),
    ("noisy_latents", no_roots, "✓✓✗"),
    ("noisy_latents", roles_swapped, "✗✗✗"),
    ("noisy_latents", noise_left_out, "✓✗✗"),
    ("noisy_latents", one_for_all, "✓✓✗"),
    ("noisy_latents", lambda latents, noise, a: latents, "✓✗✗"),
    ("noisy_latents", lambda latents, noise, a: torch.zeros_like(noise), "✗✗✗"),
    ("gate", hard_gate, "✗✓✗"),
    ("gate", no_beta, "✗✓✗"),
    ("gate", beta_outside, "✗✓✗"),
    ("gate", no_tau, "✓✓✗"),
    ("gate", times_tau, "✓✗✗"),
    ("gate", upside_down, "✓✗✗"),
    ("gate", lambda similarity, beta, tau: similarity, "✗✗✗"),
    ("rest", plain_dot_product, "✓✗✗"),
    ("rest", not_divided, "✗✗✗"),
    ("rest", all_of_it, "✓✗✗"),
    ("rest", along_the_metric, "✗✓✗"),
    ("rest", covariance_for_inverse, "✓✗✗"),
    ("rest", of_the_first_text, "✓✓✗"),
    ("rest", lambda states, i, inverse: torch.zeros_like(states), "✓✓✗"),
    ("rest", lambda states, i, inverse: states, "✗✗✗"),
    ("waves", no_length, "✗✓✗"),
    ("waves", sines_alone, "✓✗✗"),
    ("waves", cosines_first, "✓✓✗"),
    ("waves", two_pi, "✓✓✗"),
    ("waves", the_points_normalized, "✓✗✗"),
    ("waves", lambda points, frequencies: torch.zeros(5, 14), "✗✓✗"),
    ("first_units", one_more, "✗✗✗"),
    ("first_units", the_last_units, "✓✗✗"),
    ("first_units", one_k_for_all, "✗✓✗"),
    ("first_units", rescaled, "✓✗✗"),
    ("first_units", lambda hidden, kept: hidden, "✗✗✗"),
    ("bypassed", whole_batch_length, "✓✓✗"),
    ("bypassed", plain_sum, "✓✗✗"),
    ("bypassed", unit_step, "✓✓✗"),
    ("bypassed", length_of_bypass, "✓✗✗"),
    ("bypassed", mixed_in, "✓✓✗"),
    ("bypassed", lambda state, bypass, alpha: state, "✓✗✗"),
]


@pytest.mark.parametrize(("name", "mine", "expected"), WRONG)
def test_a_wrong_answer_is_rejected_for_its_fault(name, mine, expected, capsys):
    assert facts_of(name, mine) == expected
    getattr(check, name)(mine)
    assert "✗" in capsys.readouterr().out


@pytest.mark.parametrize("name", EXERCISES)
def test_every_checker_is_tried_with_several_wrong_answers(name):
    assert sum(name == wrong[0] for wrong in WRONG) >= 2


def own_attention(queries, keys, values):
    weights = torch.softmax(queries @ keys.T / queries.shape[-1] ** 0.5, -1)
    return torch.einsum("pt,tv->pv", weights, values)


def own_guidance(unprompted, prompted, guidance_scale):
    prompted -= unprompted  # changes its input, which is allowed
    return unprompted + prompted * guidance_scale


def own_injection(embeddings, input_ids, placeholder_id, vector):
    embeddings = embeddings.clone()
    embeddings[input_ids == placeholder_id] = vector
    return embeddings


def own_leak(heat, mask):
    return 1 - (heat * mask).sum().item() / heat.sum().item()


def own_rest(states, target_input, inverse):
    parameters = torch.tensor([0.65]), torch.tensor([0.15])
    return gated(states, target_input[None], inverse, *parameters)[0]


def own_gate(similarity, beta, tau):
    return 1 / (1 + torch.exp((beta - similarity) / tau))


def own_waves(points, frequencies):
    angles = torch.einsum("nc,wc->nw", points, frequencies)
    both = torch.stack([angles.sin(), angles.cos()], 1).flatten(1)
    return both / len(frequencies) ** 0.5


def own_cut(hidden, kept):
    for row, k in zip(hidden, kept.tolist(), strict=True):
        row[k:] = 0
    return hidden


def own_bypass(state, bypass, alpha):
    ratio = state.norm(dim=-1) / bypass.norm(dim=-1)
    return state + (alpha * ratio)[:, None] * bypass


@pytest.mark.parametrize(
    ("name", "mine"),
    [
        ("cross_attention", own_attention),
        ("gate", own_gate),
        ("rest", own_rest),
        ("guided_noise", own_guidance),
        ("inject", own_injection),
        ("leaked_share", own_leak),
        ("waves", own_waves),
        ("first_units", own_cut),
        ("bypassed", own_bypass),
    ],
)
def test_another_way_to_the_right_answer_is_accepted(name, mine):
    assert facts_of(name, mine) == "✓✓✓"


def test_three_named_facts_are_on_one_line_and_never_change(capsys):
    check.cross_attention(no_scaling)
    check.cross_attention(no_scaling)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "✓ shape  ✓ weights sum to one  ✗ scores are Q Kᵀ / √dim"
    assert second == first


def test_checking_leaves_the_random_numbers_of_the_notebook_alone():
    state = torch.get_rng_state()
    check.noisy_latents(no_roots)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exception_in_the_answer_is_printed(name, capsys):
    def mine(*arguments):
        return {}["a"]

    getattr(check, name)(mine)
    assert capsys.readouterr().out == "✗ your function stopped with KeyError: 'a'\n"


def test_alpha_bar_that_was_not_reshaped_stops_with_torchs_message(capsys):
    check.noisy_latents(lambda latents, noise, a: a.sqrt() * latents)
    printed = capsys.readouterr().out
    assert printed.startswith(
        "✗ your function stopped with RuntimeError: The size of tensor"
    )
    assert printed.count("\n") == 1


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_of_none_is_reported(name, capsys):
    getattr(check, name)(lambda *arguments: None)
    printed = capsys.readouterr().out
    assert printed == "✗ your function returned NoneType, but a tensor was expected\n"


def test_injected_embeddings_of_another_shape_are_reported(capsys):
    check.inject(lambda embeddings, ids, id_, vector: vector)
    assert "returned (7,), but new embeddings (3, 5, 7)" in capsys.readouterr().out


def test_ctrl_c_is_no_wrong_answer():
    def mine(*arguments):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check.inject(mine)


# -- the provided solution -------------------------------------------------------------

PROVIDED = "this is still the provided solution"


def test_an_unchanged_stub_is_reported(capsys):
    def cross_attention(queries, keys, values):
        """(positions, dim), (tokens, dim), (tokens, value_dim)."""
        # Your code here: three lines. Delete the line below when you start.
        return solutions.cross_attention(queries, keys, values)

    check.cross_attention(cross_attention)
    facts, remark = capsys.readouterr().out.splitlines()
    assert facts.count("✓") == 3
    assert remark == PROVIDED


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_itself_is_reported(name, capsys):
    getattr(check, name)(getattr(solutions, name))
    assert capsys.readouterr().out.splitlines()[-1] == PROVIDED


def test_code_above_the_line_that_falls_through_does_not_count_as_an_answer(capsys):
    def guided_noise(unprompted, prompted, guidance_scale):
        difference = prompted - unprompted  # noqa: F841
        return solutions.guided_noise(unprompted, prompted, guidance_scale)

    check.guided_noise(guided_noise)
    assert PROVIDED in capsys.readouterr().out


def test_an_answer_that_returns_before_the_provided_line_is_an_answer(capsys):
    def guided_noise(unprompted, prompted, guidance_scale):
        return unprompted + guidance_scale * (prompted - unprompted)
        return solutions.guided_noise(unprompted, prompted, guidance_scale)

    check.guided_noise(guided_noise)
    assert PROVIDED not in capsys.readouterr().out


@pytest.mark.parametrize(
    "mine",
    [lambda a, b, scale: a + scale * (b - a), partial(own_guidance)],
)
def test_answers_that_are_no_plain_function_are_checked_too(mine, capsys):
    check.guided_noise(mine)
    printed = capsys.readouterr().out
    assert printed.count("✓") == 3
    assert PROVIDED not in printed


# -- solutions -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_maps_are_scored_as_the_library_scores_them(seed):
    generator = torch.Generator().manual_seed(seed)
    heat = torch.rand(6, 9, generator=generator) ** 3
    mask = torch.rand(6, 9, generator=generator) > 0.6
    score = attention_against_mask(heat[None], mask[None, None])
    overlap = solutions.intersection_over_union(heat, mask)
    assert overlap == score.iou[0]
    assert torch.isclose(solutions.leaked_share(heat, mask), 1 - score.inside[0])


def test_latents_are_mixed_as_the_scheduler_mixes_them(tiny):
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 3, 4, 5, 6, generator=generator)
    timesteps = torch.tensor([0, 400, 999])
    mixed = tiny.scheduler.add_noise(latents, noise, timesteps)
    alpha_bar = tiny.scheduler.alphas_cumprod[timesteps]
    assert torch.allclose(solutions.noisy_latents(latents, noise, alpha_bar), mixed)


def test_attention_is_torchs():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(s, generator=generator) for s in ((5, 7), (3, 7), (3, 11)))
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert torch.allclose(solutions.cross_attention(q, k, v), theirs, atol=1e-6)


# -- predictions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "measured", "printed"),
    [
        (
            None,
            "keys",
            "no prediction yet: write your guess in this cell, and run it again",
        ),
        ("keys", "keys", "✓ you said keys, and so says the run"),
        (" Keys", "keys", "✓ you said  Keys, and so says the run"),
        ("values", "keys", "✗ you said values, the run says keys"),
        (3, 3.0, "✓ you said 3, and so says the run"),
        (3, 4, "✗ you said 3, the run says 4"),
        (False, True, "✗ you said False, the run says True"),
    ],
)
def test_predictions(mine, measured, printed, capsys):
    check.prediction(mine, measured)
    assert capsys.readouterr().out == printed + "\n"
