"""LoRA files of diffusers and kohya's scripts, against the stock pipeline's reading."""

import copy
import json
import random

import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of
from diffusers import StableDiffusionPipeline
from public_file_makers import (
    Code,
    attention_layers,
    kohya_file,
    kohya_tensors,
    layers_ending,
    thin_matrices,
)
from safetensors.torch import load_file, save_file

from perso_lite import DreamBoothLoRA, PersoError, encode_prompts, fit, load_method
from perso_lite.files.tensors import read_tensors, write_tensors

STOCK, OURS = "a weird teddy on a beach", "a <toy> on a beach"


def read(path, base, **options):
    options = {"identifier_token": "weird", **options}
    return DreamBoothLoRA.from_lora_weights(path, base, "teddy", **options)


@torch.no_grad()
def predicted(base, prompt):
    """The U-Net's output for a prompt, (2, 4, 8, 8)."""
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    states = encode_prompts(base, [prompt, prompt])
    return base.unet(latents, 500, states).sample


def agree(method, base, stock, path):
    """Whether the method draws on `base` what the stock pipeline makes of the file."""
    before = predicted(stock, STOCK)
    stock.load_lora_weights(path.parent, weight_name=path.name)
    wanted = predicted(stock, STOCK)
    assert (wanted - before).abs().max() > 1e-3
    with method.attach(base):
        return torch.allclose(predicted(base, OURS), wanted, atol=1e-6)


def diffusers_file(folder, base, ranks=(4,), **metadata):
    """Written by the stock pipeline's own writer."""
    made = thin_matrices(base.unet, attention_layers(base.unet), ranks)
    layers = {}
    for name, (down, up) in made.items():
        layers |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    StableDiffusionPipeline.save_lora_weights(folder, layers, **metadata)
    return folder / "pytorch_lora_weights.safetensors"


# -- files of diffusers ----------------------------------------------------------------


def test_a_file_of_diffusers_draws_as_the_stock_pipeline(tiny, own_tiny, tmp_path):
    path = diffusers_file(tmp_path, tiny)
    method = read(tmp_path, tiny)  # the folder
    assert (method.rank, method.layer_ranks) == (4, None)
    assert agree(method, tiny, own_tiny, path)


def test_ranks_are_those_of_the_layers(tiny, own_tiny, tmp_path):
    path = diffusers_file(tmp_path, tiny, ranks=(4, 2, 3))
    method = read(path, tiny)
    ranks = [method.layer_ranks[f"unet.{name}"] for name in attention_layers(tiny.unet)]
    assert ranks[:4] == [4, 2, 3, 4]
    assert agree(method, tiny, own_tiny, path)


def test_the_scale_that_diffusers_writes_beside_is_kept(tiny, own_tiny, tmp_path):
    name = attention_layers(tiny.unet)[3]
    about = {"r": 4, "lora_alpha": 8, "alpha_pattern": {name: 2}}
    about["target_modules"] = attention_layers(tiny.unet)
    path = diffusers_file(tmp_path, tiny, unet_lora_adapter_metadata=about)
    made = load_file(path)[f"unet.{name}.lora_B.weight"]
    method = read(path, tiny)
    b = method.matrices[name.replace(".", "_")]["B"].weight
    assert torch.equal(b, made * (2 / 4))
    assert agree(method, tiny, own_tiny, path)


def test_our_own_weights_come_back_bit_for_bit(tiny, tmp_path):
    options = {"identifier_token": "weird", "rank": 2}
    method = disturbed(DreamBoothLoRA(tiny, "teddy", **options), 0.3)
    back = read(method.to_lora_weights(tmp_path), tiny)
    assert back.settings() == method.settings()
    state, other = back.state_dict(), method.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[key], other[key]) for key in state)


