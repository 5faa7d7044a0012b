import pytest
import torch
from before_and_after import hooks_of
from per_layer_helpers import PROMPT, GivenWord

from perso_lite import encode_prompts
from perso_lite.methods.space_time.analysis import states_by_layer
from perso_lite.methods.space_time.encoder import WordVectors, encode_for_layers

TIMES = torch.tensor([10, 700])


@pytest.fixture
def word(tiny):
    return GivenWord(tiny)


@pytest.fixture
def ids(tiny, word):
    """Two texts; the word's number lies beyond the token table."""
    texts = [PROMPT, "a cat in snow"]
    with word.attach(tiny):
        given = tiny.tokenizer(texts, padding="max_length", return_tensors="pt")
    return given.input_ids


def test_a_bare_text_encoder_gives_what_the_layers_of_an_attached_word_read(
    tiny, word, ids
):
    number = int(ids.max())
    assert number == tiny.tokenizer.vocab_size
    wanted = states_by_layer(word, [PROMPT] * 2, TIMES)
    given = [WordVectors(number, *word.vectors(TIMES))]
    got = encode_for_layers(tiny.text_encoder, ids[[0, 0]], given)
    assert all(map(torch.equal, got, wanted))
    assert hooks_of(tiny) == []


def test_texts_without_the_word_are_encoded_as_usual(tiny, word, ids):
    given = [WordVectors(int(ids.max()), *word.vectors(TIMES))]
    keys, values = encode_for_layers(tiny.text_encoder, ids, given)
    plain = encode_prompts(tiny, ["a cat in snow"])
    for kind in (keys, values):
        assert kind.shape == (2, 16, 24, 32)
        assert torch.allclose(kind[1], plain.expand(16, -1, -1), atol=1e-5)
    assert torch.equal(keys[1], values[1])


def test_a_word_that_is_the_same_in_all_layers_is_encoded_once(tiny, word, ids):
    vectors, bypass = (part[:, :1] for part in word.vectors(TIMES))
    given = [WordVectors(int(ids.max()), vectors, bypass)]
    assert encode_for_layers(tiny.text_encoder, ids, given)[0].shape == (2, 1, 24, 32)


def test_gradients_reach_word_and_bypass_and_no_weight(tiny, word, ids):
    vectors, bypass = (
        part.detach().clone().requires_grad_() for part in word.vectors(TIMES)
    )
    given = [WordVectors(int(ids.max()), vectors, bypass)]
    keys, values = encode_for_layers(tiny.text_encoder, ids, given)
    (keys.square().sum() + values.square().sum()).backward()
    assert vectors.grad[0].abs().amax(-1).min() > 0  # of every layer
    assert bypass.grad[0].abs().amax(-1).min() > 0
    assert vectors.grad[1].abs().max() == 0  # its text does not say the word
    assert all(weight.grad is None for weight in tiny.text_encoder.parameters())
