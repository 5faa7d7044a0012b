import pytest
import torch
from diffusers import PNDMScheduler

from perso_lite import PersoError, encode_prompts, generate
from perso_lite.attention.unet_calls import tracked_unet_calls
from perso_lite.sampling import denoise, starting_noise


def draw(pipe, prompt="a cat", **options):
    options = {"num_inference_steps": 3, "output_type": "pt", **options}
    return pipe(prompt, generator=torch.Generator().manual_seed(0), **options).images


def rows_seen(pipe, act, **options):
    """The rows with the prompt, and the step, of every U-Net call that `act` makes."""
    seen = []
    with tracked_unet_calls(
        pipe, finished=lambda c: seen.append((c.rows, c.step)), **options
    ):
        act()
    return [(rows.start, rows.stop, step) for rows, step in seen]


@pytest.mark.parametrize("scale, rows", [(7.5, (1, 2)), (1.0, (0, 1)), (0.0, (0, 1))])
def test_stock_call(tiny, scale, rows):
    got = rows_seen(tiny, lambda: draw(tiny, guidance_scale=scale))
    assert got == [(*rows, 0), (*rows, 1), (*rows, 2)]


@pytest.mark.parametrize("prompts", [["", "a cat"], ["a cat", "a cat"], ["", ""]])
@pytest.mark.parametrize("scale", [5.0, 1.0])
def test_prompts_that_look_like_negative_ones(tiny, prompts, scale):
    """The same seed twice: the halves of the latents are equal without guidance too."""
    expected = (2, 4) if scale > 1 else (0, 2)

    def stock():
        noise = [torch.Generator().manual_seed(0) for _ in prompts]
        tiny(
            prompts,
            guidance_scale=scale,
            generator=noise,
            num_inference_steps=1,
            output_type="latent",
        )

    def ours():
        generate(tiny, prompts, (0,), 1, scale, output_type="pt")

    assert rows_seen(tiny, stock) == [(*expected, 0)]
    assert rows_seen(tiny, ours) == [(*expected, 0)]


def test_one_call_does_not_mislead_the_next(tiny):
    """Guided, then not, with the texts that guidance had."""

    def act():
        for scale in (5.0, 1.0, 5.0):
            generate(tiny, ["", "a cat"], (0,), 1, scale, output_type="pt")
        draw(tiny, "a cat", num_inference_steps=1)
        states, noise = encode_prompts(tiny, ["", "a cat"]), torch.randn(1, 4, 8, 8)
        tiny.unet(torch.cat([noise, noise]), 5, states)

    rows = [(first, last) for first, last, _ in rows_seen(tiny, act)]
    assert rows == [(2, 4), (0, 2), (2, 4), (1, 2), (0, 2)]


def test_swapped_prompts_as_negative_ones(tiny):
    def act():
        tiny(
            ["a cat", "a dog"],
            negative_prompt=["a dog", "a cat"],
            num_inference_steps=1,
            output_type="latent",
        )

    assert rows_seen(tiny, act) == [(2, 4, 0)]


def test_text_given_encoded(tiny):
    prompted, unprompted = (encode_prompts(tiny, [text]) for text in ("a cat", "a hat"))
    given = {"prompt_embeds": prompted, "negative_prompt_embeds": unprompted}
    assert rows_seen(tiny, lambda: draw(tiny, None, **given))[0] == (1, 2, 0)
    plain = rows_seen(tiny, lambda: draw(tiny, None, guidance_scale=1, **given))
    assert plain[0] == (0, 1, 0)

    def same_noise_without_guidance():
        noise = [torch.Generator().manual_seed(0) for _ in range(2)]
        states = torch.cat([unprompted, prompted])
        tiny(
            prompt_embeds=states,
            guidance_scale=1,
            generator=noise,
            num_inference_steps=1,
            output_type="latent",
        )

    assert rows_seen(tiny, same_noise_without_guidance) == [(0, 2, 0)]


def test_one_seed_twice_without_guidance(tiny):
    def act():
        generate(tiny, "a cat", (0, 0), 1, 1.0, output_type="pt")

    assert rows_seen(tiny, act) == [(0, 2, 0)]


def test_text_that_a_method_encodes_within_a_call_is_its_own(tiny):
    def encode(*_):
        encode_prompts(tiny, ["a hat", "a cat"])

    def act():
        generate(tiny, "a cat", (0, 1), 2, 5.0, "a hat", batch_size=1, output_type="pt")

    hook = tiny.unet.mid_block.register_forward_pre_hook(encode)
    got = rows_seen(tiny, act)
    hook.remove()
    assert got == [(1, 2, 0), (1, 2, 1)] * 2


