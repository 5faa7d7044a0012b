"""Files of other tools, written here as each format is described, and opened again.

`load_method` knows them by what they hold: the names of the files here say nothing.
"""

import re
import sys
import types
from pathlib import Path

import pytest
import torch
from before_and_after import disturbed
from peft import LoraConfig
from public_file_makers import Code, attention_layers, kohya_file
from safetensors.torch import save_file
from torch import nn

from perso_lite import (
    METHODS,
    CatVersion,
    CelebBasis,
    CustomDiffusion,
    DreamBoothLoRA,
    NeTI,
    Perfusion,
    PersoError,
    TextBoost,
    TextualInversion,
    encode_prompts,
    load_method,
)
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.methods.celeb_basis.basis import NameBasis
from perso_lite.methods.space_time.mapper import SpaceTimeMapper

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "perso_lite" / "methods" / "README.md"
TOKENS = 24  # of a text of the tiny base


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- words, LoRA, Custom Diffusion -----------------------------------------------------


def test_a_learned_word_is_opened(tiny, tmp_path):
    vectors = noise(2, 32)
    save_file({"<cat-toy>": vectors}, tmp_path / "a.bin")
    method = load_method(tmp_path / "a.bin", tiny, class_word="cat")
    assert isinstance(method, TextualInversion)
    assert (method.placeholder_token, method.class_word) == ("<cat-toy>", "cat")
    assert torch.equal(method.vectors.detach(), vectors)


def test_a_word_of_the_authors_code_is_opened(tiny, tmp_path):
    word = nn.ParameterDict({"*": nn.Parameter(noise(2, 32))})
    torch.save({"string_to_token": {"*": 265}, "string_to_param": word}, tmp_path / "a")
    method = load_method(tmp_path / "a", tiny, "<toy>", class_word="cat")
    assert isinstance(method, TextualInversion)
    assert torch.equal(method.vectors.detach(), noise(2, 32))


def test_a_lora_is_opened_with_the_arguments_of_its_reader(tiny, tmp_path):
    path = kohya_file(tmp_path / "a.b", tiny, attention_layers(tiny.unet))
    options = {"class_word": "teddy", "identifier_token": "weird"}
    method = load_method(path, tiny, "<pet>", **options)
    wanted = DreamBoothLoRA.from_lora_weights(path, tiny, "teddy", "<pet>", "weird")
    assert method.settings() == wanted.settings()
    for name, value in wanted.state_dict().items():
        assert torch.equal(method.state_dict()[name], value)
    with pytest.raises(PersoError, match=r"person is not for .*\.from_lora_weights"):
        load_method(path, tiny, person=1, **options)


def test_custom_diffusions_weights_are_opened(tiny, tmp_path):
    written = disturbed(
        CustomDiffusion(tiny, "teddy", "<cat-toy>", initializer_token="weird"), 0.1
    )
    path = written.to_custom_diffusion_weights(tmp_path)
    for place in (path, tmp_path):
        method = load_method(place, tiny, class_word="teddy")
        assert method.placeholder_token == "<cat-toy>"
        for name, value in written.state_dict().items():
            assert torch.allclose(method.state_dict()[name], value, atol=1e-6)


# -- CatVersion, Celeb Basis -----------------------------------------------------------


def test_an_adapter_of_catversion_is_opened(tiny, tmp_path):
    numbers = noise(2 * 2 * 32)  # the tiny text encoder has two layers
    layers = [f"text_model.encoder.layers.{i}.self_attn.prefix" for i in (0, 1)]
    torch.save(dict.fromkeys([*layers, "prefix_tuning"], numbers), tmp_path / "a")
    method = load_method(tmp_path / "a", tiny, class_word="teddy")
    assert isinstance(method, CatVersion) and method.prefix_logit_bias == 1.0
    keys_and_values = numbers.view(2, 2, 32)  # [K0, V0, K1, V1]
    assert torch.equal(method.prefix_keys[0].detach(), keys_and_values[:, 0])
    assert torch.equal(method.prefix_values[0].detach(), keys_and_values[:, 1])


def test_coefficients_of_celeb_basis_are_opened(tiny, name_basis, tmp_path):
    basis: NameBasis = name_basis.first(5)
    people = [noise(2, 1, 5, seed=i) for i in range(10)]
    torch.save({"id_coefficients": people, "id_embeddings": people}, tmp_path / "a")
    torch.save(people[3], tmp_path / "b")
    for path, options in ((tmp_path / "a", {"person": 3}), (tmp_path / "b", {})):
        method = load_method(path, tiny, basis=basis, **options)
        assert isinstance(method, CelebBasis) and method.class_word == "person"
        weights = people[3][:, 0]
        assert torch.equal(method.coefficients().detach(), weights)
        wanted = basis.mean + torch.einsum("kp,kpd->kd", weights, basis.vectors)
        assert torch.allclose(method.vectors(), wanted, atol=1e-6)


