import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of

from perso_lite import CustomDiffusion, PersoError, attached, fit, generate
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.conditioning.words import single_token_id

OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}
PROMPT = "a {} on a beach"


def make(base, placeholder_token="<toy>", seed=None, **options):
    """With four class pictures; with a seed, as if it had learned something."""
    options = {"initializer_token": "weird", "prior_pictures": 4, **options}
    method = CustomDiffusion(base, "teddy", placeholder_token, **options)
    return method if seed is None else disturbed(method, 0.1, seed)


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


def test_the_class_word_stays_what_it_was(tiny, concept):
    method = make(tiny)
    next(fit(method, concept, batch_size=2))
    teddy = single_token_id(tiny.tokenizer, "teddy")
    table = tiny.text_encoder.get_input_embeddings().weight
    assert torch.equal(method.words()[1], table[teddy])


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


@torch.no_grad()
def test_two_add_up(tiny):
    one, two = make(tiny, "<one>", seed=0), make(tiny, "<two>", seed=1)
    layer = cross_attention_layers(tiny.unet)[0]
    projection = tiny.unet.get_submodule(layer.name).to_v
    key = f"{layer.name}.to_v".replace(".", "_")
    text = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    wanted = text @ (projection.weight + one.deltas[key] + two.deltas[key]).T
    with attached(tiny, one, two):
        assert torch.allclose(projection(text), wanted, atol=1e-5)


def test_a_file_holds_what_was_learned_and_little_else(tiny, tmp_path):
    method, path = make(tiny, seed=0), tmp_path / "toy.safetensors"
    method.save(path)
    numbers = sum(parameter.numel() for parameter in method.parameters())
    assert path.stat().st_size < 4 * numbers + 30_000


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
    before = snapshot_of(own_tiny)
    with (
        pytest.raises(PersoError, match="attach it to the base it was trained on"),
        method.attach(own_tiny),
    ):
        pass
    assert changes(own_tiny, before) == []
