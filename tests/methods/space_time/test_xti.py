import pytest
import torch
from per_layer_helpers import OPTIONS, PROMPT, encodings_of
from tiny_pipeline import weights_hash

from perso_lite import (
    ExtendedTextualInversion,
    PersoError,
    TextualInversion,
    fit,
    generate,
    load_method,
)
from perso_lite.conditioning.tokens import single_token_id
from perso_lite.files import read_tensors


@pytest.fixture
def method(tiny):
    """Sixteen vectors, moved away from where they started."""
    method = ExtendedTextualInversion(tiny, "teddy")
    noise = torch.randn(16, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        method.table += noise
    return method


def draw(base, method, prompt=PROMPT):
    with method.attach(base):
        return generate(base, prompt, **OPTIONS)


@pytest.mark.parametrize("shared", [False, True])
def test_it_starts_as_its_class_word_in_every_layer(tiny, shared):
    method = ExtendedTextualInversion(tiny, "snow teddy", shared=shared)
    row = single_token_id(tiny.tokenizer, "teddy")
    start = tiny.text_encoder.get_input_embeddings().weight[row]
    assert torch.equal(method.table, start.expand(1 if shared else 16, -1))
    assert [name for name, _ in method.named_parameters()] == ["table"]
    wanted = generate(tiny, "a teddy on a beach", **OPTIONS)
    assert torch.allclose(draw(tiny, method), wanted, atol=1e-5)


def test_one_vector_for_all_layers_is_textual_inversion(tiny, concept):
    shared = ExtendedTextualInversion(tiny, "teddy", shared=True, learning_rate=2e-3)
    single = TextualInversion(tiny, "teddy", learning_rate=2e-3)
    losses = [[s.loss for s in fit(m, concept, 3)] for m in (shared, single)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert torch.allclose(shared.table, single.vectors, atol=1e-3)
    assert torch.allclose(draw(tiny, shared), draw(tiny, single), atol=1e-3)


def test_it_is_encoded_once_for_all_of_time(tiny, method):
    with method.attach(tiny), encodings_of(tiny) as sizes:
        generate(tiny, PROMPT, num_inference_steps=4, output_type="pt")
    assert sizes == [1, 1, 16]


def test_training_moves_every_vector_and_nothing_else(own_tiny, concept):
    method = ExtendedTextualInversion(own_tiny, "teddy", learning_rate=2e-3)
    before, start = weights_hash(own_tiny), method.table.detach().clone()
    for _ in fit(method, concept, steps=2, batch_size=2):
        pass
    assert weights_hash(own_tiny) == before
    step = (method.table - start).abs()
    assert step.amax(dim=1).min() > 0 and step.max() <= 0.00401  # Adam's first two
    assert (method.table - method.table[:1]).abs().max() > 0


def test_a_saved_concept_draws_the_same_pictures(tiny, method, tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    method.save(first)
    loaded = load_method(first, tiny)
    assert isinstance(loaded, ExtendedTextualInversion)
    assert torch.equal(draw(tiny, loaded), draw(tiny, method))
    loaded.save(second)
    (tensors, header), (again, header_again) = map(read_tensors, (first, second))
    assert header == header_again and tensors.keys() == again.keys()
    assert all(torch.equal(tensors[key], again[key]) for key in tensors)


def test_the_initializer_token_must_be_one_token(tiny):
    with pytest.raises(PersoError, match="initializer_token"):
        ExtendedTextualInversion(tiny, "stuffed giraffe")
