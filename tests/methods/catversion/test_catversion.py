"""The method: what it holds, when it acts, what it is trained with, and its files."""

import math

import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of
from safetensors import safe_open

from perso_lite import (
    CatVersion,
    DreamBoothLoRA,
    NeTI,
    Perfusion,
    PersoError,
    TextualInversion,
    attached,
    encode_prompts,
    fit,
    generate,
    inference_parameters,
    load_base,
    load_method,
)
from perso_lite.methods.catversion.catversion import RELEASED_SETTINGS
from perso_lite.methods.catversion.prefix import last_layers

OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}


@pytest.fixture
def method(tiny):
    """As if it had learned something."""
    return disturbed(CatVersion(tiny, "teddy"), 1.0)


def states(base, prompts):
    with torch.no_grad():
        return encode_prompts(base, prompts)


@pytest.fixture(scope="module")
def wide(tiny_folder):
    """A base with a text encoder of Stable Diffusion 1.x's width and layers."""
    base = load_base(tiny_folder, device="cpu")
    config = base.text_encoder.config
    config.update({"hidden_size": 768, "intermediate_size": 16})
    config.update({"num_hidden_layers": 12, "num_attention_heads": 12})
    base.text_encoder = type(base.text_encoder)(config).eval().requires_grad_(False)
    return base


# -- what it holds ---------------------------------------------------------------------


def test_it_holds_a_key_and_a_value_in_each_of_the_last_three_layers(wide, tmp_path):
    method = CatVersion(wide, "teddy")
    assert method.layers == [9, 10, 11]
    learned = [p for p in method.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learned) == 4608
    assert sum(
        p.numel() for p in CatVersion(wide, "teddy", layers=[0]).parameters()
    ) == (1536)
    path = tmp_path / "toy.safetensors"
    method.save(path)
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert sum(t.nbytes for t in tensors.values()) == 18_432
    assert torch.equal(tensors["catversion.prefix_keys"], method.prefix_keys)
    loaded = load_method(path, wide)
    assert torch.equal(loaded.prefix_values, method.prefix_values)


def test_shallow_encoders_have_it_in_all_layers(tiny):
    assert CatVersion(tiny, "teddy").layers == [0, 1]


@pytest.mark.parametrize(
    ("count", "layers"),
    [(6, [3, 4, 5]), (12, [9, 10, 11]), (23, [20, 21, 22])],  # ours, SD 1.x, SD 2.x
)
def test_the_last_three_layers(count, layers):
    assert last_layers(count) == layers


