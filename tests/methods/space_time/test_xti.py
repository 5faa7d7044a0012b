import pytest
import torch
from before_and_after import disturbed
from per_layer_helpers import OPTIONS, PROMPT, encodings_of

from perso_lite import ExtendedTextualInversion, TextualInversion, fit, generate
from perso_lite.conditioning.words import single_token_id


@pytest.fixture
def method(tiny):
    """Sixteen vectors, moved away from where they started."""
    return disturbed(ExtendedTextualInversion(tiny, "teddy"), 1.0)


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


def test_every_layers_vector_learns_for_itself(tiny, concept):
    method = ExtendedTextualInversion(tiny, "teddy", learning_rate=2e-3)
    start = method.table.detach().clone()
    for _ in fit(method, concept, steps=2, batch_size=2):
        pass
    step = (method.table - start).abs()
    assert step.amax(dim=1).min() > 0 and step.max() <= 0.00401  # Adam's first two
    assert (method.table - method.table[:1]).abs().max() > 0
