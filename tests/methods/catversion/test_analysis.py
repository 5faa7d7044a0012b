"""What the figures show of a prefix is what the text encoder and the U-Net computed."""

import math

import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of

from perso_lite import CatVersion, PersoError
from perso_lite.methods.catversion.analysis import random_prefix_effect, residual_share
from perso_lite.methods.catversion.prefix import in_heads, self_attention_layers

PROMPT = "a <toy> on a beach"
PROMPTS = ["a {} on a beach", "a {}", "a {} in snow"]


@pytest.fixture
def method(tiny):
    return disturbed(CatVersion(tiny, "teddy"), 1.0)


def attention_of(base, layer, prompt):
    """What a layer hands to its last projection, last in the order of hooks."""
    found = []
    module = self_attention_layers(base.text_encoder)[layer]
    hook = module.out_proj.register_forward_pre_hook(
        lambda _, args: found.append(in_heads(args[0], module))
    )
    with torch.no_grad():
        ids = base.tokenizer(prompt, padding="max_length", return_tensors="pt")
        base.text_encoder(ids.input_ids)
    hook.remove()
    return found[0][0]


def test_shares_and_sizes_are_those_of_the_first_layer(tiny, method):
    before = snapshot_of(tiny)
    found = residual_share(tiny, method, PROMPT)
    assert changes(tiny, before) == []
    assert found.tokens[:6] == [
        "<|startoftext|>", "a</w>", "<toy>", "on</w>", "a</w>", "beach</w>",
    ]  # fmt: skip
    assert found.alpha.shape == found.relative_size.shape == (2, 2, 24)
    assert ((found.alpha > 0) & (found.alpha < 1)).all()
    plain = attention_of(tiny, 0, "a teddy on a beach")  # (heads, tokens, dim)
    with method.attach(tiny):
        changed = attention_of(tiny, 0, PROMPT)
    layer = self_attention_layers(tiny.text_encoder)[0]
    values = in_heads(method.prefix_values[:, 0], layer)  # (heads, 1, dim)
    wanted = plain + found.alpha[0, ..., None] * (values - plain)
    torch.testing.assert_close(changed, wanted, atol=1e-5, rtol=1e-4)
    size = (changed - plain).norm(dim=-1) / plain.norm(dim=-1)
    torch.testing.assert_close(found.relative_size[0], size, atol=1e-5, rtol=1e-4)


def test_the_bias_decides_the_share(tiny, method):
    method.prefix_logit_bias = -math.inf
    assert not residual_share(tiny, method, PROMPT).alpha.any()
    assert not residual_share(tiny, method, PROMPT).relative_size.any()
    method.prefix_logit_bias = 50.0
    alpha = residual_share(tiny, method, PROMPT).alpha
    torch.testing.assert_close(alpha, torch.ones_like(alpha))


def test_only_layers_with_a_prefix_are_shown(tiny):
    method = CatVersion(tiny, "teddy", layers=[1], prefix_length=3)
    assert residual_share(tiny, method, PROMPT).alpha.shape == (1, 2, 24)


def test_a_prompt_without_the_word_has_no_residual_to_show(tiny, method):
    before = snapshot_of(tiny)
    with pytest.raises(PersoError, match="does not say <toy>"):
        residual_share(tiny, method, "a teddy on a beach")
    assert changes(tiny, before) == []


def test_a_random_prefix_moves_states_and_predictions(tiny):
    before = snapshot_of(tiny)
    first, last = (random_prefix_effect(tiny, i, PROMPTS, "teddy") for i in (0, 1))
    assert changes(tiny, before) == []
    again = random_prefix_effect(tiny, 1, PROMPTS, "teddy")
    assert torch.equal(again.text_states, last.text_states)
    assert torch.equal(again.noise, last.noise)
    assert not torch.equal(first.text_states, last.text_states)
    assert last.text_states.shape == (3,) and last.noise.shape == (3, 3)
    assert (last.text_states > 1e-3).all() and (last.noise > 1e-6).all()
    other = random_prefix_effect(tiny, 1, PROMPTS, "teddy", timesteps=[200], seed=1)
    assert other.noise.shape == (3, 1)
    assert not torch.equal(other.text_states, last.text_states)
    values = last.text_states
    assert last.spread() == pytest.approx((values.std() / values.mean()).item())
    one = random_prefix_effect(tiny, 1, PROMPTS[:1], "teddy")
    torch.testing.assert_close(one.text_states, values[:1])


def test_bad_input_is_refused(tiny):
    with pytest.raises(PersoError, match=r"layers is \[2\]"):
        random_prefix_effect(tiny, 2, PROMPTS)
    with pytest.raises(PersoError, match="has no slot"):
        random_prefix_effect(tiny, 1, ["a teddy"])
