import pytest
import torch
from tiny_pipeline import weights_hash

from perso_lite import CustomDiffusion, PersoError, attached, fit, generate, load_method
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.conditioning.tokens import single_token_id

OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}
PROMPT = "a {} on a beach"


def make(base, placeholder_token="<toy>", seed=None, **options):
    """With four class pictures; with a seed, as if it had learned something."""
    options = {"initializer_token": "weird", "prior_pictures": 4, **options}
    method = CustomDiffusion(base, "teddy", placeholder_token, **options)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in method.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter += 0.1 * noise
    return method


def train(base, concept, **options):
    method = make(base)
    steps = list(fit(method, concept, batch_size=2, **options))
    return method, steps


def test_it_holds_a_vector_and_two_matrices_a_cross_attention_layer(tiny):
    method = make(tiny)
    state = method.state_dict()
    layers = [
        tiny.unet.get_submodule(layer.name)
        for layer in cross_attention_layers(tiny.unet)
    ]
    wanted = sum(m.to_k.weight.numel() + m.to_v.weight.numel() for m in layers)
    assert len(state) == 1 + 2 * len(layers)
    assert sum(value.numel() for value in state.values()) == wanted + 32
    assert all(not value.any() for key, value in state.items() if key != "modifier")
    row = single_token_id(tiny.tokenizer, "weird")
    table = tiny.text_encoder.get_input_embeddings().weight
    assert torch.equal(method.modifier, table[row])


def test_before_training_it_is_the_base_with_rare_word_and_class_word(tiny):
    wanted = generate(tiny, PROMPT.format("weird teddy"), **OPTIONS)
    with make(tiny).attach(tiny):
        assert torch.equal(generate(tiny, PROMPT.format("<toy>"), **OPTIONS), wanted)


def test_training_moves_all_it_learns_and_no_weight_of_the_base(own_tiny, concept):
    before = weights_hash(own_tiny)
    start = make(own_tiny).state_dict()
    method, _ = train(own_tiny, concept, steps=1)
    assert weights_hash(own_tiny) == before
    for key, value in method.state_dict().items():
        assert not torch.equal(value, start[key]), key
    teddy = single_token_id(own_tiny.tokenizer, "teddy")
    table = own_tiny.text_encoder.get_input_embeddings().weight
    assert torch.equal(method.words()[1], table[teddy])
    for part in (own_tiny.text_encoder, own_tiny.unet, own_tiny.vae):
        assert all(parameter.grad is None for parameter in part.parameters())


def test_training_lowers_the_loss_on_its_pictures(tiny, concept):
    # same seed: both runs see the same pictures, captions, noise and timesteps
    still, learns = (
        make(tiny, learning_rate=rate, prior_pictures=0) for rate in (0.0, 2e-2)
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


@torch.no_grad()
def test_keys_and_values_are_those_of_the_changed_weights(tiny):
    method = make(tiny, seed=0)
    text = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    for layer in cross_attention_layers(tiny.unet):
        for projection in ("to_k", "to_v"):
            name = f"{layer.name}.{projection}"
            module = tiny.unet.get_submodule(name)
            delta = method.deltas[name.replace(".", "_")]
            with method.attach(tiny):
                got = module(text)
            assert torch.allclose(got, text @ (module.weight + delta).T, atol=1e-5)


@pytest.mark.parametrize("raises", [False, True])
def test_attach_leaves_everything_as_it_was(tiny, raises):
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
    assert tiny.tokenizer is tokenizer
    assert torch.equal(generate(tiny, PROMPT.format("teddy"), **OPTIONS), before)
    hooks = [
        hook
        for part in (tiny.text_encoder, tiny.unet, tiny.vae)
        for module in part.modules()
        for hook in (*module._forward_hooks, *module._forward_pre_hooks)
    ]
    assert not hooks


@torch.no_grad()
def test_two_add_up_in_any_order(tiny):
    one, two = make(tiny, "<one>", seed=0), make(tiny, "<two>", seed=1)
    layer = cross_attention_layers(tiny.unet)[0]
    projection = tiny.unet.get_submodule(layer.name).to_v
    key = f"{layer.name}.to_v".replace(".", "_")
    text = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    wanted = text @ (projection.weight + one.deltas[key] + two.deltas[key]).T
    drawn = []
    for pair in ((one, two), (two, one)):
        with attached(tiny, *pair):
            assert torch.allclose(projection(text), wanted, atol=1e-5)
            drawn.append(generate(tiny, PROMPT.format("<one> and a <two>"), **OPTIONS))
    assert torch.allclose(*drawn, atol=1e-5)


def test_a_saved_concept_draws_the_same_pictures(tiny, tmp_path):
    method, path = make(tiny, seed=0), tmp_path / "toy.safetensors"
    method.save(path)
    numbers = sum(parameter.numel() for parameter in method.parameters())
    assert path.stat().st_size < 4 * numbers + 30_000
    loaded = load_method(path, tiny, "<other>")
    assert isinstance(loaded, CustomDiffusion)
    assert loaded.settings() == method.settings()
    with method.attach(tiny):
        wanted = generate(tiny, PROMPT.format("<toy>"), **OPTIONS)
    with loaded.attach(tiny):
        got = generate(tiny, PROMPT.format("<other>"), **OPTIONS)
    assert torch.equal(got, wanted)


def test_class_pictures_teach_the_projections_and_not_the_modifier(tiny):
    method = make(tiny, seed=0)
    method.prior.draw(tiny)
    with method.attach(tiny):
        method.extra_loss(torch.Generator().manual_seed(0)).backward()
    assert method.modifier.grad is None  # their captions do not say the word
    assert all(delta.grad.any() for delta in method.deltas.values())


def test_a_base_of_another_build_is_refused_and_left_alone(tiny, own_tiny):
    method = make(tiny)
    own_tiny.unet.mid_block.attentions = torch.nn.ModuleList()
    with (
        pytest.raises(PersoError, match="attach it to the base it was trained on"),
        method.attach(own_tiny),
    ):
        pass
    assert not any(module._forward_hooks for module in own_tiny.unet.modules())


def test_what_cannot_be_built_is_refused(tiny):
    with pytest.raises(PersoError, match='"zqx" is not one token'):
        make(tiny, initializer_token="zqx")
    with pytest.raises(PersoError, match="angle brackets"):
        make(tiny, "toy")
