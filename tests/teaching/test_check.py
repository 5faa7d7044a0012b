import inspect
from functools import partial

import pytest
import torch
import wrong_answers_01_02
import wrong_answers_03
import wrong_answers_04
import wrong_answers_05
import wrong_answers_06
import wrong_answers_07
import wrong_answers_08
import wrong_answers_09
import wrong_answers_10
from right_answers import RIGHT, own_attention, own_guidance
from wrong_answers_01_02 import no_scaling
from wrong_answers_03 import no_roots

from perso_lite.attention.grounding import attention_against_mask
from perso_lite.teaching import check, solutions
from perso_lite.teaching.checker import numbers

WRONG = {
    **wrong_answers_01_02.WRONG,
    **wrong_answers_03.WRONG,
    **wrong_answers_04.WRONG,
    **wrong_answers_05.WRONG,
    **wrong_answers_06.WRONG,
    **wrong_answers_07.WRONG,
    **wrong_answers_08.WRONG,
    **wrong_answers_09.WRONG,
    **wrong_answers_10.WRONG,
}
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
    "concatenated",
    "masked_similarity",
    "in_first_directions",
    "person_vectors",
    "low_rank",
    "knowledge_loss",
    "word_to_end",
    "undominated",
    "resampled_means",
    "kendall_tau",
    "sharpness",
)


def facts_of(name, mine):
    """✓ and ✗ of the three facts, as one word; "stops" if the answer raises."""
    try:
        facts = getattr(check, name).facts(mine)
    except Exception:
        return "stops"
    return "".join("✓" if fact else "✗" for fact in facts.values())


def pairs(answers):
    """Each exercise with each of its answers, as keys of `answers`."""
    return [
        (name, key)
        for name, own in answers.items()
        for key in (own if isinstance(own, dict) else range(len(own)))
    ]


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


@pytest.mark.parametrize(("name", "fault"), pairs(WRONG))
def test_a_wrong_answer_is_rejected_for_its_fault(name, fault, capsys):
    mine, expected = WRONG[name][fault]
    assert facts_of(name, mine) == expected
    assert expected == "stops" or "✗" in expected
    getattr(check, name)(mine)
    assert "✗" in capsys.readouterr().out


@pytest.mark.parametrize("name", EXERCISES)
def test_every_checker_is_tried_with_many_answers(name):
    assert len({mine for mine, _ in WRONG[name].values()}) >= 10
    assert len(set(RIGHT[name])) >= 2


@pytest.mark.parametrize("name", EXERCISES)
def test_a_result_with_an_axis_too_many_is_rejected(name):
    solution = getattr(solutions, name)
    assert facts_of(name, lambda *given: solution(*given)[None]) != "✓✓✓"


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("other", [0.5, 2.0, -1.0, float("nan")])
def test_a_multiple_of_the_result_is_rejected(name, other):
    solution = getattr(solutions, name)
    assert facts_of(name, lambda *given: solution(*given) * other) != "✓✓✓"


@pytest.mark.parametrize(("name", "index"), pairs(RIGHT))
def test_another_way_to_the_right_answer_is_accepted(name, index):
    assert facts_of(name, RIGHT[name][index]) == "✓✓✓"


def test_three_named_facts_are_on_one_line_and_never_change(capsys):
    check.cross_attention(no_scaling)
    check.cross_attention(no_scaling)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == "✓ shape  ✓ weights sum to one  ✗ scores are Q Kᵀ / √dim"
    assert lines[2:] == lines[:2]


def second_line(name, mine, capsys):
    getattr(check, name)(mine)
    (_, second) = capsys.readouterr().out.splitlines()
    return second


def test_below_the_facts_is_a_number_that_differs(capsys):
    def mine(un, pro, scale):
        right = solutions.guided_noise(un, pro, scale)
        right[1, 2, 0, 3] = 7
        return right

    without, _ = numbers((2, 4, 3, 5), (2, 4, 3, 5))
    assert second_line("guided_noise", mine, capsys) == (
        "  scale 0 ignores the prompt? at [1, 2, 0, 3] yours is 7, "
        f"expected is {without[1, 2, 0, 3]:.5g}"
    )


def test_a_single_number_that_differs_has_no_place(capsys):
    line = second_line("leaked_share", lambda heat, mask: 0.25, capsys)
    assert line == "  0 if all is on the mask? yours is 0.25, expected is 0"


def test_a_shape_that_differs_is_named(capsys):
    line = second_line("first_units", lambda hidden, kept: hidden[:, :2], capsys)
    assert line == (
        "  0 keeps none, all keeps all? yours has shape (4, 2), expected is (4, 6)"
    )


def test_a_right_answer_has_no_number_below_it(capsys):
    check.cross_attention(own_attention)
    assert capsys.readouterr().out.count("\n") == 1


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