@pytest.mark.parametrize("prefix", ["unet.", ""])  # of the pipeline, of the U-Net
def test_names_of_earlier_diffusers_are_read(tiny, tmp_path, prefix):
    made = thin_matrices(tiny.unet, attention_layers(tiny.unet))
    tensors = {}
    for name, (down, up) in made.items():
        layer, _, projection = name.removesuffix(".0").rpartition(".")
        start = f"{prefix}{layer}.processor.{projection}_lora"
        tensors |= {f"{start}.down.weight": down, f"{start}.up.weight": up}
    save_file(tensors, tmp_path / "early.safetensors")
    method = read(tmp_path / "early.safetensors", tiny)
    for name, (down, up) in made.items():
        a, b = method.matrices[name.replace(".", "_")].values()
        assert torch.equal(a.weight, down) and torch.equal(b.weight, up)


def test_a_pickle_of_plain_tensors_is_read(tiny, tmp_path):
    path = diffusers_file(tmp_path, tiny)
    torch.save(load_file(path), tmp_path / "weights.bin")
    wanted = read(path, tiny).state_dict()
    path.rename(tmp_path / "other.safetensors")
    (tmp_path / "weights.bin").rename(path.with_suffix(".bin"))
    for place in (path.with_suffix(".bin"), tmp_path):
        state = read(place, tiny).state_dict()
        assert all(torch.equal(state[key], wanted[key]) for key in wanted)


# -- files of kohya's scripts ----------------------------------------------------------


@pytest.mark.parametrize(
    ("ranks", "alphas"),
    [((4,), (4.0,)), ((4,), (1.0,)), ((4, 2), (1.0,)), ((3,), (None,))],
)
def test_a_kohya_file_draws_as_the_stock_pipeline(
    tiny, own_tiny, tmp_path, ranks, alphas
):
    path = tmp_path / "toy.safetensors"
    kohya_file(path, tiny, attention_layers(tiny.unet), ranks, alphas)
    assert agree(read(path, tiny), tiny, own_tiny, path)


def test_every_layer_that_kohya_changes_is_read(tiny, own_tiny, tmp_path):
    """Feed-forward, convolutions and the text encoder beside attention."""
    unet_layers = attention_layers(tiny.unet) + layers_ending(
        tiny.unet, ".proj_in", ".proj_out", ".ff.net.0.proj", ".ff.net.2",
        ".conv1", "samplers.0.conv", "conv_shortcut", "time_emb_proj",
    )  # fmt: skip
    text_layers = layers_ending(tiny.text_encoder, "_proj", ".fc1", ".fc2")
    path = tmp_path / "toy.safetensors"
    kohya_file(path, tiny, unet_layers, (4, 2), (2.0,), text_layers)
    method, before = read(path, tiny), snapshot_of(tiny)
    assert len(method.layer_ranks) == len(unet_layers) + len(text_layers)
    assert agree(method, tiny, own_tiny, path)
    assert changes(tiny, before) == []


@torch.no_grad()
def test_every_layer_has_its_own_alpha(tiny, tmp_path):
    """Not so in diffusers 0.42 for attention layers, so: against the equation."""
    names, alphas = attention_layers(tiny.unet), (1.0, 3.0, 8.0)
    path = kohya_file(tmp_path / "a.safetensors", tiny, names, alphas=alphas)
    method = read(path, tiny)
    made = thin_matrices(tiny.unet, names)
    for index, (name, (down, up)) in enumerate(made.items()):
        layer = tiny.unet.get_submodule(name)
        x = torch.linspace(-1, 1, 2 * layer.in_features).view(2, -1)
        wanted = layer(x) + alphas[index % 3] / 4 * x @ down.T @ up.T
        with method.attach(tiny):
            got = tiny.unet.get_submodule(name)(x)
        assert torch.allclose(got, wanted, atol=1e-5)


