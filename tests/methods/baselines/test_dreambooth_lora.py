import copy

import pytest
import torch
from safetensors.torch import load_file
from tiny_pipeline import weights_hash

from perso_lite import (
    CustomDiffusion,
    DreamBoothLoRA,
    PersoError,
    attached,
    encode_prompts,
    fit,
    generate,
    load_method,
)

OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}
PROMPT = "a {} on a beach"


def make(base, placeholder_token="<toy>", seed=None, **options):
    """A LoRA of four class pictures; with a seed, as if it had learned something."""
    options = {"identifier_token": "weird", "prior_pictures": 4, **options}
    method = DreamBoothLoRA(base, "teddy", placeholder_token, **options)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in method.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter += 0.3 * noise
    return method


def train(base, concept, **options):
    method = make(base)
    steps = list(fit(method, concept, batch_size=2, **options))
    return method, steps


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


def test_the_start_is_always_the_same_and_the_global_generator_untouched(tiny):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make(tiny).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    again = make(tiny).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert all((first[key] == 0).all() == key.endswith("B.weight") for key in first)


def test_before_training_it_is_the_base_with_identifier_and_class_word(tiny):
    wanted = generate(tiny, PROMPT.format("weird teddy"), **OPTIONS)
    with make(tiny).attach(tiny):
        assert torch.equal(generate(tiny, PROMPT.format("<toy>"), **OPTIONS), wanted)
        same = generate(tiny, PROMPT.format("weird teddy"), **OPTIONS)
    assert torch.equal(same, wanted)


def test_training_moves_every_b_and_no_weight_of_the_base(own_tiny, concept):
    before = weights_hash(own_tiny)
    start = make(own_tiny).state_dict()
    method, _ = train(own_tiny, concept, steps=2)
    assert weights_hash(own_tiny) == before
    for key, value in method.state_dict().items():
        assert not torch.equal(value, start[key]), key
    for part in (own_tiny.text_encoder, own_tiny.unet, own_tiny.vae):
        assert all(parameter.grad is None for parameter in part.parameters())


def test_training_lowers_the_loss_on_its_pictures(tiny, concept):
    # same seed: both runs see the same pictures, captions, noise and timesteps
    still, learns = (
        make(tiny, learning_rate=rate, prior_pictures=0) for rate in (0.0, 2e-3)
    )
    before = [step.loss for step in fit(still, concept, steps=30, batch_size=2)]
    after = [step.loss for step in fit(learns, concept, steps=30, batch_size=2)]
    assert after[0] == before[0]
    assert sum(after[15:]) < sum(before[15:])


def test_resuming_gives_what_an_undisturbed_run_gives(tiny, concept, tmp_path):
    whole, all_steps = train(tiny, concept, steps=5)
    path = tmp_path / "half.safetensors"
    train(tiny, concept, steps=4, checkpoint=path, checkpoint_every=3)
    resumed, steps = train(tiny, concept, steps=5, resume=path)
    assert [step.index for step in steps] == [3, 4]
    assert [s.extra_loss for s in steps] == [s.extra_loss for s in all_steps[3:]]
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value)


@pytest.mark.parametrize("raises", [False, True])
def test_attach_leaves_the_very_modules_that_were_there(tiny, raises):
    modules = dict(tiny.unet.named_modules())
    tokenizer = tiny.tokenizer
    before = generate(tiny, PROMPT.format("teddy"), **OPTIONS)
    try:
        with make(tiny, seed=0).attach(tiny):
            inside = generate(tiny, PROMPT.format("teddy"), **OPTIONS)
            if raises:
                raise RuntimeError
    except RuntimeError:
        pass
    assert not torch.equal(inside, before)
    after = dict(tiny.unet.named_modules())
    assert list(after) == list(modules)
    assert all(after[name] is module for name, module in modules.items())
    assert tiny.tokenizer is tokenizer
    assert torch.equal(generate(tiny, PROMPT.format("teddy"), **OPTIONS), before)


