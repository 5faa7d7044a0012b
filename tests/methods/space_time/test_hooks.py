import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from per_layer_helpers import OPTIONS, PROMPT, GivenWord, encodings_of, read_by_layers

from perso_lite import (
    Perfusion,
    PersoError,
    TextualInversion,
    attached,
    encode_prompts,
    generate,
    record_attention,
    swap_keys_values,
)
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.methods.space_time import encoding_cache
from perso_lite.methods.space_time.analysis import states_by_layer

TIME = torch.tensor([300])


@pytest.fixture
def word(tiny):
    return GivenWord(tiny)


@pytest.fixture
def latents():
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def read(base, states, latents, timestep=300):
    """What each layer makes keys and values of: (rows, layers, tokens, dim) each."""
    with read_by_layers(base) as seen:
        latents = latents.expand(len(states), -1, -1, -1)
        base.unet(latents, timestep, encoder_hidden_states=states)
    return tuple(torch.stack([calls[0] for calls in kind], 1) for kind in seen)


# -- what a layer reads ----------------------------------------------------------------


def test_every_layer_reads_its_own_text(tiny, word, latents):
    with word.attach(tiny):
        got = read(tiny, encode_prompts(tiny, [PROMPT]), latents)
        wanted = states_by_layer(word, [PROMPT], TIME)
    for mine, theirs in zip(got, wanted, strict=True):
        assert torch.equal(mine, theirs)
        for layer in range(15):
            assert (mine[:, layer] - mine[:, layer + 1]).abs().max() > 0.01


def test_a_row_is_read_at_its_own_timestep(tiny, word, latents):
    times = torch.tensor([10, 900, 10])
    with word.attach(tiny):
        states = encode_prompts(tiny, ["a <toy>", "a <toy>", "a cat"])
        got = read(tiny, states, latents, times)
        wanted = states_by_layer(word, ["a <toy>"] * 2, times[:2])
    for mine, theirs in zip(got, wanted, strict=True):
        assert torch.equal(mine[:2], theirs)
        assert torch.equal(mine[2], states[2].expand(16, -1, -1))
        assert (mine[0] - mine[1]).abs().max() > 0.01


@torch.no_grad()
def test_a_layer_that_is_called_alone_reads_what_it_is_given(tiny, word, latents):
    layer = cross_attention_layers(tiny.unet)[3]
    to_k = tiny.unet.get_submodule(layer.name).to_k
    with word.attach(tiny):
        states = encode_prompts(tiny, [PROMPT])
        given = to_k(states)  # before any call of the U-Net
        started = tiny.unet.conv_in(latents)
    assert torch.equal(given, to_k(states))
    assert torch.equal(started, tiny.unet.conv_in(latents))


@torch.no_grad()
def test_changing_one_layers_vector_changes_what_that_layer_reads(tiny, word, latents):
    with word.attach(tiny):
        states = encode_prompts(tiny, [PROMPT])
        before = read(tiny, states, latents)
        for layer in (0, 6, 15):
            word.table[layer] += torch.randn(32)
            after = read(tiny, states, latents)
            for old, new in zip(before, after, strict=True):
                changed = (new - old).abs().amax(dim=(0, 2, 3)).nonzero()
                assert changed.flatten().tolist() == [layer]
            before = after


@torch.no_grad()
def test_the_bypass_moves_values_and_never_keys(tiny, word, latents):
    with word.attach(tiny):
        states = encode_prompts(tiny, [PROMPT])
        before = read(tiny, states, latents)
        word.bypass_table[9] *= -1
        after = read(tiny, states, latents)
    assert torch.equal(before[0], after[0])
    changed = (after[1] - before[1]).abs().amax(dim=(0, 3))  # (layers, tokens)
    assert changed.nonzero().tolist() == [[9, 2]]  # where <toy> stands


@torch.no_grad()
def test_a_layers_attention_does_not_know_its_bypass(tiny, word):
    maps = []
    with word.attach(tiny):
        for _ in range(2):
            with record_attention(tiny) as recorded:
                generate(tiny, PROMPT, num_inference_steps=1)
            maps.append([recorded.tokens(layers=[i]) for i in (0, 5, 9, 10)])
            word.bypass_table[9] *= -1
    for layer in range(3):
        assert torch.equal(maps[0][layer], maps[1][layer])
    # the layers behind look at other pictures
    assert not torch.equal(maps[0][3], maps[1][3])


