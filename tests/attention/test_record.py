import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from perso_lite import PersoError, TextualInversion, encode_prompts, generate
from perso_lite.attention.record import record_attention
from perso_lite.attention.swap import inject_prompts, swap_keys_values
from perso_lite.conditioning.cross_attention import cross_attention_layers

PROMPT = "a cat wearing a hat on a beach"


def noise(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def draw(pipe, prompt=PROMPT, seeds=(0,), **options):
    options = {"num_inference_steps": 3, "output_type": "pt", **options}
    return pipe(prompt, generator=noise(*seeds), **options).images


def close(one, other, atol=1e-6):
    return torch.allclose(one, other, atol=atol)


CALLS = {
    "guidance": lambda pipe: draw(pipe, guidance_scale=7.5),
    "guidance 1": lambda pipe: draw(pipe, guidance_scale=1.0),
    "guidance 0": lambda pipe: draw(pipe, guidance_scale=0.0),
    "two prompts, two pictures each": lambda pipe: draw(
        pipe, ["a cat", "a dog on a beach"], range(4), num_images_per_prompt=2
    ),
    "negative prompt": lambda pipe: draw(pipe, negative_prompt="a dog"),
    "not square": lambda pipe: draw(pipe, height=24, width=56),
    "generate": lambda pipe: generate(
        pipe, ["a cat", "a dog"], (0, 1, 2), 2, batch_size=4, output_type="pt"
    ),
}
PICTURES = {"two prompts, two pictures each": 4, "generate": 6}


@pytest.mark.parametrize("name", CALLS)
def test_recording_changes_nothing_and_maps_sum_to_one(tiny, name):
    plain = CALLS[name](tiny)
    with record_attention(tiny) as maps:
        recorded = CALLS[name](tiny)
    assert torch.equal(recorded, plain)
    assert torch.equal(CALLS[name](tiny), plain)
    assert len(maps) == PICTURES.get(name, 1)
    for picture in range(len(maps)):
        tokens = maps.tokens(picture)
        # our latents are a quarter of the picture
        assert tokens.shape == (24, *(side // 4 for side in plain.shape[-2:]))
        assert tokens.min() >= 0
        assert close(tokens.sum(0), torch.ones(tokens.shape[1:]))


def test_the_pipelines_words_and_extremes_share_everything(tiny):
    with record_attention(tiny) as maps:
        draw(tiny)
    start, padding = maps.start_token(), maps.padding()
    words = maps.word("a") + maps.word("a", occurrence=1) + maps.word("a", occurrence=2)
    for word in ("cat", "wearing", "hat", "on", "beach"):
        words = words + maps.word(word)
    assert close(start + words + padding, torch.ones(8, 8))
    assert close(start, maps.tokens()[0])
    assert close(padding, maps.tokens()[9:].sum(0))
    assert maps.labels()[:3] == ["<|startoftext|>", "a", "cat"]
    assert len(maps.labels()) == 24
    assert maps.words() == ["a", "cat", "wearing", "hat", "on", "beach"]  # each once


@pytest.mark.parametrize("processor", [AttnProcessor(), AttnProcessor2_0()])
def test_whatever_computes_the_attention(own_tiny, processor):
    with record_attention(own_tiny) as wanted:
        draw(own_tiny)
    own_tiny.unet.set_attn_processor(processor)
    plain = draw(own_tiny)
    with record_attention(own_tiny) as maps:
        assert torch.equal(draw(own_tiny), plain)
    assert close(maps.tokens(), wanted.tokens(), 1e-5)


def test_attention_slicing_is_not_in_the_way(own_tiny):
    """Not even if it is switched on inside: it replaces processors without a word."""
    with record_attention(own_tiny) as wanted:
        draw(own_tiny)
    with record_attention(own_tiny) as maps:
        own_tiny.enable_attention_slicing(1)
        draw(own_tiny)
    assert close(maps.tokens(), wanted.tokens(), 1e-5)


def test_maps_are_those_the_explicit_processor_uses(own_tiny):
    """Against probabilities taken from within diffusers' own computation."""
    own_tiny.unet.set_attn_processor(AttnProcessor())
    layer = cross_attention_layers(own_tiny.unet)[9]
    attention, used = own_tiny.unet.get_submodule(layer.name), []
    scores = attention.get_attention_scores

    def spy(*args):
        used.append(scores(*args))
        return used[-1]

    attention.get_attention_scores = spy
    states = encode_prompts(own_tiny, ["a cat"])
    own_tiny.unet(torch.randn(1, 4, 8, 8), 5, states)
    del attention.get_attention_scores
    used.clear()
    with record_attention(own_tiny, prompts="a cat", keep_heads=True) as maps:
        attention.get_attention_scores = spy
        own_tiny.unet(torch.randn(1, 4, 8, 8), 5, states)
    del attention.get_attention_scores
    theirs, ours = used  # (heads, pixels, tokens), once for each
    assert torch.equal(theirs, ours)
    assert close(maps._batches[0].sums[9][0], theirs)


@pytest.mark.parametrize("act", ["stock", "generate"])
def test_the_recorded_half_has_the_prompt(tiny, act):
    start = torch.randn(1, 4, 8, 8, generator=noise(0)[0])
    states = encode_prompts(tiny, [PROMPT])
    tiny.scheduler.set_timesteps(3)
    with record_attention(tiny, prompts=PROMPT) as wanted, torch.no_grad():
        tiny.unet(start, tiny.scheduler.timesteps[0], states)
    with record_attention(tiny, keep_steps=True) as maps:
        if act == "stock":
            draw(tiny, negative_prompt="a dog")
        else:
            generate(tiny, PROMPT, (0,), 3, 7.5, "a dog")
    with record_attention(tiny, prompts="a dog") as negative, torch.no_grad():
        tiny.unet(start, tiny.scheduler.timesteps[0], encode_prompts(tiny, ["a dog"]))
    assert len(wanted) == len(maps) == 1
    half_precision = 5e-5  # a tiny random U-Net attends almost evenly, 1 / 24
    assert close(maps.tokens(steps=0), wanted.tokens(), half_precision)
    assert not close(maps.tokens(steps=0), negative.tokens(), 20 * half_precision)


def test_pictures_stand_in_the_order_of_drawing(tiny):
    prompts, seeds = ["a cat", "a dog on a beach"], (3, 4, 5)
    with record_attention(tiny) as maps:
        generate(tiny, prompts, seeds, 2, batch_size=4)
    with record_attention(tiny) as stock:
        draw(tiny, prompts, seeds * 2, num_inference_steps=2, num_images_per_prompt=3)
    for picture in range(6):
        prompt, seed = prompts[picture // 3], seeds[picture % 3]
        with record_attention(tiny) as alone:
            draw(tiny, prompt, (seed,), num_inference_steps=2, guidance_scale=5.0)
        assert close(maps.tokens(picture), alone.tokens(), 1e-5)
        assert maps.labels(picture) == alone.labels() == stock.labels(picture)


def test_a_training_step_is_recorded_as_it_is(tiny):
    vector = torch.zeros(32, requires_grad=True)
    with record_attention(tiny) as maps:
        for _ in range(2):
            states = encode_prompts(tiny, ["a cat", "a dog"])
            predicted = tiny.unet(
                torch.randn(2, 4, 8, 8), torch.tensor([5, 900]), states + vector * 0
            ).sample
            predicted.sum().backward()
    assert len(maps) == 4 and vector.grad is not None
    assert not maps.word("dog", 1).requires_grad
    assert maps.word("dog", 3).shape == (8, 8)


def test_gradient_checkpointing_is_recorded_once(own_tiny):
    own_tiny.unet.train().enable_gradient_checkpointing()
    noisy, text = torch.randn(1, 4, 8, 8), encode_prompts(own_tiny, ["a dog"])
    with record_attention(own_tiny) as maps:
        states = encode_prompts(own_tiny, ["a cat"]).requires_grad_()
        own_tiny.unet(noisy, 5, states).sample.sum().backward()
    assert len(maps) == 1 and close(maps.tokens().sum(0), torch.ones(8, 8))
    with swap_keys_values(own_tiny, "a dog", "a dog"):
        own_tiny.unet(noisy, 5, states).sample.sum().backward()
    assert text.shape == states.grad.shape


def test_other_shapes_of_stable_diffusion(own_tiny):
    """As version 2: linear projections, other heads in each block, upcast attention."""
    torch.manual_seed(0)
    config = {
        **own_tiny.unet.config,
        "use_linear_projection": True,
        "attention_head_dim": (1, 2, 4, 4),
        "upcast_attention": True,
    }
    own_tiny.unet = UNet2DConditionModel.from_config(config).eval().bfloat16()
    own_tiny.text_encoder.bfloat16()
    with record_attention(own_tiny, keep_heads=True) as maps:
        draw(own_tiny, output_type="latent")
    assert close(maps.tokens().sum(0), torch.ones(8, 8), 1e-2)
    assert close(
        maps.word("cat", layers="mid", heads=3), maps.tokens(layers=[6], heads=3)[2]
    )
    with pytest.raises(PersoError, match="there are 1, counted from 0"):
        maps.word("cat", heads=1)


def test_masked_text_gets_no_attention(tiny):
    mask = torch.ones(2, 24)
    mask[:, 4:] = 0
    with record_attention(tiny) as maps, torch.no_grad():
        states = encode_prompts(tiny, ["a cat", "a dog"])
        noisy = torch.randn(2, 4, 8, 8)
        tiny.unet(noisy, 5, states, encoder_attention_mask=mask)
    assert maps.tokens(1)[4:].max() < 1e-6
    assert close(maps.tokens(1)[:4].sum(0), torch.ones(8, 8))


# -- words -----------------------------------------------------------------------------


def test_a_word_of_several_tokens_is_their_sum(tiny):
    assert len(tiny.tokenizer.tokenize("hatbeach")) > 1  # no word of the vocabulary
    with record_attention(tiny) as maps:
        draw(tiny, "a hatbeach on a beach")
    count = len(tiny.tokenizer.tokenize("hatbeach"))
    assert close(maps.word("hatbeach"), maps.tokens()[2 : 2 + count].sum(0))
    # "beach" ends the longer word and is also a word of its own
    assert close(maps.word("beach"), maps.tokens()[4 + count])
    phrase = maps.tokens()[2 + count : 5 + count].sum(0)
    assert close(maps.word("on a beach"), phrase)


def test_a_placeholder_of_three_vectors_is_one_word(tiny):
    method = TextualInversion(tiny, "cat", "<toy>", num_vectors=3)
    torch.nn.init.normal_(method.vectors)
    # the concept may come and go inside
    with record_attention(tiny) as maps, method.attach(tiny), torch.no_grad():
        draw(tiny, "a <toy> on a beach")
    assert maps.labels()[2:5] == ["<toy>", "<toy>_1", "<toy>_2"]
    assert maps.words() == ["a", "<toy>", "on", "beach"]
    assert close(maps.word("<toy>"), maps.tokens()[2:5].sum(0))
    assert close(maps.word("on"), maps.tokens()[5])
    assert close(maps.word("<toy>_1"), maps.tokens()[3])


def test_the_second_occurrence(tiny):
    with record_attention(tiny) as maps:
        draw(tiny, "a cat and a cat")
    assert close(maps.word("cat"), maps.tokens()[2])
    assert close(maps.word("cat", occurrence=1), maps.tokens()[5])


def test_prompts_can_be_said_instead(tiny):
    text = [encode_prompts(tiny, [prompt]) for prompt in ("a cat", "a dog")]
    options = {"guidance_scale": 1, "num_inference_steps": 1}
    with record_attention(tiny, prompts=["a cat", "a dog"]) as maps:
        for states in text:
            draw(tiny, None, prompt_embeds=states, **options)
    assert close(maps.word("dog", 1), maps.tokens(1)[2])
    with record_attention(tiny) as told:
        draw(tiny, "a dog", **options)
    assert close(maps.word("dog", 1), told.word("dog"))


# -- layers, steps and heads -----------------------------------------------------------


def test_layers_make_up_the_whole(tiny):
    with record_attention(tiny) as maps:
        draw(tiny)
    single = [maps.word("cat", layers=[i]) for i in range(16)]
    assert [layer.position for layer in maps.layers] == list(range(16))
    assert close(maps.word("cat"), torch.stack(single).mean(0))
    assert close(maps.word("cat", layers="down"), torch.stack(single[:6]).mean(0))
    assert close(maps.word("cat", layers="mid"), single[6])
    assert close(maps.word("cat", layers=maps.layers[7].name), single[7])
    whole = torch.stack([single[i] for i in (0, 1, 13, 14, 15)]).mean(0)
    assert close(maps.word("cat", layers=8), whole)


def test_kept_steps_and_heads_make_up_the_sum(tiny):
    with record_attention(tiny) as maps:
        draw(tiny)
    with record_attention(tiny, keep_steps=True, keep_heads=True) as kept:
        draw(tiny)
    assert close(kept.tokens(), maps.tokens())
    assert close(kept.tokens(steps=range(3)), maps.tokens(), 5e-5)
    steps = [kept.tokens(steps=step) for step in range(3)]
    assert close(torch.stack(steps).mean(0), maps.tokens(), 5e-5)
    assert not close(steps[0], steps[2], 1e-5)
    heads = [kept.tokens(heads=head) for head in range(2)]
    assert close(torch.stack(heads).mean(0), maps.tokens())
    assert not close(heads[0], heads[1], 1e-3)
    assert close(
        kept.word("cat", steps=1, heads=[1]).sum(),
        kept.tokens(steps=1, heads=1)[2].sum(),
    )
    assert {part.dtype for part in kept._batches[0].kept[0]} == {torch.float16}


def test_memory_does_not_grow_with_steps(tiny):
    with record_attention(tiny) as maps:
        draw(tiny, num_inference_steps=2)
        draw(tiny, num_inference_steps=7)
    few, many = maps._batches
    assert [part.shape for part in few.sums] == [part.shape for part in many.sums]
    assert (few.count, many.count, many.kept) == (2, 7, [])


def test_an_error_inside_leaves_the_pipeline_as_it_was(tiny):
    plain = draw(tiny)
    stop = pytest.raises(RuntimeError, match="stop")
    with (
        stop,
        record_attention(tiny),
        swap_keys_values(tiny, "a dog"),
        inject_prompts(tiny, {("mid", None): "a hat"}),
    ):
        draw(tiny)
        raise RuntimeError("stop")
    assert torch.equal(draw(tiny), plain)
    hooked = [
        m for m in tiny.unet.modules() if m._forward_hooks or m._forward_pre_hooks
    ]
    assert not hooked and "encode_prompt" not in vars(tiny)


def test_every_mistake_is_answered_in_a_sentence(tiny):
    with record_attention(tiny) as maps:
        with pytest.raises(PersoError, match="Nothing was recorded"):
            maps.word("cat")
        draw(tiny, "a cat and a cat")
    for word, times in (
        ("dog", "not at all"),
        ("ca", "not at all"),
        ("", "not at all"),
    ):
        with pytest.raises(PersoError, match=f'"a cat and a cat", says it {times}'):
            maps.word(word)
    with pytest.raises(PersoError, match=r"Occurrence 2 .* says it 2 times"):
        maps.word("cat", occurrence=2)
    for picture in (1, -1):
        with pytest.raises(PersoError, match=f"no picture {picture}: 1 were recorded"):
            maps.word("cat", picture)
    with pytest.raises(PersoError, match="keep_steps=True"):
        maps.word("cat", steps=0)
    with pytest.raises(PersoError, match="keep_heads=True"):
        maps.start_token(heads=[0])
    with pytest.raises(PersoError, match="No cross-attention layers answer to"):
        maps.padding(layers="left")
    with record_attention(tiny, keep_steps=True) as maps:
        draw(tiny)
    for steps in (3, -1, []):
        with pytest.raises(PersoError, match="there are 3, counted from 0"):
            maps.word("cat", steps=steps)


def test_unknown_text_is_said(tiny):
    states = encode_prompts(tiny, ["a cat"])
    with record_attention(tiny) as maps:
        tiny.unet(torch.randn(1, 4, 8, 8), 5, states)
    for ask in (lambda: maps.word("cat"), maps.padding, maps.labels):
        with pytest.raises(PersoError, match="prompt of picture 0 is not known"):
            ask()
    assert maps.start_token().shape == (8, 8)


def test_a_layer_run_alone_is_not_recorded(tiny):
    states = encode_prompts(tiny, ["a cat"])
    with record_attention(tiny) as maps:
        attention = tiny.unet.get_submodule(maps.layers[0].name)
        attention(torch.randn(1, 64, 32), encoder_hidden_states=states)
    assert len(maps) == 0


def test_unknown_processors_are_refused_unless_they_promise(own_tiny):
    class Own(AttnProcessor2_0):
        pass

    own_tiny.unet.set_attn_processor(Own())
    with record_attention(own_tiny), pytest.raises(PersoError, match="has a Own"):
        draw(own_tiny)
    Own.plain_attention = True
    with record_attention(own_tiny) as maps:
        draw(own_tiny)
    assert len(maps) == 1
    own_tiny.unet.set_attn_processor(AttnProcessor2_0())
    own_tiny.unet.fuse_qkv_projections()
    with pytest.raises(PersoError, match="unfuse_qkv"), record_attention(own_tiny):
        pass


@pytest.mark.parametrize("changed", ["text_encoder_2", "unet", "text_encoder"])
def test_another_architecture_is_refused(own_tiny, changed):
    setattr(own_tiny, changed, torch.nn.Linear(1, 1))
    with (
        pytest.raises(PersoError, match=f"its {changed} is a Linear"),
        record_attention(own_tiny),
    ):
        pass
