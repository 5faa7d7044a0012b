import copy

import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of
from safetensors.torch import load_file

from perso_lite import DreamBoothLoRA, PersoError, attached, encode_prompts, generate

OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}
PROMPT = "a {} on a beach"


def make(base, placeholder_token="<toy>", seed=None, **options):
    """A LoRA of four class pictures; with a seed, as if it had learned something."""
    options = {"identifier_token": "weird", "prior_pictures": 4, **options}
    method = DreamBoothLoRA(base, "teddy", placeholder_token, **options)
    return method if seed is None else disturbed(method, 0.3, seed)


def test_it_holds_two_thin_matrices_a_projection_and_nothing_else(tiny):
    method = make(tiny, rank=3)
    # seven layers a side, two attentions in each, of four projections
    projections = [
        module
        for name, module in tiny.unet.named_modules()
        if name.endswith(("to_q", "to_k", "to_v", "to_out.0"))
    ]
    assert (
        len(method.lora.layers)
        == len(projections)
        == len(list(method.parameters())) / 2
    )
    wanted = sum(3 * (p.in_features + p.out_features) for p in projections)
    assert sum(value.numel() for value in method.state_dict().values()) == wanted
    assert all(parameter.requires_grad for parameter in method.parameters())


def test_every_b_is_zero_at_the_start_and_every_a_is_not(tiny):
    start = make(tiny).state_dict()
    assert all((start[key] == 0).all() == key.endswith("B.weight") for key in start)


def test_before_training_it_is_the_base_with_identifier_and_class_word(tiny):
    wanted = generate(tiny, PROMPT.format("weird teddy"), **OPTIONS)
    with make(tiny).attach(tiny):
        assert torch.equal(generate(tiny, PROMPT.format("<toy>"), **OPTIONS), wanted)
        same = generate(tiny, PROMPT.format("weird teddy"), **OPTIONS)
    assert torch.equal(same, wanted)


def test_two_add_up(tiny):
    one, two = make(tiny, "<one>", seed=0), make(tiny, "<two>", seed=1)
    name = next(iter(one.lora.layers))
    plain = tiny.unet.get_submodule(name)
    x = torch.randn(2, 5, plain.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = plain(x)
        for method in (one, two):
            a, b = method.matrices[name.replace(".", "_")].values()
            wanted = wanted + x @ a.weight.T @ b.weight.T
        with attached(tiny, one, two):
            assert torch.allclose(tiny.unet.get_submodule(name)(x), wanted, atol=1e-5)


def test_the_dial_goes_from_the_base_to_what_was_learned(tiny):
    method, prompt = make(tiny, seed=0), PROMPT.format("<toy>")
    base_picture = generate(tiny, PROMPT.format("weird teddy"), **OPTIONS)
    assert method.lora_scale == 1
    with method.attach(tiny):
        learned = generate(tiny, prompt, **OPTIONS)
        method.lora_scale = 0.0
        assert torch.equal(generate(tiny, prompt, **OPTIONS), base_picture)
        method.lora_scale = 0.5
        half = generate(tiny, prompt, **OPTIONS)
        method.lora_scale = 1.0
        assert torch.equal(generate(tiny, prompt, **OPTIONS), learned)
    assert (half - learned).abs().max() > 1e-4 < (half - base_picture).abs().max()


def test_a_file_holds_the_matrices_and_little_else(tiny, tmp_path):
    method, path = make(tiny, seed=0, rank=2), tmp_path / "toy.safetensors"
    method.save(path)
    numbers = sum(parameter.numel() for parameter in method.parameters())
    names = sum(len(f"{method.name}.{key}") for key in method.state_dict())
    assert path.stat().st_size < 4 * numbers + 3 * names + 20_000


@torch.no_grad()
def test_the_stock_pipeline_reads_our_lora_weights(own_tiny, tmp_path):
    method = make(own_tiny, seed=0, rank=2)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with method.attach(own_tiny):
        states = encode_prompts(own_tiny, [PROMPT.format("<toy>")] * 2)
        wanted = own_tiny.unet(latents, 500, states).sample
    path = method.to_lora_weights(tmp_path)
    assert path.name == "pytorch_lora_weights.safetensors"
    assert len(load_file(path)) == 2 * len(method.lora.layers)
    states = encode_prompts(own_tiny, [PROMPT.format("weird teddy")] * 2)
    without = own_tiny.unet(latents, 500, states).sample
    own_tiny.load_lora_weights(tmp_path)
    got = own_tiny.unet(latents, 500, states).sample
    assert torch.allclose(got, wanted, atol=1e-5)
    assert not torch.allclose(without, wanted, atol=1e-2)


def test_it_may_be_attached_to_two_bases_at_once(tiny):
    method, other = make(tiny, seed=0), copy.deepcopy(tiny)
    before = generate(other, PROMPT.format("teddy"), **OPTIONS)
    with method.attach(tiny):
        inside = generate(tiny, PROMPT.format("<toy>"), **OPTIONS)
        with method.attach(other):
            there = generate(other, PROMPT.format("<toy>"), **OPTIONS)
        assert torch.allclose(there, inside, atol=1e-5)
        assert torch.equal(generate(tiny, PROMPT.format("<toy>"), **OPTIONS), inside)
    assert torch.equal(generate(other, PROMPT.format("teddy"), **OPTIONS), before)


def test_a_base_of_another_build_is_refused_and_left_alone(tiny, own_tiny):
    method = make(tiny)
    own_tiny.unet.mid_block.attentions = torch.nn.ModuleList()
    before = snapshot_of(own_tiny)
    with (
        pytest.raises(PersoError, match=r"mid_block\..* which this base does not have"),
        method.attach(own_tiny),
    ):
        pass
    assert changes(own_tiny, before) == []
