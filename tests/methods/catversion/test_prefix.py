"""The residual is what concatenated keys and values give, in numbers and in CLIP."""

import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of
from concatenated_prefix import attention_with_prefix, states_with_prefix
from transformers import CLIPTextConfig, CLIPTextModel

from perso_lite import CatVersion, attached, encode_prompts, load_base
from perso_lite.methods import METHODS
from perso_lite.methods.catversion.prefix import (
    causal,
    in_heads,
    prefix_shares,
    queries_keys_values,
    self_attention_layers,
    with_prefixes,
)

PROMPTS = ["a <toy> on a beach", "a cat", "a <toy>"]
AS_READ = ["a teddy on a beach", "a cat", "a teddy"]
SAYING = torch.tensor([True, False, True])


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ids_of(base, prompts):
    padded = base.tokenizer(prompts, padding="max_length", return_tensors="pt")
    return padded.input_ids


@pytest.fixture(scope="module")
def of_clip_size(tiny_folder):
    """A base whose text encoder has the layers and the width of Stable Diffusion 1.x.

    Its MLPs are small, because nothing depends on them.
    """
    base = load_base(tiny_folder, device="cpu")
    torch.manual_seed(0)
    config = base.text_encoder.config.to_dict() | {
        "hidden_size": 768,
        "intermediate_size": 32,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
    }
    base.text_encoder = CLIPTextModel(CLIPTextConfig(**config)).eval()
    base.text_encoder.requires_grad_(False)
    base.tokenizer.model_max_length = 77
    for layer in self_attention_layers(base.text_encoder):
        for projection in (layer.q_proj, layer.k_proj, layer.v_proj):
            torch.nn.init.normal_(projection.weight, std=0.05)
    return base


@pytest.fixture(scope="module")
def large(of_clip_size):
    """A concept on it, attached and read only."""
    return CatVersion(of_clip_size, "teddy")


def prefixes_of(*methods):
    """By layer, all keys and values of concepts."""
    return {
        layer: tuple(
            torch.cat([getattr(m, name).detach()[:, i] for m in methods])
            for name in ("prefix_keys", "prefix_values")
        )
        for i, layer in enumerate(methods[0].layers)
    }


# -- the equation ----------------------------------------------------------------------


@pytest.mark.parametrize("bias", [0.0, 1.0, -2.5])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("sdpa", [False, True])
def test_the_residual_is_the_concatenation(bias, count, sdpa):
    query, key, value = numbers(3, 2, 4, 7, 16)
    prefix_keys, prefix_values = numbers(2, 4, count, 16, seed=1)
    plain = attention_with_prefix(query, key, value, *numbers(2, 4, 0, 16), 0.0, sdpa)
    biases = torch.full((2, count), bias)
    shares = prefix_shares(query, key, prefix_keys, biases, causal(7, "cpu"))
    assert shares.shape == (2, 4, 7, count)
    got = with_prefixes(plain, shares, prefix_values)
    wanted = attention_with_prefix(
        query, key, value, prefix_keys, prefix_values, bias, sdpa
    )
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("bias", "alpha", "out"),
    [
        (0.0, (0.450166, 0.389697), (3.247510, 4.443991)),
        (1.0, (0.689974, 0.634463), (-0.349617, 0.656410)),
        (-torch.inf, (0.0, 0.0), (10.0, 10.474259)),
    ],
)
def test_numbers_worked_out_by_hand(bias, alpha, out):
    def column(*values):
        return torch.tensor(values).reshape(1, 1, -1, 1)

    query, key = column(1.0, 2.0), column(0.5, -1.0)
    plain = column(10.0, 10.474259)
    biases = torch.tensor([[bias]])
    shares = prefix_shares(query, key, column(0.3)[0], biases, causal(2, "cpu"))
    found = with_prefixes(plain, shares, column(-5.0)[0])
    assert shares.flatten().tolist() == pytest.approx(alpha, abs=1e-6)
    assert found.flatten().tolist() == pytest.approx(out, abs=1e-5)


