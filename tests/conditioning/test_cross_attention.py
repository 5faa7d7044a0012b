from contextlib import contextmanager

import pytest
import torch

from perso_lite import METHODS, PersoError, encode_prompts
from perso_lite.conditioning.cross_attention import (
    cross_attention_layers,
    rewritten_text,
    shared_by,
    shared_on,
    unet_inputs,
)


def draw(pipe, prompt="a cat", **options):
    options = {"num_inference_steps": 3, "output_type": "pt", **options}
    return pipe(prompt, generator=torch.Generator().manual_seed(0), **options).images


def test_order_is_the_order_of_calls(tiny):
    called, hooks = [], []
    for name, module in tiny.unet.named_modules():
        if name.endswith("attn2"):
            hooks.append(
                module.register_forward_hook(lambda *_, name=name: called.append(name))
            )
    draw(tiny, num_inference_steps=1)
    for hook in hooks:
        hook.remove()
    layers = cross_attention_layers(tiny.unet)
    assert [layer.name for layer in layers] == called
    assert [layer.position for layer in layers] == list(range(16))
    assert [layer.side for layer in layers] == ["down"] * 6 + ["mid"] + ["up"] * 9
    shrinks = [1, 1, 2, 2, 4, 4, 8, 4, 4, 4, 2, 2, 2, 1, 1, 1]
    assert [layer.shrink for layer in layers] == shrinks
    names = [layer.name + ".processor" for layer in layers]
    assert names != [name for name in tiny.unet.attn_processors if "attn2" in name]


def test_sizes_are_those_the_layers_see(tiny):
    layers, seen = cross_attention_layers(tiny.unet), []
    hooks = [
        tiny.unet.get_submodule(layer.name).register_forward_hook(
            lambda _, args, output: seen.append(output.shape[1])
        )
        for layer in layers
    ]
    states = encode_prompts(tiny, ["a cat"])
    tiny.unet(torch.randn(1, 4, 11, 6), 10, states)  # not powers of two
    for hook in hooks:
        hook.remove()
    assert seen == [torch.Size(layer.size(11, 6)).numel() for layer in layers]


def test_keys_and_values_are_rewritten_by_layer(tiny):
    plain, states = draw(tiny), encode_prompts(tiny, ["a dog"])
    unchanged = {"keys": lambda layer, text: text, "values": lambda layer, text: text}
    with rewritten_text(tiny.unet, **unchanged):
        assert torch.equal(draw(tiny), plain)

    def in_the_middle(layer, text):
        return states.expand_as(text) if layer.side == "mid" else text

    with rewritten_text(tiny.unet, values=in_the_middle):
        assert not torch.equal(draw(tiny), plain)
    assert torch.equal(draw(tiny), plain)


def test_gradients_flow_through_rewritten_text(tiny):
    learned = torch.zeros(32, requires_grad=True)
    with rewritten_text(tiny.unet, keys=lambda layer, text: text + learned):
        text = encode_prompts(tiny, ["a cat"]).detach()
        tiny.unet(torch.randn(1, 4, 8, 8), 5, text).sample.sum().backward()
    assert learned.grad.abs().sum() > 0


def test_the_inputs_of_a_call_are_read_however_they_are_given(tiny):
    seen, states = [], encode_prompts(tiny, ["a cat"]).expand(2, -1, -1)
    hook = tiny.unet.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(unet_inputs(args, kwargs)), with_kwargs=True
    )
    draw(tiny, num_inference_steps=2)
    latents = torch.randn(2, 4, 8, 8)
    tiny.unet(latents, 7, states)
    times = torch.tensor([3, 4])
    tiny.unet(sample=latents, timestep=times, encoder_hidden_states=states)
    hook.remove()
    assert [call.timesteps.tolist() for call in seen] == [
        [501, 501], [1, 1], [7, 7], [3, 4],
    ]  # fmt: skip
    assert [call.timestep.ndim for call in seen] == [0, 0, 0, 1]
    for call in seen[2:]:
        assert call.latents is latents and call.encoder_hidden_states is states


def test_what_is_shared_is_made_by_the_first_and_gone_with_it(tiny):
    made, names = [], list(vars(tiny.unet))

    @contextmanager
    def make():
        made.append(object())
        yield made[-1]

    with shared_on(tiny.unet, "thing", make) as one:
        with shared_on(tiny.unet, "thing", make) as other:
            assert one is other is shared_by(tiny.unet, "thing")
        assert shared_by(tiny.unet, "thing") is one
    assert len(made) == 1
    with pytest.raises(RuntimeError), shared_on(tiny.unet, "thing", make):
        raise RuntimeError
    assert shared_by(tiny.unet, "thing") is None
    assert list(vars(tiny.unet)) == names


# -- U-Nets that would pass what is attached -------------------------------------------

TEXT_ONLY = ("textual_inversion", "catversion", "textboost", "celeb_basis")
CHANGES_PROJECTIONS = [
    name for name in METHODS if name not in (*TEXT_ONLY, "perfusion")
]


RARE = {  # the tiny pipeline knows few words
    "dreambooth_lora": {"identifier_token": "hat"},
    "custom_diffusion": {"initializer_token": "hat"},
}


def fused(base):
    base.fuse_qkv_projections()


def compiled_in_place(base):
    base.unet.compile(backend="eager")


def compiled(base):
    base.unet = torch.compile(base.unet, backend="eager")


@pytest.mark.parametrize("change", [fused, compiled_in_place, compiled])
@pytest.mark.parametrize("name", CHANGES_PROJECTIONS)
def test_a_changed_unet_is_refused_and_nothing_is_left(own_tiny, change, name):
    method = METHODS[name](own_tiny, "teddy", **RARE.get(name, {}))
    change(own_tiny)
    tokenizer = own_tiny.tokenizer
    with pytest.raises(PersoError, match=r"fused|compiled"):
        method.attach(own_tiny).__enter__()
    assert own_tiny.tokenizer is tokenizer
    hooked = [m for m in own_tiny.unet.modules() if m._forward_pre_hooks]
    assert not hooked


def test_unfused_projections_can_be_used_again(own_tiny):
    own_tiny.fuse_qkv_projections()
    with pytest.raises(PersoError, match="unfuse_qkv_projections"):
        cross_attention_layers(own_tiny.unet)
    own_tiny.unfuse_qkv_projections()
    assert len(cross_attention_layers(own_tiny.unet)) == 16


def test_a_word_alone_needs_no_projections(own_tiny):
    own_tiny.fuse_qkv_projections()
    word = METHODS["textual_inversion"](own_tiny, "teddy")
    with word.attach(own_tiny):
        own_tiny("a <toy>", num_inference_steps=1)