def test_it_starts_from_normal_numbers_of_its_seed(tiny):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, same, other = (CatVersion(tiny, "teddy", seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.prefix_keys, same.prefix_keys)
    assert not torch.equal(one.prefix_keys, other.prefix_keys)
    # in the order of the released code: K and V of a layer, then of the next
    numbers = torch.randn(128, generator=torch.Generator().manual_seed(0))
    in_order = torch.stack([one.prefix_keys, one.prefix_values], 2).flatten()
    torch.testing.assert_close(in_order, numbers * one.init_std)
    half = CatVersion(tiny, "teddy", init_std=one.init_std / 2)
    torch.testing.assert_close(half.prefix_values, one.prefix_values / 2)


@pytest.mark.parametrize(
    ("trained", "moved"), [("keys", [True, False]), ("values", [False, True])]
)
def test_keys_or_values_alone_can_learn(tiny, concept, trained, moved):
    method, start = (CatVersion(tiny, "teddy", trained=trained) for _ in range(2))
    for _ in fit(method, concept, 2, batch_size=2):
        pass
    changed = [
        not torch.equal(getattr(method, name), getattr(start, name))
        for name in ("prefix_keys", "prefix_values")
    ]
    assert changed == moved


# -- when it acts ----------------------------------------------------------------------


def test_the_placeholder_is_read_as_the_class_word(tiny, method):
    plain = states(tiny, ["a teddy on a beach", "a teddy"])
    with method.attach(tiny), inference_parameters(method, prefix_logit_bias=-math.inf):
        read = states(tiny, ["a <toy> on a beach", "A <TOY>"])
    assert torch.equal(read, plain)


@pytest.mark.parametrize("word", ["snow teddy", "corgi", "hats"])
def test_a_class_word_may_be_several_tokens(tiny, word):
    method = CatVersion(tiny, word)
    pieces = tiny.tokenizer(word, add_special_tokens=False).input_ids
    assert len(method.word) == len(pieces) > 1
    plain = states(tiny, [f"a {word} on a beach"])
    with method.attach(tiny):
        on = states(tiny, ["a <toy> on a beach"])
        method.prefix_logit_bias = -math.inf
        off = states(tiny, ["a <toy> on a beach"])
    assert torch.equal(off, plain) and not torch.allclose(on, plain, atol=1e-3)


def test_an_initializer_token_replaces_the_class_word(tiny):
    method = CatVersion(tiny, "teddy", initializer_token="cat")
    plain = states(tiny, ["a cat on a beach"])
    with method.attach(tiny), inference_parameters(method, prefix_logit_bias=-math.inf):
        assert torch.equal(states(tiny, ["a <toy> on a beach"]), plain)


def test_texts_without_the_word_are_encoded_as_by_the_base(tiny, method):
    others = ["", "a teddy on a beach", "a cat", "toy", "a <toy on a beach"]
    plain = [states(tiny, [text]) for text in others]
    batch = states(tiny, ["a teddy", *others])
    with method.attach(tiny):
        assert all(
            torch.equal(states(tiny, [text]), wanted)
            for text, wanted in zip(others, plain, strict=True)
        )
        mixed = states(tiny, ["a <toy>", *others])
    assert torch.equal(mixed[1:], batch[1:])
    assert (mixed[0] - batch[0]).abs().amax(1).min() > 1e-4


def test_guidance_leads_away_from_an_empty_prompt_that_is_clean_or_not(tiny, method):
    nothing = states(tiny, [""])
    drawn = []
    for method.clean_unconditional in (True, False):
        with method.attach(tiny):
            assert (
                torch.equal(states(tiny, [""]), nothing) == method.clean_unconditional
            )
            assert torch.equal(states(tiny, ["a cat"]), states(tiny, ["a cat"]))
            drawn.append(generate(tiny, "a <toy>", **OPTIONS))
            stock = tiny(
                "a <toy>",
                generator=torch.Generator().manual_seed(0),
                guidance_scale=5.0,
                num_inference_steps=2,
                output_type="pt",
            ).images
            torch.testing.assert_close(stock, drawn[-1], atol=1e-4, rtol=1e-4)
    assert (drawn[0] - drawn[1]).abs().max() > 1e-4


def test_the_negative_prompt_may_say_the_word(tiny, method):
    options = {"negative_prompt": "a <toy>", "guidance_scale": 5.0, **OPTIONS}
    with method.attach(tiny):
        away = generate(tiny, "a cat", **options)
        plain = generate(tiny, "a cat", **(options | {"negative_prompt": "a teddy"}))
    assert (away - plain).abs().max() > 1e-4


def test_the_bias_goes_from_the_base_to_the_prefix_alone(tiny, method):
    plain, found = states(tiny, ["a teddy"]), []
    with method.attach(tiny):
        for method.prefix_logit_bias in (-1e30, -8.0, -4.0, 0.0, 1.0):
            found.append((states(tiny, ["a <toy>"]) - plain).norm().item())
    assert found[0] == 0 and found == sorted(found)


def test_half_precision_is_kept(own_tiny):
    with torch.no_grad():
        method = CatVersion(own_tiny, "teddy")
        with method.attach(own_tiny):
            wanted = encode_prompts(own_tiny, ["a <toy>"])
        own_tiny.text_encoder.to(torch.bfloat16)
        with method.attach(own_tiny):
            found = encode_prompts(own_tiny, ["a <toy>"])
    assert found.dtype == torch.bfloat16
    assert (found.float() - wanted).abs().mean() < 0.05


# -- beside other methods --------------------------------------------------------------


def test_all_kinds_of_concepts_in_one_prompt(tiny, covariance, method):
    kinds = {
        "<word>": TextualInversion(tiny, "cat", "<word>"),
        "<lora>": DreamBoothLoRA(tiny, "dog", "<lora>", "weird", prior_pictures=0),
        "<key>": Perfusion(tiny, "hat", "<key>", covariance=covariance),
    }
    others = [disturbed(each, 0.3) for each in kinds.values()]
    before = snapshot_of(tiny)
    prompt = "a <word> and a <lora> wearing a <key> next to a "
    with attached(tiny, *others):
        without = generate(tiny, [prompt + "teddy", "a cat"], **OPTIONS)
        with method.attach(tiny):
            all_of_them = generate(tiny, [prompt + "<toy>", "a cat"], **OPTIONS)
            method.prefix_logit_bias = -math.inf
            muted = generate(tiny, [prompt + "<toy>", "a cat"], **OPTIONS)
    assert (all_of_them[0] - without[0]).abs().max() > 1e-4
    assert torch.equal(all_of_them[1], without[1])
    torch.testing.assert_close(muted, without, atol=1e-5, rtol=1e-5)
    assert changes(tiny, before) == []


def test_a_word_of_neti_is_encoded_anew_when_the_prefix_changes(tiny, method):
    word = disturbed(NeTI(tiny, "cat", "<cat>"), 0.3)
    options = {**OPTIONS, "guidance_scale": 1.0}

    def drawn():
        return generate(tiny, "a <cat> next to a <toy>", **options)

    with attached(tiny, word, method):
        at_zero = drawn()
        with inference_parameters(method, prefix_logit_bias=2.0):
            changed = drawn()
        assert torch.equal(drawn(), at_zero)
    with (
        attached(tiny, word, method),
        inference_parameters(method, prefix_logit_bias=2),
    ):
        assert torch.equal(drawn(), changed)
    assert (changed - at_zero).abs().max() > 1e-4


# -- training --------------------------------------------------------------------------


def test_what_is_said_of_the_pictures(tiny, concept):
    def said(**options):
        return CatVersion(tiny, "teddy", **options).captions(concept)

    assert said() == said(caption="word") == [["<toy>"]] * 3
    assert said(caption="empty") == [[""]] * 3
    templates = said(caption="templates")
    assert len(templates[0]) == 27 and "a photo of a <toy>" in templates[0]


def test_in_training_on_nothing_the_prefix_acts_on_nothing(tiny, concept):
    method = CatVersion(tiny, "teddy", caption="empty")
    start = method.prefix_values.detach().clone()
    nothing = states(tiny, [""])
    for step in fit(method, concept, 1, batch_size=2):
        assert step.captions == ["", ""]
    assert not torch.equal(method.prefix_values, start)
    with method.attach(tiny):
        assert torch.equal(states(tiny, [""]), nothing)  # when drawing it does not


def test_only_the_prefix_gets_a_gradient(wide, concept):
    before = snapshot_of(wide)
    method = CatVersion(wide, "teddy")
    with method.attach(wide):
        encode_prompts(wide, ["a <toy>", "a cat"])[..., 0].sum().backward()
    reached = [p for p in method.parameters() if p.grad is not None]
    assert sum(p.grad.numel() for p in reached) == 4608
    assert all(p.grad.any() for p in reached)
    assert changes(wide, before) == []


def test_the_rate_of_the_released_code_is_scaled_with_its_batch(tiny):
    assert RELEASED_SETTINGS["learning_rate"] == pytest.approx(1e-2)
    (group,) = CatVersion(tiny, "teddy", **RELEASED_SETTINGS).parameter_groups()
    assert (group["lr"], group["weight_decay"]) == (pytest.approx(1e-2), 0.01)


# -- files -----------------------------------------------------------------------------


@pytest.fixture
def released(tmp_path):
    """A file as the authors released them: four names, one storage."""
    flat = torch.arange(4608.0)
    names = [f"text_model.encoder.layers.{i}.self_attn.prefix" for i in (9, 10, 11)]
    path = tmp_path / "pytorch_adapter.bin"
    torch.save(dict.fromkeys([*names, "prefix_tuning"], flat), path)
    return path


def test_a_released_file_is_read(wide, released):
    method = CatVersion.from_released(released, wide, "teddy", "<pet>")
    layout = torch.arange(4608.0).reshape(1, 6, 12, 64)
    keys, values = layout[0, 0::2].flatten(1), layout[0, 1::2].flatten(1)
    assert torch.equal(method.prefix_keys[0], keys)  # K9, K10, K11
    assert torch.equal(method.prefix_values[0], values)  # V9, V10, V11
    assert torch.equal(method.prefix_keys[0, 0, 64:128], layout[0, 0, 1])  # a head
    assert method.prefix_logit_bias == 1.0 and method.placeholder_token == "<pet>"
    folder = CatVersion.from_released(released.parent, wide, "teddy")
    assert torch.equal(folder.prefix_keys, method.prefix_keys)
    assert method.prefix_keys.is_leaf and method.prefix_keys.requires_grad


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "is no pytorch_adapter.bin"),
        ([torch.zeros(4608)], "is no pytorch_adapter.bin"),
        ({"a": 1.0}, "is no pytorch_adapter.bin"),
        ({"a": torch.zeros(4608), "b": torch.ones(4608)}, "differ"),
        ({"a": torch.zeros(6144)}, "holds 6144 numbers, .* 4608"),
        ({"a": CatVersion}, "more than plain tensors"),
    ],
)
def test_other_files_are_refused(wide, tmp_path, content, message):
    path = tmp_path / "pytorch_adapter.bin"
    torch.save(content, path)
    with pytest.raises(PersoError, match=message):
        CatVersion.from_released(path, wide, "teddy")