# -- TextBoost -------------------------------------------------------------------------


@torch.no_grad()
def test_a_folder_of_textboost_is_opened_and_encodes_as_peft_does(
    tiny, own_tiny, tmp_path
):
    encoder = own_tiny.text_encoder
    encoder.add_adapter(
        LoraConfig(
            r=2, lora_alpha=2, target_modules=["q_proj"], init_lora_weights=False
        )
    )
    encoder.save_pretrained(tmp_path / "text_encoder")
    torch.save({"<dog>": noise(32)}, tmp_path / "dog.bin")
    method = load_method(tmp_path, tiny, class_word="teddy", with_class_word=False)
    assert isinstance(method, TextBoost) and method.placeholder_token == "<dog>"
    assert torch.equal(method.vectors.detach(), noise(1, 32))
    own_tiny.load_textual_inversion({"<dog>": noise(32)})
    with method.attach(tiny):
        read = encode_prompts(tiny, ["a <dog> on a beach"])
    assert torch.allclose(
        read, encode_prompts(own_tiny, ["a <dog> on a beach"]), atol=1e-5
    )


# -- NeTI ------------------------------------------------------------------------------


class Features(nn.Module):
    """What is pickled as the mapper's encoder: its numbers are no parameters."""


def released_mapper(path, norm=0.4, resumed=False, encoder=None, **model):
    """A file as NeTI's code saves one, for 16 layers and a text width of 32."""
    outputs = 64 if model.get("output_bypass", True) else 32
    ours = SpaceTimeMapper(16, outputs)
    state = {}
    for name, value in ours.state_dict().items():
        value = noise(*value.shape, seed=len(state)) * 0.3
        for layer, theirs in (
            ("encoding.1.", ("input_layer.", "net.0.")), ("hidden.0.", ("net.1.",)),
            ("hidden.1.", ("net.2.",)), ("hidden.3.", ("net.4.",)),
            ("hidden.4.", ("net.5.",)), ("output.", ("output_layer.0.",)),
        ):  # fmt: skip
            if name.startswith(layer):
                state |= {n + name.removeprefix(layer): value for n in theirs}
    module = types.ModuleType("models.positional_encoding")
    kind = type("NeTIPositionalEncoding", (Features,), {"__module__": module.__name__})
    module.NeTIPositionalEncoding = kind
    features = kind()
    frequencies = noise(1024, 2) * torch.tensor([0.03, 2.0])
    if resumed:
        features.w = nn.Parameter(frequencies)
        state["encoder.w"] = frequencies
    else:
        features.w = frequencies.requires_grad_().clone()  # a leaf no longer
    data = {"placeholder_token": "<cat-toy>", "super_category_token": "cat"}
    options = {"target_norm": norm, "nested_dropout_prob": 0.5, **model}
    cfg = {"data": data, "model": options, "log": {"exp_dir": "outputs"}}
    content = {"state_dict": state, "cfg": cfg, "encoder": encoder or features}
    sys.modules["models"] = types.ModuleType("models")
    sys.modules[module.__name__] = module
    try:
        torch.save(content, path)
    finally:
        del sys.modules["models"], sys.modules[module.__name__]
    return state, frequencies.detach()


def mapped(state, frequencies, timestep, layer):
    """What the released code's mapper says at one point, (outputs,)."""
    functional = nn.functional
    angles = frequencies @ torch.tensor([float(timestep), float(layer)])
    waves = torch.cat([angles.sin(), angles.cos()])
    hidden = waves / waves.norm()

    def linear(name, x):
        return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def normalized(name, x):
        scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
        return functional.leaky_relu(functional.layer_norm(x, (128,), scale, shift))

    hidden = normalized("net.2", linear("net.1", linear("net.0", hidden)))
    hidden = normalized("net.5", linear("net.4", hidden))
    output = linear("output_layer.0", hidden)
    return 0.4 * output / output.norm()


@pytest.mark.parametrize("resumed", [False, True])
@torch.no_grad()
def test_a_mapper_of_neti_is_opened_and_says_the_same(tiny, tmp_path, resumed):
    state, frequencies = released_mapper(tmp_path / "a", resumed=resumed)
    method = load_method(tmp_path / "a", tiny)
    assert isinstance(method, NeTI) and method.norm_mode == "joint"
    assert (method.placeholder_token, method.class_word) == ("<cat-toy>", "cat")
    word, bypass = method.vectors(torch.tensor([7, 999]))
    for row, timestep in enumerate((7, 999)):
        for layer in (0, 6, 15):
            wanted, step = mapped(state, frequencies, timestep, layer).chunk(2)
            assert torch.allclose(word[row, layer], wanted, atol=1e-5)
            step = 0.2 * step / step.norm()
            assert torch.allclose(bypass[row, layer], step, atol=1e-5)


