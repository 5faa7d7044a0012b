import pytest
import torch

from perso_lite import PersoError, encode_prompts, generate
from perso_lite.attention.record import record_attention
from perso_lite.attention.swap import inject_prompts, swap_keys_values
from perso_lite.conditioning.cross_attention import cross_attention_layers

PROMPT = "a cat wearing a hat on a beach"


def draw(pipe, prompt=PROMPT, **options):
    options = {"num_inference_steps": 3, "output_type": "pt", **options}
    return pipe(prompt, generator=torch.Generator().manual_seed(0), **options).images


# -- keys and values -------------------------------------------------------------------


def test_exchanging_a_prompt_for_itself_changes_nothing(tiny):
    for scale in (7.5, 1.0):
        plain = draw(tiny, guidance_scale=scale)
        with swap_keys_values(tiny, keys=PROMPT, values=PROMPT):
            assert torch.equal(draw(tiny, guidance_scale=scale), plain)
        with swap_keys_values(tiny, values=PROMPT):
            assert torch.equal(draw(tiny, guidance_scale=scale), plain)


def test_keys_and_values_do_different_things(tiny):
    plain, dog = draw(tiny), draw(tiny, "a dog")
    with swap_keys_values(tiny, keys="a dog"):
        where = draw(tiny)
    with swap_keys_values(tiny, values="a dog"):
        what = draw(tiny)
    with swap_keys_values(tiny, keys="a dog", values="a dog"):
        both = draw(tiny)
    pictures = (plain, dog, where, what)
    for i, one in enumerate(pictures):
        assert not any(torch.equal(one, other) for other in pictures[i + 1 :])
    assert torch.equal(both, dog)
    assert torch.equal(draw(tiny), plain)


def test_negative_prompts_are_left_alone(tiny):
    dog = draw(tiny, "a dog", negative_prompt="a hat")
    with swap_keys_values(tiny, "a dog", "a dog"):
        assert torch.equal(draw(tiny, negative_prompt="a hat"), dog)
        assert not torch.equal(draw(tiny, negative_prompt="a dog"), dog)


def test_exchanged_in_generate_and_in_direct_calls(tiny):
    dogs = generate(tiny, "a dog", (0, 1, 2), 2, batch_size=2, output_type="pt")
    states = {text: encode_prompts(tiny, [text]) for text in ("a cat", "a dog")}
    latents = torch.randn(1, 4, 8, 8)
    with swap_keys_values(tiny, "a dog", "a dog"), torch.no_grad():
        got = generate(tiny, "a cat", (0, 1, 2), 2, batch_size=2, output_type="pt")
        direct = tiny.unet(latents, 5, states["a cat"]).sample
    assert torch.equal(got, dogs)
    with torch.no_grad():
        assert torch.equal(direct, tiny.unet(latents, 5, states["a dog"]).sample)


def test_maps_inside_follow_the_keys(tiny):
    with (
        swap_keys_values(tiny, keys="a dog"),
        record_attention(tiny, prompts="a dog") as maps,
    ):
        draw(tiny, num_inference_steps=1)
    with record_attention(tiny) as dog:
        draw(tiny, "a dog", num_inference_steps=1)
    first = [0]  # before the values of the first layer can make a difference
    got, wanted = maps.word("dog", layers=first), dog.word("dog", layers=first)
    assert torch.allclose(got, wanted, atol=1e-6)


# -- prompts by layer and step ---------------------------------------------------------


@pytest.mark.parametrize("scale", [7.5, 1.0])
def test_a_probe_over_everything_is_the_other_prompt(tiny, scale):
    dog = draw(tiny, "a dog", guidance_scale=scale, negative_prompt="a hat")
    everywhere = (
        {(None, None): "a dog"},
        {(None, (0, 3)): "a dog"},
        {(side, None): "a dog" for side in ("down", "mid", "up")},
        {(None, (0, 1)): "a dog", (None, (1, 99)): "a dog"},
        {(None, None): "a hat", (tuple(range(16)), None): "a dog"},  # the later wins
    )
    for prompts_by in everywhere:
        with inject_prompts(tiny, prompts_by):
            got = draw(tiny, guidance_scale=scale, negative_prompt="a hat")
        assert torch.equal(got, dog)


def test_a_probe_acts_where_and_when_it_says(tiny):
    def text_read(layer, prompts_by):
        """What a layer's keys are made of, at each step: cat or dog."""
        read = []
        keys = tiny.unet.get_submodule(
            cross_attention_layers(tiny.unet)[layer].name
        ).to_k
        with inject_prompts(tiny, prompts_by):
            hook = keys.register_forward_hook(
                lambda _, args, out: read.append(args[0][1])
            )
            draw(tiny, "a cat")
            hook.remove()
        names = {text: encode_prompts(tiny, [text])[0] for text in ("a cat", "a dog")}
        return [
            n for got in read for n, text in names.items() if torch.equal(got, text)
        ]

    cat, dog = "a cat", "a dog"
    assert text_read(6, {("mid", (1, 3)): dog}) == [cat, dog, dog]
    assert text_read(5, {("mid", (1, 3)): dog}) == [cat, cat, cat]
    assert text_read(0, {(8, (0, 1)): dog}) == [dog, cat, cat]
    assert text_read(2, {(8, (0, 1)): dog}) == [cat, cat, cat]
    assert text_read(2, {((2, 3), None): dog}) == [dog, dog, dog]


def test_a_probe_of_keys_or_values_is_the_swap_of_keys_or_values(tiny):
    everywhere = {(None, None): "a dog"}
    for keys, values in ((True, False), (False, True)):
        with inject_prompts(tiny, everywhere, keys=keys, values=values):
            injected = draw(tiny)
        given = {"keys": "a dog"} if keys else {"values": "a dog"}
        with swap_keys_values(tiny, **given):
            assert torch.equal(draw(tiny), injected)
        assert not torch.equal(injected, draw(tiny, "a dog"))


def test_mistakes_in_exchanging_are_answered_in_a_sentence(tiny):
    with (
        pytest.raises(PersoError, match="neither keys nor values"),
        swap_keys_values(tiny),
    ):
        pass
    with pytest.raises(PersoError, match="no prompts"), inject_prompts(tiny, {}):
        pass
    with (
        pytest.raises(PersoError, match="neither keys nor values"),
        inject_prompts(tiny, {("mid", None): "a dog"}, keys=False, values=False),
    ):
        pass
    for steps in ((3, 3), (-1, 2), (1,)):
        wrong = {("mid", steps): "a dog"}
        with (
            pytest.raises(PersoError, match="no range of steps"),
            inject_prompts(tiny, wrong),
        ):
            pass
    refused = pytest.raises(PersoError, match="No cross-attention layers answer to")
    with refused, inject_prompts(tiny, {("left", None): "a dog"}):
        draw(tiny)
