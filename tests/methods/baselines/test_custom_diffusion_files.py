"""Folders of diffusers' `train_custom_diffusion.py`, read and written."""

import pytest
import torch
from before_and_after import disturbed
from diffusers.models.attention_processor import CustomDiffusionAttnProcessor2_0
from public_file_makers import Code
from safetensors.torch import load_file, save_file

from perso_lite import CustomDiffusion, PersoError, encode_prompts, load_method
from perso_lite.methods.baselines.custom_diffusion import text_projections

WEIGHTS = "pytorch_custom_diffusion_weights"


def make(base, placeholder_token="<toy>", seed=0):
    """A method as if it had learned something."""
    options = {"initializer_token": "weird", "prior_pictures": 4}
    method = CustomDiffusion(base, "teddy", placeholder_token, **options)
    return disturbed(method, 0.1, seed)


def read(folder, base, **options):
    return CustomDiffusion.from_custom_diffusion_weights(
        folder, base, "teddy", **options
    )


@torch.no_grad()
def predicted(base, prompt):
    """The U-Net's output for a prompt, (2, 4, 8, 8)."""
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    states = encode_prompts(base, [prompt, prompt])
    return base.unet(latents, 500, states).sample


def attached_output(method, base, prompt="a <toy> on a beach"):
    with method.attach(base):
        return predicted(base, prompt)


@torch.no_grad()
def stock_folder(folder, base, token="<new1>", safe=False, freeze="crossattn_kv"):
    """Written by the stock U-Net's own writer, with processors set up as trained."""
    unet, generator = base.unet, torch.Generator().manual_seed(3)
    processors, kinds = {}, {"train_kv": True, "train_q_out": freeze == "crossattn"}
    for name in unet.attn_processors:
        attention = unet.get_submodule(name.removesuffix(".processor"))
        width = attention.to_q.out_features
        chosen = kinds if ".attn2." in name else dict.fromkeys(kinds, False)
        processor = CustomDiffusionAttnProcessor2_0(
            **chosen, hidden_size=width, cross_attention_dim=attention.to_k.in_features
        )
        for key, weight in processor.named_parameters():
            source = attention.get_submodule(key.split("_custom")[0])
            noise = torch.randn(weight.shape, generator=generator) * 0.1
            weight.copy_(getattr(source, "weight", weight) + noise)
        processors[name] = processor
    unet.set_attn_processor(dict(processors))
    unet.save_attn_procs(folder, safe_serialization=safe)
    vector = torch.randn(32, generator=generator)
    # the script names it .bin also where the content is safetensors
    write = save_file if safe else torch.save
    write({token: vector}, folder / f"{token}.bin")
    return vector


@pytest.mark.parametrize("safe", [True, False])
def test_a_stock_folder_draws_as_the_stock_pipeline(tiny, own_tiny, tmp_path, safe):
    vector = stock_folder(tmp_path, own_tiny, safe=safe)
    own_tiny.load_textual_inversion({"<new1>": vector})
    wanted = predicted(own_tiny, "a <new1> teddy on a beach")
    method = read(tmp_path, tiny)
    assert method.placeholder_token == "<new1>"
    assert torch.equal(method.modifier, vector)
    got = attached_output(method, tiny, "a <new1> on a beach")
    assert torch.allclose(got, wanted, atol=1e-5)
    assert (got - predicted(tiny, "a teddy on a beach")).abs().max() > 1e-3


def test_the_stock_pipeline_reads_our_folder(tiny, own_tiny, tmp_path):
    method = make(tiny)
    wanted = attached_output(method, tiny)
    path = method.to_custom_diffusion_weights(tmp_path)
    assert path.name == f"{WEIGHTS}.safetensors"
    unet = own_tiny.unet
    unet.load_attn_procs(tmp_path, weight_name=path.name, _pipeline=own_tiny)
    own_tiny.load_textual_inversion(tmp_path, weight_name="<toy>.safetensors")
    got = predicted(own_tiny, "a <toy> teddy on a beach")
    assert torch.allclose(got, wanted, atol=1e-5)


def test_our_folder_comes_back(tiny, tmp_path):
    method = make(tiny)
    path = method.to_custom_diffusion_weights(tmp_path / "new")
    for place in (path.parent, path):
        back = read(place, tiny)
        assert back.placeholder_token == "<toy>"
        assert torch.equal(back.modifier, method.modifier)
        for key, delta in method.deltas.items():
            assert torch.allclose(back.deltas[key], delta, atol=1e-6)
    back.save(tmp_path / "toy.safetensors")
    loaded = load_method(tmp_path / "toy.safetensors", tiny)
    assert torch.equal(attached_output(loaded, tiny), attached_output(back, tiny))


