import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from perso_lite import PersoError, encode_prompts
from perso_lite.conditioning.cross_attention import (
    choose_layers,
    cross_attention_layers,
    current_timestep,
    installed_processors,
    rewritten_text,
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


def test_layers_are_chosen_by_side_name_rows_and_position(tiny):
    layers = cross_attention_layers(tiny.unet)

    def positions(which, size=(16, 16)):
        return [layer.position for layer in choose_layers(layers, which, *size)]

    assert positions(None) == list(range(16))
    assert positions("mid") == [6]
    assert positions(layers[3].name) == [3]
    assert positions(8) == [2, 3, 10, 11, 12]
    assert positions(8, (8, 24)) == [0, 1, 13, 14, 15]
    assert positions((15, 0)) == [15, 0]
    for nonsense in ("left", 5, (0, 16), ()):
        with pytest.raises(PersoError, match="No cross-attention layers answer to"):
            positions(nonsense)


class Counting:
    def __init__(self, layer, called):
        self.layer, self.called, self.plain = layer, called, AttnProcessor2_0()

    def __call__(self, attn, hidden_states, **options):
        self.called.append(self.layer.position)
        return self.plain(attn, hidden_states, **options)


class WithWeights(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.plain = torch.nn.Parameter(torch.ones(1)), AttnProcessor()

    def forward(self, attn, hidden_states, **options):
        return self.weight * self.plain(attn, hidden_states, **options)


def test_processors_are_lent_with_a_fixed_index_and_given_back(own_tiny):
    layers = cross_attention_layers(own_tiny.unet)
    odd = own_tiny.unet.get_submodule(layers[4].name)
    odd.set_processor(WithWeights())  # a module registers itself, and must come back
    before, keys = own_tiny.unet.attn_processors, list(own_tiny.unet.state_dict())
    plain, called = draw(own_tiny), []
    lending = installed_processors(
        own_tiny.unet, lambda layer, present: Counting(layer, called)
    )
    with pytest.raises(RuntimeError, match="stop"), lending as lent:
        draw(own_tiny, num_inference_steps=2)
        raise RuntimeError("stop")
    assert lent == layers and called == [*range(16), *range(16)]
    after = own_tiny.unet.attn_processors
    assert all(after[name] is before[name] for name in before)
    assert list(own_tiny.unet.state_dict()) == keys
    assert torch.equal(draw(own_tiny), plain)


def test_make_is_given_the_present_processor(tiny):
    given = []

    def same(layer, present):
        given.append(present)
        return present

    with installed_processors(tiny.unet, same):
        pass
    assert [type(processor) for processor in given] == [AttnProcessor2_0] * 16


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


def test_current_timestep(tiny):
    seen, states = [], encode_prompts(tiny, ["a cat"]).expand(2, -1, -1)
    with current_timestep(tiny.unet) as timestep:
        with pytest.raises(PersoError, match="no timestep yet"):
            timestep()
        layer = tiny.unet.get_submodule(cross_attention_layers(tiny.unet)[6].name)
        hook = layer.register_forward_hook(lambda *_: seen.append(timestep().tolist()))
        draw(tiny, num_inference_steps=2)
        tiny.unet(torch.randn(2, 4, 8, 8), 7, states)
        tiny.unet(
            sample=torch.randn(2, 4, 8, 8),
            timestep=torch.tensor([3, 4]),
            encoder_hidden_states=states,
        )
        hook.remove()
    assert seen == [[501, 501], [1, 1], [7, 7], [3, 4]]
