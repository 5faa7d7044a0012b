import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from perso_lite import (
    PersoError,
    TextualInversion,
    attached,
    fit,
    generate,
    load_method,
)
from perso_lite.conditioning.tokens import single_token_id

OPTIONS = {"num_inference_steps": 3, "output_type": "pt"}


@pytest.fixture
def method(tiny):
    """Three vectors, moved away from where they started."""
    method = TextualInversion(tiny, "teddy", "<toy>", num_vectors=3)
    noise = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        method.vectors += noise
    return method


def snapshot(base):
    return {
        f"{name}.{key}": value.clone()
        for name in ("text_encoder", "unet", "vae")
        for key, value in getattr(base, name).state_dict().items()
    }


def test_it_holds_only_its_vectors_and_they_start_as_the_class_word(tiny):
    method = TextualInversion(tiny, "teddy", num_vectors=2)
    assert [tuple(p.shape) for p in method.parameters()] == [(2, 32)]
    row = single_token_id(tiny.tokenizer, "teddy")
    start = tiny.text_encoder.get_input_embeddings().weight[row]
    assert torch.equal(method.vectors, start.expand(2, -1))


def test_the_initializer_token_replaces_a_class_word_of_several_tokens(tiny):
    with pytest.raises(PersoError, match="initializer_token"):
        TextualInversion(tiny, "stuffed giraffe")
    method = TextualInversion(tiny, "stuffed giraffe", initializer_token="teddy")
    assert method.class_word == "stuffed giraffe"


def test_before_training_the_word_is_the_class_word(tiny):
    wanted = generate(tiny, "a teddy on a beach", **OPTIONS)
    with TextualInversion(tiny, "teddy").attach(tiny):
        got = generate(tiny, "a <toy> on a beach", **OPTIONS)
    assert torch.equal(got, wanted)


def test_training_moves_the_vectors_and_nothing_else(own_tiny, concept):
    method = TextualInversion(own_tiny, "teddy", num_vectors=2)
    weights, start = snapshot(own_tiny), method.vectors.detach().clone()
    for _ in fit(method, concept, steps=3, batch_size=2):
        pass
    after = snapshot(own_tiny)
    assert weights.keys() == after.keys()
    assert all(torch.equal(weights[key], after[key]) for key in weights)
    assert (method.vectors - start).abs().amax(dim=1).min() > 0
    for part in (own_tiny.text_encoder, own_tiny.unet, own_tiny.vae):
        assert all(parameter.grad is None for parameter in part.parameters())


def test_training_lowers_the_loss_on_its_pictures(tiny, concept):
    # same seed: both runs see the same pictures, captions, noise and timesteps
    still = TextualInversion(tiny, "teddy", learning_rate=0.0)
    learns = TextualInversion(tiny, "teddy", learning_rate=0.05)
    before = [step.loss for step in fit(still, concept, steps=60)]
    after = [step.loss for step in fit(learns, concept, steps=60)]
    assert after[0] == before[0]
    assert sum(after[30:]) < sum(before[30:])


def test_the_stock_call_works_while_attached(tiny, method):
    with method.attach(tiny):
        images = tiny(
            ["a <toy> on a beach", "a cat"],
            negative_prompt=["a <toy>", "a hat"],
            num_inference_steps=2,
            num_images_per_prompt=2,
        ).images
    assert len(images) == 4


@pytest.mark.parametrize("raises", [False, True])
def test_attach_leaves_everything_as_it_was(tiny, method, raises):
    prompts = ["a <toy> on a beach", "a cat"]
    tokenizer, weights = tiny.tokenizer, snapshot(tiny)
    config = copy.deepcopy(dict(tiny.config))
    before = generate(tiny, prompts, **OPTIONS)
    try:
        with method.attach(tiny):
            inside = generate(tiny, prompts, **OPTIONS)
            if raises:
                raise RuntimeError
    except RuntimeError:
        pass
    assert not torch.equal(inside[0], before[0])
    assert torch.equal(inside[1], before[1])
    assert torch.equal(generate(tiny, prompts, **OPTIONS), before)
    assert tiny.tokenizer is tokenizer
    assert dict(tiny.config) == config
    assert all(torch.equal(weights[k], v) for k, v in snapshot(tiny).items())
    hooks = [
        hook
        for part in (tiny.text_encoder, tiny.unet, tiny.vae)
        for module in part.modules()
        for hook in (*module._forward_hooks, *module._forward_pre_hooks)
    ]
    assert not hooks