@torch.no_grad()
def test_what_does_not_say_the_word_is_left_alone(tiny, word, latents):
    prompts = ["a cat", PROMPT, "a hat"]
    before = generate(tiny, ["a cat", "a teddy", "a hat"], **OPTIONS)
    with word.attach(tiny):
        inside = generate(tiny, prompts, **OPTIONS)
        states = encode_prompts(tiny, prompts)
        read_there = read(tiny, states, latents)
    assert torch.equal(inside[::2], before[::2])
    assert not torch.equal(inside[1], before[1])
    for kind in read_there:
        for row in (0, 2):
            assert torch.equal(kind[row], states[row].expand(16, -1, -1))


def test_a_negative_prompt_may_say_the_word(tiny, word):
    drawn = {"num_inference_steps": 1, "output_type": "latent"}
    with word.attach(tiny), read_by_layers(tiny) as (keys, values):
        tiny("a cat", negative_prompt=PROMPT, **drawn)
        wanted = states_by_layer(word, [PROMPT], tiny.scheduler.timesteps)
        plain = encode_prompts(tiny, ["a cat"])[0]
    for layer in range(16):
        assert torch.equal(keys[layer][0][0], wanted[0][0, layer])
        assert torch.equal(values[layer][0][0], wanted[1][0, layer])
        assert torch.allclose(keys[layer][0][1], plain, atol=1e-6)
        assert torch.equal(keys[layer][0][1], values[layer][0][1])


# -- the stock call --------------------------------------------------------------------


@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize(
    ("scheduler", "fractional"),
    [
        (DDIMScheduler, False),
        (DPMSolverMultistepScheduler, False),
        (EulerDiscreteScheduler, True),
    ],
)
def test_the_stock_call_reads_the_word_at_its_schedulers_times(
    own_tiny, scheduler, fractional, guidance_scale
):
    config = {**own_tiny.scheduler.config, "timestep_spacing": "linspace"}
    own_tiny.scheduler = scheduler.from_config(config)
    word, prompts = GivenWord(own_tiny), ["a cat", PROMPT]
    with word.attach(own_tiny), read_by_layers(own_tiny) as (keys, values):
        images = own_tiny(
            prompts,
            num_inference_steps=5,
            num_images_per_prompt=2,
            guidance_scale=guidance_scale,
            output_type="pt",
        ).images
        times = own_tiny.scheduler.timesteps
        wanted = states_by_layer(word, [PROMPT] * len(times), times)
    assert images.shape == (4, 3, 32, 32)
    assert bool((times % 1 != 0).any()) == fractional
    assert [len(keys[layer]) for layer in range(16)] == [len(times)] * 16
    for seen, encoded in zip((keys, values), wanted, strict=True):
        for layer in range(16):
            for step, rows in enumerate(seen[layer]):
                assert len(rows) == (4 if guidance_scale == 1 else 8)
                assert torch.equal(rows[-1], encoded[step, layer])
                assert torch.equal(rows[-2], rows[-1])


@pytest.mark.parametrize("timestep", [-1, 1000, 999.5, float("nan")])
def test_a_time_that_training_never_saw_is_refused(tiny, word, latents, timestep):
    with word.attach(tiny):
        states = encode_prompts(tiny, [PROMPT, "a cat"])
        with pytest.raises(PersoError, match="learned for 0 to 999"):
            read(tiny, states, latents, timestep)
        read(tiny, states[1:], latents, 999)
        read(tiny, states, latents, 999)


# -- gradients -------------------------------------------------------------------------


def test_gradients_reach_every_layers_vectors(tiny, word, latents):
    with word.attach(tiny):
        states = encode_prompts(tiny, [PROMPT])
        tiny.unet(latents, TIME, states).sample.square().sum().backward()
    for parameter in (word.table, word.drift, word.bypass_table):
        assert parameter.grad.abs().amax(dim=1).min() > 0
    assert torch.allclose(word.drift.grad, 0.3 * word.table.grad, rtol=1e-4)