def test_a_method_of_many_layers_is_saved_drawn_and_exported(tiny, own_tiny, tmp_path):
    layers = ["mid_block.attentions.0.proj_in", "conv_out"]
    text = ["encoder.layers.0.mlp.fc1"]
    path = kohya_file(tmp_path / "a.safetensors", tiny, layers, (3, 2), (2.0,), text)
    method = read(path, tiny)
    method.save(tmp_path / "ours.safetensors")
    loaded = load_method(tmp_path / "ours.safetensors", tiny)
    base_output = predicted(tiny, STOCK)
    assert loaded.layer_ranks == method.layer_ranks
    with method.attach(tiny):
        wanted = predicted(tiny, OURS)
    with loaded.attach(tiny):
        assert torch.equal(predicted(tiny, OURS), wanted)
        loaded.lora_scale = 0.0
        assert torch.equal(predicted(tiny, OURS), base_output)
    assert len(list(method.parameter_groups()[0]["params"])) == 6
    exported = method.to_lora_weights(tmp_path / "back.safetensors")
    assert any(".text_model." in name for name in load_file(exported))
    assert agree(method, tiny, own_tiny, exported)


def test_what_was_read_learns_on_in_all_its_layers(tiny, concept, tmp_path):
    text = ["encoder.layers.0.mlp.fc1"]
    path = kohya_file(tmp_path / "a.safetensors", tiny, ["conv_out"], text_layers=text)
    method = read(path, tiny)
    method.prior.pictures = 1
    before, weights = copy.deepcopy(method.state_dict()), snapshot_of(tiny)
    next(fit(method, concept, batch_size=1))
    after = method.state_dict()
    assert len(after) == 4
    assert not any(torch.equal(after[key], before[key]) for key in after)
    assert changes(tiny, weights) == []


# -- what is refused -------------------------------------------------------------------


def written(path, tensors, header=None):
    save_file(tensors, path, metadata=header)
    return path


def refused(path, base, match):
    with pytest.raises(PersoError, match=match) as caught:
        read(path, base)
    assert len(str(caught.value)) - len(str(path)) < 400


LAYER = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
START = f"unet.{LAYER}.lora_"


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"A.weight": torch.ones(2, 33)}, f"changes unet.{LAYER} .*does not fit"),
        ({"B.weight": torch.ones(32, 3)}, "does not fit this base"),
        ({"A.weight": torch.ones(32)}, "does not fit this base"),
        (
            {"A.weight": torch.ones(0, 32), "B.weight": torch.ones(32, 0)},
            "no LoRA layer",
        ),
        ({"B.weight": torch.full((32, 2), float("nan"))}, "not finite"),
        ({"B.bias": torch.ones(32)}, "no plain LoRA .*B.bias"),
        ({"magnitude_vector": torch.ones(32)}, "no plain LoRA .*magnitude"),
    ],
)
def test_layers_that_do_not_fit_are_refused(tiny, tmp_path, changed, match):
    good = {"A.weight": torch.ones(2, 32), "B.weight": torch.ones(32, 2)}
    tensors = {START + part: value for part, value in (good | changed).items()}
    refused(written(tmp_path / "bad.safetensors", tensors), tiny, match)


def test_files_that_are_no_plain_lora_are_refused(tiny, tmp_path):
    path = tmp_path / "bad.safetensors"
    one = torch.ones(2, 32)
    refused(written(path, {f"{START}A.weight": one}), tiny, "no plain LoRA")
    refused(written(path, {"<toy>": one}), tiny, "no plain LoRA .*<toy>")
    refused(written(path, {"text_encoder_2.a.lora_A.weight": one}), tiny, "encoder_2")
    there = thin_matrices(tiny.unet, [LAYER])
    kohya = kohya_tensors("lora_unet_", there)
    layer = "lora_unet_" + LAYER.replace(".", "_")
    for extra in ("dora_scale", "hada_w1_a", "lokr_w1", "lora_mid.weight"):
        bad = kohya | {f"{layer}.{extra}": torch.ones(32, 1)}
        refused(written(path, bad), tiny, "no plain LoRA .*(DoRA|_to_k)")
    stray = kohya | {"lora_unet_other.alpha": torch.tensor(1.0)}
    refused(written(path, stray), tiny, "no plain LoRA")
    elsewhere = {k.replace("mid_block", "mid_block_9"): v for k, v in kohya.items()}
    refused(written(path, elsewhere), tiny, "does not fit this base")


