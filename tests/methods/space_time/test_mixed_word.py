import pytest
import torch

from perso_lite import ExtendedTextualInversion, NeTI, PersoError, generate
from perso_lite.methods.space_time.analysis import states_by_layer
from perso_lite.methods.space_time.mixed_word import MixedWord

PROMPT = "a photo of a {} on a beach"
OPTIONS = {"num_inference_steps": 4, "output_type": "pt"}


@pytest.fixture
def one(tiny):
    return NeTI(tiny, "teddy", "<one>", seed=1, start_at_class=False)


@pytest.fixture
def other(tiny):
    return NeTI(tiny, "cat", "<other>", seed=2, start_at_class=False)


def draw(method):
    with method.attach(method.base):
        prompt = PROMPT.format(method.placeholder_token)
        return generate(method.base, prompt, **OPTIONS)


def test_a_mixture_of_only_one_word_draws_what_that_word_draws(one, other):
    always = MixedWord(one, other, lambda t, layer: torch.ones_like(t, dtype=bool))
    never = MixedWord(one, other, lambda t, layer: torch.zeros_like(t, dtype=bool))
    assert draw(always).equal(draw(one))
    assert draw(never).equal(draw(other))
    assert not draw(one).equal(draw(other))


def test_early_steps_read_the_one_and_late_steps_the_other(one, other):
    mixed = MixedWord(one, other, lambda t, layer: t > 500)
    times = torch.tensor([900, 501, 500, 20])
    for part, of_one, of_other in zip(
        mixed.vectors(times), one.vectors(times), other.vectors(times), strict=True
    ):
        assert part[:2].equal(of_one[:2])
        assert part[2:].equal(of_other[2:])


def test_some_layers_read_the_one_and_the_rest_the_other(one, other):
    mixed = MixedWord(one, other, lambda t, layer: layer < 7)
    times = torch.tensor([900, 20])
    word, _ = mixed.vectors(times)
    assert word[:, :7].equal(one.vectors(times)[0][:, :7])
    assert word[:, 7:].equal(other.vectors(times)[0][:, 7:])


def test_a_word_without_bypass_makes_no_step_in_a_mixture(tiny, one):
    class_word = ExtendedTextualInversion(tiny, "teddy", "<plain>", shared=True)
    mixed = MixedWord(one, class_word, lambda t, layer: layer < 7)
    keys, values = states_by_layer(mixed, ["a <mixed> on a beach"], torch.tensor([500]))
    assert not keys[:, :7].equal(values[:, :7])
    assert keys[:, 7:].equal(values[:, 7:])


def test_a_mixture_follows_the_words_it_is_made_of(one, other):
    mixed = MixedWord(one, other, lambda t, layer: t > 500)
    with mixed.attach(mixed.base):
        before = generate(mixed.base, "a <mixed>", **OPTIONS)
        one.truncation_idx = 2
        after = generate(mixed.base, "a <mixed>", **OPTIONS)
    assert not before.equal(after)


def test_a_mixture_needs_a_name_of_its_own(tiny, one, other):
    mixed = MixedWord(one, other, lambda t, layer: t > 500, "<one>")
    with one.attach(tiny), pytest.raises(PersoError, match="already in the vocab"):
        mixed.attach(tiny).__enter__()


def test_a_mapper_drops_nothing_unless_it_trains(one):
    times = torch.tensor([900, 20])
    assert one.vectors(times)[0].equal(one.vectors(times)[0])


def test_each_part_of_a_mixture_keeps_its_own_bypass(tiny, one, other):
    class_word = ExtendedTextualInversion(tiny, "teddy", "<plain>", shared=True)
    one.bypass_alpha, other.bypass_alpha = 0.8, 0.3
    always = lambda t, layer: torch.ones_like(t, dtype=bool)  # noqa: E731
    never = lambda t, layer: torch.zeros_like(t, dtype=bool)  # noqa: E731
    for mixed in (
        MixedWord(one, class_word, always),
        MixedWord(class_word, one, never),
        MixedWord(one, other, always),
        MixedWord(other, one, never),
    ):
        assert draw(mixed).equal(draw(one))


def test_a_mixture_sees_where_it_is_told_another_place(one, other):
    mixed = MixedWord(one, other, lambda t, layer: t > 500)
    with mixed.attach(mixed.base):
        before = generate(mixed.base, "a <mixed>", **OPTIONS)
        mixed.where = lambda t, layer: t > 200
        assert not generate(mixed.base, "a <mixed>", **OPTIONS).equal(before)


def test_a_mixture_is_not_saved(one, other, tmp_path):
    mixed = MixedWord(one, other, lambda t, layer: t > 500)
    with pytest.raises(PersoError, match="files of their own"):
        mixed.save(tmp_path / "mixed.safetensors")