def test_of_a_folder_the_latest_mapper_is_opened_and_saved_as_ours(tiny, tmp_path):
    for steps, norm in ((1000, 0.7), (250, 0.5)):
        released_mapper(tmp_path / f"mapper-steps-{steps}.pt", norm)
    torch.save({"<cat-toy>": noise(32)}, tmp_path / "learned_embeds-steps-250.bin")
    method = load_method(tmp_path, tiny, "<tom>")
    assert method.placeholder_token == "<tom>"
    assert method.target_norm == torch.tensor(0.7)
    method.save(tmp_path / "ours.safetensors")
    again = load_method(tmp_path / "ours.safetensors", tiny)
    for name, value in method.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"norm": None}, "is no mapper of NeTI's released code"),
        ({"output_bypass": False}, None),
        ({"use_positional_encoding": False}, "a mapper of other sizes"),
    ],
)
def test_a_mapper_that_ours_cannot_be_is_refused(tiny, tmp_path, model, said):
    released_mapper(tmp_path / "a", **model)
    if said is None:
        assert load_method(tmp_path / "a", tiny).vectors(torch.tensor([1]))[1] is None
        return
    with pytest.raises(PersoError, match=said):
        load_method(tmp_path / "a", tiny)


def test_no_code_in_a_mapper_is_run(tiny, tmp_path):
    trace = tmp_path / "trace"
    released_mapper(tmp_path / "a", encoder=Code(trace))
    with pytest.raises(PersoError, match="more than plain tensors"):
        load_method(tmp_path / "a", tiny)
    assert not trace.exists()


# -- Perfusion -------------------------------------------------------------------------

# in the order of calls, by the first Stable Diffusion's names
PLACES = [f"input_blocks.{i}.1" for i in (1, 2, 4, 5, 7, 8)] + ["middle_block.1"]
PLACES += [f"output_blocks.{i}.1" for i in range(3, 12)]


def released_checkpoint(path, covariance):
    """A file as the re-implementation saves one, for the tiny base."""
    targets = {}
    for place in sorted(PLACES):  # output_blocks.10 before output_blocks.3
        for kind in ("to_k", "to_v"):
            name = f"{place}.transformer_blocks.0.attn2.{kind}.target_output"
            targets[name] = noise(TOKENS, 32, seed=len(targets))
    word = nn.ParameterDict({"*": nn.Parameter(noise(1, 32))})
    content = {
        "global_step": 400,
        "C_inv": covariance.inverse,
        "target_input": noise(32, seed=7),
        "embedding": {"string_to_token": {"*": 265}, "string_to_param": word},
        "target_output": targets,
    }
    torch.save(content, path)
    return content


@torch.no_grad()
def test_a_checkpoint_of_perfusion_is_opened_and_edits_the_same(
    tiny, covariance, tmp_path
):
    written = released_checkpoint(tmp_path / "a", covariance)
    method = load_method(tmp_path / "a", tiny, "<toy>", class_word="teddy")
    assert isinstance(method, Perfusion)
    assert torch.equal(method.embedding, noise(1, 32))
    states, i = noise(2, TOKENS, 32, seed=3), written["target_input"]
    metric = written["C_inv"] @ i
    share = (states @ metric / (i @ metric))[..., None]  # (2, tokens, 1)
    gate = torch.sigmoid((share - 0.7) / 0.15)
    with method.attach(tiny):
        for place, layer in zip(PLACES, cross_attention_layers(tiny.unet), strict=True):
            for kind in ("to_k", "to_v"):
                projection = getattr(tiny.unet.get_submodule(layer.name), kind)
                name = f"{place}.transformer_blocks.0.attn2.{kind}.target_output"
                plain = (states - share * i) @ projection.weight.T
                wanted = plain + gate * written["target_output"][name]
                assert torch.allclose(projection(states), wanted, atol=1e-4), name


@torch.no_grad()
def test_what_was_read_draws_the_same_from_our_file_without_a_kept_covariance(
    tiny, covariance, tmp_path
):
    released_checkpoint(tmp_path / "a", covariance)
    method = load_method(tmp_path / "a", tiny, "<toy>", class_word="teddy")
    method.save(tmp_path / "ours.safetensors")
    again = load_method(tmp_path / "ours.safetensors", tiny)
    assert again.covariance.fingerprint == covariance.fingerprint
    drawn = []
    for each in (method, again):
        with each.attach(tiny):
            states = encode_prompts(tiny, ["a <toy> on a beach"])
            drawn.append(tiny.unet(noise(1, 4, 8, 8), 500, states).sample)
            with pytest.raises(PersoError, match=r"24 positions .* this one has 48"):
                tiny.unet(noise(1, 4, 8, 8), 500, states.repeat(1, 2, 1))
    assert torch.equal(*drawn)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"C_inv": torch.eye(31)}, "the sizes"),
        ({"target_output": {}}, "is no checkpoint of one concept"),
        ({"target_input": torch.full((32,), torch.nan)}, "not finite"),
        ({"embedding": {"string_to_param": {}}}, "is no checkpoint of one concept"),
    ],
)
def test_a_checkpoint_of_another_shape_is_refused(
    tiny, covariance, tmp_path, change, said
):
    content = released_checkpoint(tmp_path / "a", covariance)
    torch.save(content | change, tmp_path / "a")
    with pytest.raises(PersoError, match=said):
        load_method(tmp_path / "a", tiny, class_word="teddy")