@pytest.mark.parametrize(
    "about",
    ["[]", "{", "[" * 100_000, '{"unet.r": 2, "unet.of_tomorrow": 1}',
     '{"unet.lora_alpha": "much"}', '{"unet.alpha_pattern": {"(a+)+b": 2}}'],
)  # fmt: skip
def test_a_header_that_cannot_be_read_is_refused(tiny, tmp_path, about):
    pair = {
        f"{START}A.weight": torch.ones(2, 32),
        f"{START}B.weight": torch.ones(32, 2),
    }
    header = {"lora_adapter_metadata": about}
    refused(written(tmp_path / "a.safetensors", pair, header), tiny, "no plain LoRA")


def test_files_cut_short_and_code_are_refused(tiny, tmp_path):
    path = diffusers_file(tmp_path, tiny)
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, tiny, "not a whole safetensors file")
    trace = tmp_path / "trace"
    torch.save({f"{START}A.weight": Code(trace)}, tmp_path / "code.bin")
    refused(tmp_path / "code.bin", tiny, "more than plain tensors")
    assert not trace.exists()
    torch.save([1, 2], tmp_path / "list.pt")
    refused(tmp_path / "list.pt", tiny, "tensors by their names")
    refused(tmp_path / "absent", tiny, "There is no file")


def test_scrambled_names_end_in_a_sentence(tiny, tmp_path):
    path = tmp_path / "toy.safetensors"
    text = ["encoder.layers.0.mlp.fc1"]
    kohya_file(path, tiny, attention_layers(tiny.unet)[:3], text_layers=text)
    tensors, dice = load_file(path), random.Random(0)
    for _ in range(100):
        scrambled = {}
        for name, value in tensors.items():
            parts = name.split(".")
            dice.random() < 0.3 and parts.pop(dice.randrange(len(parts)))
            dice.random() < 0.3 and parts.insert(
                0, dice.choice(["unet", "lora_A", "9"])
            )
            scrambled[".".join(parts) or "x"] = value.clone()
        try:
            read(written(path, scrambled), tiny)
        except PersoError:
            continue
        pytest.fail(f"was read: {list(scrambled)}")


# -- the setting that names layers -----------------------------------------------------


@pytest.mark.parametrize(
    ("ranks", "match"),
    [
        ({"unet.nowhere": 2}, '"nowhere", which is no linear'),
        ({"unet.mid_block": 2}, '"mid_block", which is no linear'),
        ({"unet.": 2}, "no linear"),
        ({"vae.conv_in": 2}, "names begin with"),
        ({"unet.conv_in": 0}, "whole number from 1"),
        ({"unet.conv_in": "2"}, "whole number from 1"),
    ],
)
def test_layer_ranks_are_checked(tiny, ranks, match):
    with pytest.raises(PersoError, match=match):
        DreamBoothLoRA(tiny, "teddy", identifier_token="weird", layer_ranks=ranks)


def test_a_header_with_a_huge_rank_builds_nothing(tiny, tmp_path):
    method = DreamBoothLoRA(
        tiny, "teddy", identifier_token="weird", layer_ranks={"unet.conv_in": 2}
    )
    path = tmp_path / "toy.safetensors"
    method.save(path)
    tensors, header = read_tensors(path)
    for bad in (10**12, [2], None):
        settings = json.loads(header["perso_lite.settings"])
        settings["layer_ranks"] = {"unet.conv_in": bad}
        edited = header | {"perso_lite.settings": json.dumps(settings)}
        write_tensors(path, tensors, edited)
        with pytest.raises(PersoError, match="cannot be built"):
            load_method(path, tiny)