def test_the_strength_is_kept_in_files_also_that_of_the_base(tiny, method, tmp_path):
    path = tmp_path / "toy.safetensors"
    for bias in (-math.inf, 1.0):
        method.prefix_logit_bias = bias
        method.save(path)
        assert load_method(path, tiny).prefix_logit_bias == bias


# -- mistakes --------------------------------------------------------------------------


def test_a_prefix_of_another_text_encoder_is_refused(tiny, wide, method):
    before = snapshot_of(wide)
    with (
        pytest.raises(PersoError, match="learned in 32 dimensions"),
        method.attach(wide),
    ):
        pass
    assert changes(wide, before) == []


def test_a_prefix_of_a_deeper_text_encoder_is_refused(tiny, wide):
    deep = CatVersion(wide, "teddy")
    assert deep.layers == [9, 10, 11]
    shallow = load_base(tiny.name_or_path, device="cpu")
    config = shallow.text_encoder.config
    config.update({"hidden_size": 768, "intermediate_size": 16})
    shallow.text_encoder = type(shallow.text_encoder)(config)
    before = snapshot_of(shallow)
    refused = pytest.raises(PersoError, match=r"\[9, 10, 11\].* has layers 0 to 1")
    with refused, deep.attach(shallow):
        pass
    assert changes(shallow, before) == []


@pytest.mark.parametrize("bias", [None, "1", True, math.nan, math.inf])
def test_a_bias_that_is_no_number_is_refused(method, bias):
    with pytest.raises(PersoError, match="prefix_logit_bias is"):
        method.prefix_logit_bias = bias
    assert method.prefix_logit_bias == 0.0
