import pytest
import torch
from before_and_after import changes, snapshot_of
from diffusers import UNet2DConditionModel
from per_layer_helpers import OPTIONS, PROMPT, GivenWord
from torch.nn import functional as F

from perso_lite import PersoError, TextualInversion, attached, encode_prompts, generate
from perso_lite.methods.space_time.analysis import states_by_layer

TIMES = torch.tensor([10, 700])


@pytest.fixture
def word(tiny):
    return GivenWord(tiny)


def last_norm_inputs(word, prompts, timesteps):
    """What `encode` gives the text encoder's last LayerNorm, call by call."""
    inputs = []
    norm = word.base.text_encoder.get_submodule("final_layer_norm")
    hook = norm.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    try:
        states_by_layer(word, prompts, timesteps)
    finally:
        hook.remove()
    return inputs


@torch.no_grad()
def test_a_layers_keys_are_the_text_with_that_layers_vector(tiny, word):
    keys, values = states_by_layer(word, [PROMPT] * 2, TIMES)
    assert keys.shape == values.shape == (2, 16, 24, 32)
    single = TextualInversion(tiny, "teddy")
    for i, layer in ((0, 0), (0, 7), (1, 7), (1, 15)):
        single.vectors.copy_(word.vectors(TIMES)[0][i, layer][None])
        with single.attach(tiny):
            wanted = encode_prompts(tiny, [PROMPT])[0]
        assert torch.allclose(keys[i, layer], wanted, atol=1e-5)


@torch.no_grad()
def test_texts_alone_are_encoded_as_together(word):
    prompts = [PROMPT, "a photo of the <toy>"]
    together = states_by_layer(word, prompts, TIMES)
    alone = [
        states_by_layer(word, [p], t[None]) for p, t in zip(prompts, TIMES, strict=True)
    ]
    for kind in range(2):
        for row in range(2):
            difference = together[kind][row] - alone[row][kind][0]
            assert difference.abs().max() < 1e-5


@torch.no_grad()
def test_a_word_changes_nothing_before_its_place(word):
    before = states_by_layer(word, [PROMPT], TIMES[:1])
    word.table += torch.randn(32)
    for old, new in zip(
        before, states_by_layer(word, [PROMPT], TIMES[:1]), strict=True
    ):
        changed = (new - old).abs().amax(dim=(0, 1, 3))
        assert changed[:2].max() == 0
        assert changed[2:].min() > 0


@torch.no_grad()
def test_the_bypass_is_a_step_of_known_length_before_the_last_norm(word):
    word.bypass_alpha = 0.3
    state, moved = last_norm_inputs(word, [PROMPT], TIMES[:1])
    step = moved - state  # (layers, tokens, dim)
    assert step.norm(dim=-1).amax(0).nonzero().flatten().tolist() == [2]
    share = step[:, 2].norm(dim=-1) / state[:, 2].norm(dim=-1)
    assert torch.allclose(share, torch.full((16,), 0.3), atol=1e-5)
    likeness = F.cosine_similarity(step[:, 2], word.bypass_table)
    assert torch.allclose(likeness, torch.ones(16), atol=1e-4)


@torch.no_grad()
def test_only_the_direction_of_the_bypass_matters(word):
    keys, values = states_by_layer(word, [PROMPT], TIMES[:1])
    word.bypass_table *= 7
    again = states_by_layer(word, [PROMPT], TIMES[:1])
    assert torch.equal(again[0], keys)
    assert torch.allclose(again[1], values, atol=1e-5)
    assert (values - keys).abs().max() > 0.05
    word.bypass_alpha = 0.0
    assert torch.equal(*states_by_layer(word, [PROMPT], TIMES[:1]))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a <toy> next to a <toy>", "says <toy> 2 times"),
        ("a cat", "does not say <toy>"),
        ("a photo of " * 10 + "<toy>", "cut off"),
    ],
)
def test_a_prompt_says_the_word_once(word, prompt, message):
    with pytest.raises(PersoError, match=message):
        states_by_layer(word, [PROMPT, prompt], TIMES)


def test_a_base_with_other_layers_is_refused(own_tiny, word):
    config = {**own_tiny.unet.config, "layers_per_block": 1}
    own_tiny.unet = UNet2DConditionModel.from_config(config)
    before = snapshot_of(own_tiny)
    refused = pytest.raises(PersoError, match=r"for 16 .* but this base has 10")
    with refused, word.attach(own_tiny):
        pass
    assert changes(own_tiny, before) == []


def test_words_with_equal_vectors_are_told_apart_by_their_names(tiny):
    one, twin = GivenWord(tiny), GivenWord(tiny, "<twin>", alpha=0)
    with attached(tiny, one, twin):
        both = generate(tiny, ["a <toy>", "a <twin>"], **OPTIONS)
    for word, picture in zip((one, twin), both, strict=True):
        with word.attach(tiny):
            alone = generate(tiny, f"a {word.placeholder_token}", **OPTIONS)[0]
        assert torch.allclose(alone, picture, atol=1e-4)
    assert not torch.allclose(*both, atol=1e-3)