def test_training_encodes_every_text_and_time_once(tiny, word, latents):
    captions = ["a <toy>", "a <toy>", PROMPT, PROMPT, "a <toy>"]
    times = torch.tensor([7, 7, 7, 8, 7])  # three pairs
    with word.attach(tiny):
        states = word.encoder_hidden_states(captions, times)
        with encodings_of(tiny) as sizes, read_by_layers(tiny) as (keys, _):
            tiny.unet(latents.expand(5, -1, -1, -1), times, states)
        wanted, _ = states_by_layer(word, captions, times)
    assert sizes == [3 * 16]
    assert torch.allclose(torch.stack([k[0] for k in keys], 1), wanted, atol=1e-5)


# -- what is kept from picture to picture ----------------------------------------------


def test_the_next_picture_encodes_its_prompts_alone(tiny, word):
    options = {**OPTIONS, "num_inference_steps": 5}
    with word.attach(tiny), encodings_of(tiny) as sizes:
        first = generate(tiny, PROMPT, **options)
        assert sizes == [1, 1] + [16] * 5  # with the negative prompt
        sizes.clear()
        assert torch.equal(generate(tiny, PROMPT, **options), first)
        assert sizes == [1, 1]
        sizes.clear()
        generate(tiny, [PROMPT, "a <toy>"], seeds=(0, 1), **options)
        assert sizes == [2, 1] + [16] * 5
    with word.attach(tiny), encodings_of(tiny) as sizes:
        assert torch.equal(generate(tiny, PROMPT, **options), first)
        assert sizes == [1, 1] + [16] * 5  # nothing is kept when it is detached


def change_parameter(word):
    word.table[3] += 1.5 * torch.randn(32)


def change_alpha(word):
    word.bypass_alpha = 1.0


def change_text_encoder(word):
    projection = word.base.text_encoder.get_submodule("encoder.layers.1.mlp.fc1")
    projection.weight.mul_(2)


@torch.no_grad()
@pytest.mark.parametrize(
    "change", [change_parameter, change_alpha, change_text_encoder]
)
def test_what_is_kept_is_encoded_again_after_a_change(own_tiny, change):
    word = GivenWord(own_tiny)
    with word.attach(own_tiny):
        before = generate(own_tiny, PROMPT, **OPTIONS)
        change(word)
        after = generate(own_tiny, PROMPT, **OPTIONS)
    with word.attach(own_tiny):
        wanted = generate(own_tiny, PROMPT, **OPTIONS)
    assert torch.equal(after, wanted)
    assert (after - before).abs().max() > 1e-4


def test_what_is_kept_is_encoded_again_when_a_word_joins_or_leaves(tiny, word):
    prompt, without = "a <toy> and a <pet>", "a <toy> and a cat"
    pet, ant = GivenWord(tiny, "<pet>", seed=1), GivenWord(tiny, "<pet>", seed=2)
    with word.attach(tiny):
        alone = generate(tiny, without, **OPTIONS)
        drawn = []
        for other in (pet, ant, pet):
            with other.attach(tiny):
                drawn.append(generate(tiny, prompt, **OPTIONS))
        assert torch.equal(generate(tiny, without, **OPTIONS), alone)
    assert torch.equal(drawn[0], drawn[2])
    for one, other in ((alone, drawn[0]), (alone, drawn[1]), drawn[:2]):
        assert (one - other).abs().max() > 1e-4


# -- several words ---------------------------------------------------------------------


def test_two_words_in_one_prompt_read_as_two_words_of_their_vectors(tiny, word):
    prompt, pet = "a <toy> next to a <pet>", GivenWord(tiny, "<pet>", seed=1)
    with attached(tiny, word, pet):
        keys, values = states_by_layer(word, [prompt], TIME)
        assert all(
            torch.equal(*pair)
            for pair in zip(
                states_by_layer(pet, [prompt], TIME), (keys, values), strict=True
            )
        )
    for layer in (0, 6, 15):
        singles = []
        for each in (word, pet):
            single = TextualInversion(tiny, "teddy", each.placeholder_token)
            single.vectors.data = each.vectors(TIME)[0][:, layer].detach()
            singles.append(single)
        with attached(tiny, *singles):
            wanted = encode_prompts(tiny, [prompt])
        assert torch.allclose(keys[:, layer], wanted, atol=1e-5)
    moved = (values - keys).abs().amax(dim=(0, 1, 3)).nonzero().flatten()
    assert moved.tolist() == [2, 6]