def test_only_the_next_timestep_of_the_schedule_goes_on(tiny):
    tiny.scheduler.set_timesteps(4)  # 751, 501, 251, 1

    def act():
        states, noisy = encode_prompts(tiny, ["a cat"]), torch.randn(1, 4, 8, 8)
        for timestep in (751, 501, 250, 251, 1, 1, 751):
            tiny.unet(noisy, timestep, states)

    steps = [step for _, _, step in rows_seen(tiny, act)]
    assert steps == [0, 1, 0, 0, 1, 0, 0]


def test_batches_one_after_another_begin_anew(tiny):
    def act(steps):
        generate(tiny, ["a cat"], (0, 1, 2), steps, 5.0, batch_size=1, output_type="pt")

    assert rows_seen(tiny, lambda: act(1)) == [(1, 2, 0)] * 3
    assert rows_seen(tiny, lambda: act(2)) == [(1, 2, 0), (1, 2, 1)] * 3


def test_schedules_that_repeat_a_timestep(own_tiny):
    own_tiny.scheduler = PNDMScheduler.from_config(
        own_tiny.scheduler.config, skip_prk_steps=True
    )
    got = rows_seen(own_tiny, lambda: draw(own_tiny))
    assert got == [(1, 2, step) for step in range(4)]


def test_training_steps_are_never_guided(tiny):
    def act():
        for _ in range(3):
            states = encode_prompts(tiny, ["a cat", "a dog"])
            tiny.unet(torch.randn(2, 4, 8, 8), torch.tensor([999, 998]), states)
            tiny.unet(torch.randn(1, 4, 8, 8), torch.tensor([999]), states[:1])
            tiny.unet(torch.randn(1, 4, 8, 8), torch.tensor([998]), states[:1])

    assert rows_seen(tiny, act) == [(0, 2, 0), (0, 1, 0), (0, 1, 0)] * 3


def test_what_cannot_be_told_is_asked(tiny):
    outside = encode_prompts(tiny, ["", "a cat"])
    noise = torch.randn(1, 4, 8, 8)

    def encoded_before():
        tiny.unet(torch.cat([noise, noise]), 5, outside)

    def in_another_order():
        null, cat = (encode_prompts(tiny, [text]) for text in ("", "a cat"))
        tiny.unet(torch.cat([noise, noise]), 5, torch.cat([null, cat]))

    def sampled_from_text_encoded_before():
        for _ in denoise(tiny, outside[1:], starting_noise(tiny, 0), outside[:1], 1, 5):
            pass

    for act in (encoded_before, in_another_order, sampled_from_text_encoded_before):
        with pytest.raises(PersoError, match="Say guided=True or guided=False"):
            rows_seen(tiny, act)
        assert rows_seen(tiny, act, guided=True) == [(1, 2, 0)]
        assert rows_seen(tiny, act, guided=False) == [(0, 2, 0)]
    with pytest.raises(PersoError, match="guidance doubles a batch"):
        rows_seen(tiny, lambda: tiny.unet(noise, 5, outside[1:]), guided=True)


def test_watching_leaves_nothing_behind(tiny):
    plain = draw(tiny)
    stop = pytest.raises(RuntimeError, match="stop")
    with stop, tracked_unet_calls(tiny), tracked_unet_calls(tiny):
        draw(tiny)
        raise RuntimeError("stop")
    assert "encode_prompt" not in vars(tiny)
    for module in (tiny.unet, tiny.text_encoder):
        assert not module._forward_hooks and not module._forward_pre_hooks
    assert torch.equal(draw(tiny), plain)


def test_an_error_within_a_call_is_forgotten_at_the_next(tiny):
    def fail(*_):
        raise RuntimeError("stop")

    seen = []
    with tracked_unet_calls(tiny, finished=lambda call: seen.append(call.ids)) as watch:
        hook = tiny.unet.mid_block.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="stop"):
            draw(tiny)
        hook.remove()
        assert not watch.running and not seen
        draw(tiny, "a dog", num_inference_steps=1)
    assert torch.equal(
        seen[0][0],
        tiny.tokenizer("a dog", padding="max_length", return_tensors="pt").input_ids[0],
    )