def test_two_add_up_in_any_order(tiny):
    one, two = make(tiny, "<one>", seed=0), make(tiny, "<two>", seed=1)
    name = next(iter(one.lora.layers))
    plain = tiny.unet.get_submodule(name)
    x = torch.randn(2, 5, plain.in_features, generator=torch.Generator().manual_seed(0))
    both = PROMPT.format("<one> and a <two>")
    with torch.no_grad():
        wanted = plain(x)
        for method in (one, two):
            a, b = method.matrices[name.replace(".", "_")].values()
            wanted = wanted + x @ a.weight.T @ b.weight.T
        with attached(tiny, one, two):
            assert torch.allclose(tiny.unet.get_submodule(name)(x), wanted, atol=1e-5)
            one_way = generate(tiny, both, **OPTIONS)
        with attached(tiny, two, one):
            other_way = generate(tiny, both, **OPTIONS)
    assert torch.allclose(one_way, other_way, atol=1e-5)
    assert tiny.unet.get_submodule(name) is plain


def test_it_adds_to_another_methods_hooks_in_any_order(tiny):
    lora = make(tiny, seed=0)
    other = CustomDiffusion(tiny, "dog", "<other>", initializer_token="weird")
    with torch.no_grad():
        for delta in other.deltas.values():
            delta += torch.linspace(-0.1, 0.1, delta.numel()).view(delta.shape)
    prompt = PROMPT.format("<toy> and a <other>")
    drawn = []
    for methods in ((lora, other), (other, lora), (lora,)):
        with attached(tiny, *methods):
            words = prompt if other in methods else PROMPT.format("<toy>")
            drawn.append(generate(tiny, words, **OPTIONS))
    assert torch.allclose(drawn[0], drawn[1], atol=1e-5)
    assert not torch.allclose(drawn[0], drawn[2], atol=1e-3)


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


def test_a_saved_concept_draws_the_same_pictures(tiny, tmp_path):
    method, path = make(tiny, seed=0, rank=2), tmp_path / "toy.safetensors"
    method.save(path)
    numbers = sum(parameter.numel() for parameter in method.parameters())
    names = sum(len(f"{method.name}.{key}") for key in method.state_dict())
    assert path.stat().st_size < 4 * numbers + 3 * names + 20_000
    loaded = load_method(path, tiny, "<other>")
    assert isinstance(loaded, DreamBoothLoRA)
    assert loaded.settings() == method.settings()
    with method.attach(tiny):
        wanted = generate(tiny, PROMPT.format("<toy>"), **OPTIONS)
    with loaded.attach(tiny):
        got = generate(tiny, PROMPT.format("<other>"), **OPTIONS)
    assert torch.equal(got, wanted)


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


def test_it_cannot_stand_in_two_bases_at_once(tiny):
    method, other = make(tiny, seed=0), copy.deepcopy(tiny)
    before = generate(other, PROMPT.format("teddy"), **OPTIONS)
    with method.attach(tiny):
        inside = generate(tiny, PROMPT.format("<toy>"), **OPTIONS)
        with pytest.raises(PersoError, match="attached already"), method.attach(other):
            pass
        assert torch.equal(generate(tiny, PROMPT.format("<toy>"), **OPTIONS), inside)
    assert torch.equal(generate(other, PROMPT.format("teddy"), **OPTIONS), before)


def test_a_base_of_another_build_is_refused_and_left_alone(tiny, own_tiny):
    method = make(tiny)
    own_tiny.unet.mid_block.attentions = torch.nn.ModuleList()
    modules = list(own_tiny.unet.modules())
    with (
        pytest.raises(PersoError, match=r"mid_block\..* which this base does not have"),
        method.attach(own_tiny),
    ):
        pass
    assert list(own_tiny.unet.modules()) == modules


def test_what_cannot_be_built_is_refused(tiny):
    with pytest.raises(PersoError, match="rank is 0"):
        make(tiny, rank=0)
    with pytest.raises(PersoError, match='"zqx" is not one token'):
        make(tiny, identifier_token="zqx")
    with pytest.raises(PersoError, match="angle brackets"):
        make(tiny, "toy")