def test_words_may_be_attached_in_any_order(tiny, word):
    pet = GivenWord(tiny, "<pet>", seed=1, bypass=False)
    single = TextualInversion(tiny, "cat", "<one>")
    prompt, drawn = "a <toy> next to a <pet> and a <one>", []
    for words in ((word, pet, single), (single, pet, word), (pet, single, word)):
        with attached(tiny, *words):
            drawn.append(generate(tiny, prompt, **OPTIONS))
    assert torch.allclose(drawn[0], drawn[1], atol=1e-5)
    assert torch.allclose(drawn[0], drawn[2], atol=1e-5)


def test_two_words_in_two_prompts_of_a_batch_do_not_meet(tiny, word):
    pet = GivenWord(tiny, "<pet>", seed=1)
    prompts = ["a <pet> in snow", PROMPT]
    alone = []
    for each, prompt in ((pet, prompts[0]), (word, prompts[1])):
        with each.attach(tiny):
            alone.append(generate(tiny, prompt, **OPTIONS)[0])
    with attached(tiny, word, pet):
        together = generate(tiny, prompts, **OPTIONS)
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.01


# -- afterwards ------------------------------------------------------------------------


def test_gradient_checkpointing_gives_the_same_gradients(own_tiny, latents):
    gradients = []
    for checkpointing in (False, True):
        word = GivenWord(own_tiny)
        if checkpointing:
            own_tiny.unet.train().enable_gradient_checkpointing()
        with word.attach(own_tiny), read_by_layers(own_tiny) as (keys, _):
            states = encode_prompts(own_tiny, [PROMPT])
            own_tiny.unet(latents, TIME, states).sample.square().sum().backward()
        assert len(keys[0]) == 1 + checkpointing  # the layer ran again
        gradients.append(torch.stack([p.grad for p in word.parameters()]))
    assert gradients[0].abs().max() > 0
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6 * gradients[0].abs().max())


def test_a_word_of_another_method_is_read_as_it_stands(tiny, word):
    other = TextualInversion(tiny, "cat", "<cat>")
    prompt = "a <cat> next to a <toy>"
    with word.attach(tiny):
        with other.attach(tiny):
            before = generate(tiny, prompt, **OPTIONS)
        with torch.no_grad():
            other.vectors += torch.randn(32)
        with other.attach(tiny):
            again = generate(tiny, prompt, **OPTIONS)
    with word.attach(tiny), other.attach(tiny):
        fresh = generate(tiny, prompt, **OPTIONS)
    assert torch.equal(again, fresh)
    assert not torch.allclose(before, fresh, atol=1e-3)


def test_layers_that_read_an_exchanged_prompt_read_its_word_too(tiny, word):
    with word.attach(tiny):
        said = generate(tiny, PROMPT, **OPTIONS)
        with swap_keys_values(tiny, keys=PROMPT, values=PROMPT):
            exchanged_for_it = generate(tiny, "a cat", **OPTIONS)
    assert torch.allclose(said, exchanged_for_it, atol=1e-5)


def test_attention_is_recorded_of_the_prompt_and_not_of_the_layers_texts(tiny, word):
    with word.attach(tiny), record_attention(tiny) as maps:
        generate(tiny, PROMPT, num_inference_steps=20)
    assert maps.words() == ["a", "<toy>", "on", "beach"]


def test_a_text_of_another_methods_word_is_left_alone_also_when_that_has_gone(
    tiny, word, latents
):
    with word.attach(tiny), encodings_of(tiny) as sizes:
        with TextualInversion(tiny, "cat", "<cat>").attach(tiny):
            states = encode_prompts(tiny, ["a <cat>"])
        sizes.clear()
        for kind in read(tiny, states, latents):
            assert torch.equal(kind, states[:, None].expand_as(kind))
    assert sizes == []


def test_a_text_is_still_known_when_another_word_has_come_and_gone(tiny, word, latents):
    with word.attach(tiny):
        states = encode_prompts(tiny, [PROMPT])
        before = read(tiny, states, latents)[0]
        with GivenWord(tiny, "<pet>", seed=1).attach(tiny):
            between = read(tiny, states, latents)[0]
        after = read(tiny, states, latents)[0]
    for one, two, three in zip(before, between, after, strict=True):
        assert torch.equal(one, two) and torch.equal(two, three)