def test_two_concepts_attach_together_in_any_order(tiny, method):
    other = TextualInversion(tiny, "dog", "<other>")
    prompt = "a <toy> next to a <other>"
    with attached(tiny, method, other):
        one_way = generate(tiny, prompt, **OPTIONS)
    with attached(tiny, other, method):
        other_way = generate(tiny, prompt, **OPTIONS)
    assert torch.equal(one_way, other_way)
    with method.attach(tiny):
        wanted = generate(tiny, "a <toy> next to a dog", **OPTIONS)
    assert torch.equal(one_way, wanted)


def test_two_concepts_of_one_name_are_refused_and_nothing_is_left(tiny, method):
    tokenizer = tiny.tokenizer
    with (
        pytest.raises(PersoError, match="already in the vocabulary"),
        attached(tiny, method, TextualInversion(tiny, "dog", "<toy>")),
    ):
        pass
    assert tiny.tokenizer is tokenizer


def test_a_saved_concept_draws_the_same_pictures(tiny, method, tmp_path):
    method.save(tmp_path / "toy.safetensors")
    loaded = load_method(tmp_path / "toy.safetensors", tiny)
    assert isinstance(loaded, TextualInversion)
    assert loaded.settings() == method.settings()
    assert torch.equal(loaded.vectors, method.vectors)
    renamed = load_method(tmp_path / "toy.safetensors", tiny, "<other>")
    with attached(tiny, method, renamed):
        wanted = generate(tiny, "a <toy>", **OPTIONS)
        assert torch.equal(generate(tiny, "a <other>", **OPTIONS), wanted)


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_the_stock_pipeline_reads_our_learned_embeds(
    own_tiny, method, tmp_path, num_vectors
):
    method = TextualInversion(own_tiny, "teddy", num_vectors=num_vectors)
    with torch.no_grad():
        method.vectors += torch.linspace(-1, 1, 32)
    prompts = ["a <toy> on a beach", "a hat next to a <toy>"]
    with method.attach(own_tiny):
        wanted = generate(own_tiny, prompts, **OPTIONS)
    path = method.to_learned_embeds(tmp_path)
    assert path.name == "learned_embeds.safetensors"
    assert {k: tuple(v.shape) for k, v in load_file(path).items()} == {
        "<toy>": (num_vectors, 32)
    }
    own_tiny.load_textual_inversion(str(tmp_path))
    assert torch.equal(generate(own_tiny, prompts, **OPTIONS), wanted)


def test_learned_embeds_come_back(tiny, method, tmp_path):
    path = method.to_learned_embeds(tmp_path / "toy.safetensors")
    back = TextualInversion.from_learned_embeds(path, tiny, "teddy")
    assert back.placeholder_token == "<toy>"
    assert torch.equal(back.vectors, method.vectors)


def test_a_flat_vector_of_another_tool_is_read(tiny, tmp_path):
    path = tmp_path / "flat.safetensors"
    save_file({"<flat>": torch.ones(32)}, path)
    method = TextualInversion.from_learned_embeds(path, tiny, "teddy")
    assert torch.equal(method.vectors, torch.ones(1, 32))


def test_learned_embeds_that_cannot_fit_are_refused(tiny, tmp_path):
    wide, two = tmp_path / "wide.safetensors", tmp_path / "two.safetensors"
    save_file({"<toy>": torch.ones(1, 768)}, wide)
    save_file({"<a>": torch.ones(1, 32), "<b>": torch.ones(1, 32)}, two)
    with pytest.raises(PersoError, match="width 768, but this base has 32"):
        TextualInversion.from_learned_embeds(wide, tiny, "teddy")
    with pytest.raises(PersoError, match="holds 2 tensors"):
        TextualInversion.from_learned_embeds(two, tiny, "teddy")


def test_the_word_needs_at_least_one_vector(tiny):
    with pytest.raises(PersoError, match="num_vectors is 0"):
        TextualInversion(tiny, "teddy", num_vectors=0)