def test_a_key_of_zero_has_the_share_of_one_among_exponentials():
    query, key = numbers(2, 1, 2, 5, 8)
    nothing, bias = torch.zeros(2, 1, 8), torch.zeros(1, 1)
    shares = prefix_shares(query, key, nothing, bias, causal(5, "cpu"))[..., 0]
    z = ((query @ key.mT).exp() * causal(5, "cpu")).sum(-1)
    torch.testing.assert_close(shares, 1 / (1 + z))
    first = (query[:, :, 0] * key[:, :, 0]).sum(-1).exp()
    torch.testing.assert_close(shares[..., 0], 1 / (1 + first))


def test_the_order_of_prefixes_does_not_matter():
    query, key, value = numbers(3, 1, 2, 5, 8)
    prefix_keys, prefix_values = numbers(2, 2, 2, 8, seed=1)
    bias = torch.tensor([[0.0, 1.0]])
    found = [
        with_prefixes(
            value,
            prefix_shares(query, key, prefix_keys[:, o], bias[:, o], causal(5, "cpu")),
            prefix_values[:, o],
        )
        for o in ([0, 1], [1, 0])
    ]
    torch.testing.assert_close(*found)


# -- in a text encoder -----------------------------------------------------------------


@pytest.mark.parametrize("bias", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_texts_are_encoded_as_if_it_were_concatenated(of_clip_size, large, kind, bias):
    base, before = of_clip_size, of_clip_size.text_encoder.config._attn_implementation
    base.text_encoder.set_attn_implementation(kind)
    try:
        plain = encode_prompts(base, AS_READ)
        large.prefix_logit_bias = bias
        with large.attach(base), torch.no_grad():
            got = encode_prompts(base, PROMPTS)
    finally:
        large.prefix_logit_bias = 0.0
        base.text_encoder.set_attn_implementation(before)
    ids, prefixes = ids_of(base, AS_READ), prefixes_of(large)
    wanted = states_with_prefix(base.text_encoder, ids, prefixes, bias, kind == "sdpa")
    assert got.shape == (3, 77, 768)
    torch.testing.assert_close(got[SAYING], wanted[SAYING], atol=2e-5, rtol=1e-5)
    assert torch.equal(got[~SAYING], plain[~SAYING])  # each text for itself
    assert (got - plain)[SAYING].abs().amax(2).min() > 1e-3  # every state, SOS as well


def test_two_concepts_in_one_text_are_one_prefix_of_twice_the_length(tiny):
    one = disturbed(CatVersion(tiny, "teddy", "<one>"), 1.0)
    two = disturbed(CatVersion(tiny, "dog", "<two>"), 1.0, seed=1)
    prompts = ["a <one> and a <two>", "a <two>", "a <one> in snow"]
    ids = ids_of(tiny, ["a teddy and a dog", "a dog", "a teddy in snow"])
    found = []
    for pair in ((one, two), (two, one)):
        with attached(tiny, *pair), torch.no_grad():
            found.append(encode_prompts(tiny, prompts))
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
    for row, said in enumerate(([one, two], [two], [one])):
        wanted = states_with_prefix(tiny.text_encoder, ids, prefixes_of(*said))
        torch.testing.assert_close(found[0][row], wanted[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["textual_inversion", "textboost"])
def test_a_word_of_another_method_does_not_attend_to_the_prefix(tiny, name):
    prefix = disturbed(CatVersion(tiny, "dog", "<one>", layers=[1]), 1.0)
    other = disturbed(METHODS[name](tiny, "teddy", "<other>"), 0.3)
    texts = ["a <other> and a <one>", "a <other> and a dog"]
    with attached(tiny, other), torch.no_grad():
        alone = encode_prompts(tiny, texts[1:])[0]
    for pair in ((prefix, other), (other, prefix)):
        with attached(tiny, *pair), torch.no_grad():
            found = encode_prompts(tiny, texts)
        # up to there all that is said is the same, and layer 1 is the last
        assert torch.allclose(found[0, 2], alone[2], atol=1e-6)
        assert torch.allclose(found[1], alone, atol=1e-6)
        apart = (found[0] - alone).abs().amax(-1)
        assert apart[:2].min() > 1e-3 and apart[4:].min() > 1e-3


def test_concepts_may_be_in_different_layers_and_of_different_lengths(tiny):
    one = CatVersion(tiny, "teddy", "<one>", layers=[1], prefix_length=3)
    two = CatVersion(tiny, "dog", "<two>", layers=[0, 1], seed=1)
    with attached(tiny, one, two), torch.no_grad():
        found = encode_prompts(tiny, ["a <one> and a <two>"])
    of_two = prefixes_of(two)
    of_both = [
        torch.cat(parts) for parts in zip(prefixes_of(one)[1], of_two[1], strict=True)
    ]
    ids = ids_of(tiny, ["a teddy and a dog"])
    prefixes = {0: of_two[0], 1: of_both}
    wanted = states_with_prefix(tiny.text_encoder, ids, prefixes)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_layers_before_the_prefix_are_as_they_were(of_clip_size, large):
    base = of_clip_size

    def hidden(prompt):
        ids = ids_of(base, [base.maybe_convert_prompt(prompt, base.tokenizer)])
        return base.text_encoder(ids, output_hidden_states=True).hidden_states

    plain = hidden("a teddy on a beach")
    with large.attach(base), torch.no_grad():
        found = hidden("a <toy> on a beach")
    same = [torch.equal(*pair) for pair in zip(plain, found, strict=True)]
    # the embedded words, the outputs of layers 0 to 8, then of 9, 10 and 11
    assert same == [True] * 10 + [False] * 3


def test_later_words_still_change_no_earlier_state(tiny):
    method = CatVersion(tiny, "teddy")
    with method.attach(tiny), torch.no_grad():
        one, other = encode_prompts(tiny, ["a <toy> on a beach", "a <toy> on a hat"])
    differs = (one - other).abs().amax(1) > 1e-6
    start_a_toy_on_a = 5
    assert not differs[:start_a_toy_on_a].any() and differs[start_a_toy_on_a:].all()


def test_tokens_that_are_masked_have_no_part_in_z(tiny):
    method = disturbed(CatVersion(tiny, "teddy"), 1.0)
    ids = ids_of(tiny, AS_READ)
    padding = torch.ones_like(ids)
    padding[0, 2] = padding[2, 5:] = 0
    with method.attach(tiny), torch.no_grad():
        said = tiny.tokenizer(PROMPTS, padding="max_length", return_tensors="pt")
        found = tiny.text_encoder(said.input_ids, attention_mask=padding)[0]
    parts = (tiny.text_encoder, ids, prefixes_of(method))
    wanted = states_with_prefix(*parts, padding=padding)
    torch.testing.assert_close(found[SAYING], wanted[SAYING], atol=1e-5, rtol=1e-5)
    unmasked = states_with_prefix(*parts)
    assert not torch.allclose(found[SAYING], unmasked[SAYING], atol=1e-3)


def test_it_is_there_for_the_encoder_of_another_pipeline_with_the_same_parts(tiny):
    method = CatVersion(tiny, "teddy")
    with method.attach(tiny), torch.no_grad():
        other = type(tiny)(**tiny.components, requires_safety_checker=False)
        same = encode_prompts(other, PROMPTS), encode_prompts(tiny, PROMPTS)
    assert torch.equal(*same)


def test_an_error_on_the_way_leaves_nothing(tiny):
    method, before = CatVersion(tiny, "teddy"), snapshot_of(tiny)
    wanted = encode_prompts(tiny, AS_READ)
    layer = self_attention_layers(tiny.text_encoder)[-1]
    breaking = layer.q_proj.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), method.attach(tiny):
        encode_prompts(tiny, PROMPTS)
    breaking.remove()
    assert changes(tiny, before) == []
    assert torch.equal(encode_prompts(tiny, AS_READ), wanted)


def test_a_layers_queries_keys_and_values_give_its_attention(tiny):
    before = snapshot_of(tiny)
    query, key, value = queries_keys_values(tiny, "a teddy on a beach", 1)
    assert changes(tiny, before) == []
    seen, layer = [], self_attention_layers(tiny.text_encoder)[1]
    hook = layer.out_proj.register_forward_pre_hook(
        lambda _, args: seen.append(in_heads(args[0], layer))
    )
    encode_prompts(tiny, ["a teddy on a beach"])
    hook.remove()
    visible = causal(query.shape[1], query.device)
    weights = (query @ key.mT).masked_fill(~visible, -torch.inf).softmax(-1)
    assert torch.allclose(weights @ value, seen[0][0], atol=1e-5)