def test_a_prompt_that_says_a_word_twice_is_refused_before_anything_is_drawn(
    tiny, word
):
    drawn = []
    hook = tiny.unet.register_forward_hook(lambda *_: drawn.append(1))
    with word.attach(tiny), pytest.raises(PersoError, match="2 times"):
        generate(tiny, ["a cat", "a <toy> next to a <toy>"], batch_size=1)
    hook.remove()
    assert drawn == []


@torch.no_grad()
def test_the_oldest_encodings_are_dropped_and_made_again(
    tiny, word, latents, monkeypatch
):
    monkeypatch.setattr(encoding_cache, "KEPT_BYTES", 1)
    with word.attach(tiny), encodings_of(tiny) as sizes:
        states = encode_prompts(tiny, [PROMPT])
        first = read(tiny, states, latents, 300)[0]
        read(tiny, states, latents, 400)
        assert sum(sizes) == 1 + 2 * 16
        again = read(tiny, states, latents, 300)[0]
        assert sum(sizes) == 1 + 3 * 16
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


def test_many_prompts_are_encoded_some_at_a_time(tiny, word):
    prompts = [
        f"a <toy> {place} a {thing}"
        for place in ("on", "in", "next")
        for thing in ("cat", "dog")
    ]
    with word.attach(tiny), encodings_of(tiny) as sizes:
        together = generate(tiny, prompts, **OPTIONS)
    assert max(sizes) == encoding_cache.AT_ONCE * 16
    with word.attach(tiny):
        alone = [generate(tiny, prompt, **OPTIONS)[0] for prompt in prompts]
    assert torch.allclose(together, torch.stack(alone), atol=1e-4)


def test_local_locking_goes_with_it_and_global_locking_does_not(tiny, word, covariance):
    locked = Perfusion(tiny, "cat", "<cat>", covariance=covariance)
    prompt = "a <cat> next to a <toy>"
    with attached(tiny, word, locked):
        one = generate(tiny, prompt, **OPTIONS)
    with attached(tiny, locked, word):
        other = generate(tiny, prompt, **OPTIONS)
    assert torch.allclose(one, other, atol=1e-5)
    locked.key_locking = "global"
    with attached(tiny, locked, word), pytest.raises(PersoError, match="Global key"):
        generate(tiny, prompt, **OPTIONS)


def test_words_are_read_in_half_precision(own_tiny):
    word = GivenWord(own_tiny)
    with word.attach(own_tiny):
        fine = generate(own_tiny, PROMPT, **OPTIONS)
    for part in (own_tiny.text_encoder, own_tiny.unet, own_tiny.vae):
        part.to(torch.bfloat16)
    with word.attach(own_tiny):
        coarse = generate(own_tiny, PROMPT, **OPTIONS)
    assert (fine - coarse.float()).abs().mean() < 0.02


def test_a_text_that_says_two_words_is_left_alone_when_one_has_gone(
    tiny, word, latents
):
    with word.attach(tiny):
        with TextualInversion(tiny, "cat", "<cat>").attach(tiny):
            states = encode_prompts(tiny, ["a <cat> on a <toy>"])
            assert not torch.equal(read(tiny, states, latents)[0][:, 0], states)
        assert torch.equal(read(tiny, states, latents)[0][:, 0], states)


@pytest.mark.parametrize("before", [0, 1])
def test_a_prompt_that_was_encoded_in_an_earlier_block_is_read_by_the_layers(
    tiny, before
):
    word, other = GivenWord(tiny), TextualInversion(tiny, "dog", "<dog>")
    options = {"num_inference_steps": 2, "output_type": "latent"}

    def draw(**prompt):
        generator = torch.Generator().manual_seed(0)
        return tiny(generator=generator, **prompt, **options).images

    with attached(tiny, word):
        wanted = draw(prompt=PROMPT)
        states, null_state = tiny.encode_prompt(PROMPT, "cpu", 1, True)
    with attached(tiny, *([other] * before), word):  # its id may be another one now
        given = {"prompt_embeds": states, "negative_prompt_embeds": null_state}
        assert torch.allclose(draw(**given), wanted, atol=1e-5)