# -- what is never done ----------------------------------------------------------------

# a pickle of each format that may come as one, in the names of its file
PICKLES = {
    "a learned word": ("a.bin", ["<cat-toy>"]),
    "a word of the authors' code": ("a.pt", ["string_to_token", "string_to_param"]),
    "a LoRA": ("a.bin", ["unet.conv_in.lora_A.weight", "unet.conv_in.lora_B.weight"]),
    "Custom Diffusion": (
        "pytorch_custom_diffusion_weights.bin",
        ["mid_block.attentions.0.processor.to_k_custom_diffusion.weight"],
    ),
    "the authors' Custom Diffusion": ("delta.bin", ["unet", "modifier_token"]),
    "CatVersion": ("pytorch_adapter.bin", ["encoder.layers.9.prefix", "pool"]),
    "Celeb Basis": ("a.pt", ["id_coefficients"]),
    "NeTI": ("mapper-steps-250.pt", ["state_dict", "cfg", "encoder"]),
    "Perfusion": ("a.ckpt", ["C_inv", "target_input", "target_output", "embedding"]),
    "TextBoost": ("adapter_model.bin", ["encoder.layers.0.q_proj.lora_A.weight"]),
}


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("in_folder", [False, True])
def test_no_code_in_a_pickle_is_run(tiny, tmp_path, kind, in_folder):
    name, entries = PICKLES[kind]
    trace, folder = tmp_path / "trace", tmp_path / "text_encoder"
    folder.mkdir()
    torch.save(dict.fromkeys(entries, Code(trace)), folder / name)
    said = "more than plain tensors" + ("|of no known kind" if in_folder else "")
    with pytest.raises(PersoError, match=said):
        load_method(folder if in_folder else folder / name, tiny, class_word="cat")
    assert not trace.exists()


# -- what is said ----------------------------------------------------------------------


def test_a_file_of_no_known_kind_is_refused_with_a_list_of_those_known(tiny, tmp_path):
    save_file({"a": noise(2), "b": noise(2)}, tmp_path / "a.safetensors")
    with pytest.raises(PersoError, match="of no known kind") as refusal:
        load_method(tmp_path / "a.safetensors", tiny)
    for kind in METHODS.values():
        for each in kind.PUBLIC_FORMATS:
            assert each.title in str(refusal.value)
    with pytest.raises(PersoError, match="of no known kind"):
        load_method(tmp_path, tiny)


def test_a_class_word_that_no_file_says_is_asked_for_or_said(tiny, base, tmp_path):
    save_file({"<zqx>": noise(1, 32)}, tmp_path / "a")
    with pytest.raises(PersoError, match='give it, for example class_word="teddy"'):
        load_method(tmp_path / "a", tiny)
    width = base.text_encoder.config.hidden_size
    save_file({"<zqx>": noise(1, width)}, tmp_path / "a")
    with pytest.warns(UserWarning, match='it is taken to be "object"'):
        assert load_method(tmp_path / "a", base).class_word == "object"


def test_the_table_lists_every_format_with_its_reader_and_writer():
    row = r"^\| \*\*(.+?)\*\*(?:.*?) \| `(.+?)` \| (.+?) \| (.+?) \|$"
    rows = re.findall(row, HOW_TO.read_text(), re.M)
    for title, reads, writes, exact in rows:
        kind_name, _, reader = reads.partition(".")
        (kind,) = (k for k in METHODS.values() if k.__name__ == kind_name)
        (found,) = (each for each in kind.PUBLIC_FORMATS if each.title == title)
        assert found.reader == reader and callable(getattr(kind, reader))
        assert exact.startswith(("exact", "rounded", "lossy"))
        if found.writer:
            assert writes.startswith(f"`{found.writer}`")
            assert callable(getattr(kind, found.writer))
        else:
            assert writes.startswith("not written")
            assert not any(name.startswith("to_") for name in vars(kind))
    formats = [each for kind in METHODS.values() for each in kind.PUBLIC_FORMATS]
    assert sorted(title for title, *_ in rows) == sorted(f.title for f in formats)