@torch.no_grad()
def test_a_file_of_the_authors_code_gives_the_same_numbers(tiny, tmp_path):
    method = make(tiny)
    weights, projections = {}, text_projections(tiny)
    for name, projection in projections.items():
        delta = method.deltas[name.replace(".", "_")]
        weights[f"{name}.weight"] = projection.weight + delta
    words = {"<new1>": method.modifier.clone()}
    path = tmp_path / "delta.bin"
    torch.save({"unet": weights, "modifier_token": words}, path)
    for place in (path, tmp_path):
        back = load_method(place, tiny, class_word="teddy")
        assert isinstance(back, CustomDiffusion)
        assert back.placeholder_token == "<new1>"
        assert torch.equal(back.modifier, method.modifier)
        for key, delta in method.deltas.items():
            assert torch.allclose(back.deltas[key], delta, atol=1e-6)
    words["<new2>"] = words["<new1>"] + 1
    torch.save({"unet": weights, "modifier_token": words}, path)
    named = load_method(path, tiny, class_word="teddy", modifier_token="<new2>")
    assert torch.equal(named.modifier, words["<new2>"])
    with pytest.raises(PersoError, match="<new1>, <new2>, but one word"):
        load_method(path, tiny, class_word="teddy")
    weights.popitem()
    torch.save({"unet": weights, "modifier_token": words}, path)
    with pytest.raises(PersoError, match=r"does not change .*crossattn_kv"):
        load_method(path, tiny, class_word="teddy", modifier_token="<new2>")


def test_one_of_several_words_is_named(tiny, tmp_path):
    for token in ("<one>", "<two>"):
        make(tiny, token).to_custom_diffusion_weights(tmp_path)
    with pytest.raises(PersoError, match="the words <one>, <two>, but one is needed"):
        read(tmp_path, tiny)
    named = read(tmp_path, tiny, modifier_token="<two>", placeholder_token="<toy>")
    assert named.placeholder_token == "<toy>"
    with pytest.raises(PersoError, match="no file of a new word"):
        read(tmp_path, tiny, modifier_token="<three>")


def test_queries_that_were_trained_are_refused(tiny, own_tiny, tmp_path):
    stock_folder(tmp_path, own_tiny, freeze="crossattn")
    with pytest.raises(PersoError, match=r"changes .*to_(q|out)_custom_diffusion"):
        read(tmp_path, tiny)


KEY = "mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_k_custom_diffusion.weight"  # noqa: E501


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        (KEY, None, "does not change mid_block"),
        (
            KEY,
            torch.ones(32, 64),
            r"in the size \(32, 64\), but this base in \(32, 32\)",
        ),
        (KEY, torch.full((32, 32), float("inf")), "not finite"),
        ("other.weight", torch.ones(2), "changes other.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tiny, tmp_path, key, value, match):
    path = make(tiny).to_custom_diffusion_weights(tmp_path)
    tensors = load_file(path)
    del tensors[KEY]
    if key != KEY:
        tensors[KEY] = torch.ones(32, 32)
    if value is not None:
        tensors[key] = value
    save_file(tensors, path)
    with pytest.raises(PersoError, match=match):
        read(tmp_path, tiny)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"<toy>": torch.ones(16)}, "width 16, but this base has 32"),
        ({"<toy>": torch.ones(2, 32)}, "one vector of one new word"),
        ({"<toy>": torch.ones(32), "<b>": torch.ones(32)}, "one vector of one"),
        ({"<toy>": torch.tensor(1.0)}, "one vector of one new word"),
        ({}, "one vector of one new word"),
    ],
)
def test_words_that_do_not_fit_are_refused(tiny, tmp_path, content, match):
    make(tiny).to_custom_diffusion_weights(tmp_path)
    save_file(content, tmp_path / "<toy>.safetensors")
    with pytest.raises(PersoError, match=match):
        read(tmp_path, tiny)


def test_missing_files_files_cut_short_and_code_are_refused(tiny, tmp_path):
    with pytest.raises(PersoError, match="There is no file"):
        read(tmp_path, tiny)
    path = make(tiny).to_custom_diffusion_weights(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(PersoError, match="not a whole safetensors file"):
        read(tmp_path, tiny)
    path.unlink()
    trace = tmp_path / "trace"
    torch.save({"down": Code(trace)}, tmp_path / f"{WEIGHTS}.bin")
    with pytest.raises(PersoError, match="more than plain tensors"):
        read(tmp_path, tiny)
    assert not trace.exists()


def test_what_is_written_is_the_changed_weight_of_the_base(tiny, tmp_path):
    method = make(tiny)
    tensors = load_file(method.to_custom_diffusion_weights(tmp_path))
    for name, projection in text_projections(tiny).items():
        layer, _, kind = name.rpartition(".")
        written = tensors[f"{layer}.processor.{kind}_custom_diffusion.weight"]
        wanted = projection.weight + method.deltas[name.replace(".", "_")]
        assert torch.equal(written, wanted)
    assert sum(value.numel() == 0 for value in tensors.values()) == 16
