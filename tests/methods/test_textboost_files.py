"""Folders of peft and of the released code."""

import json

import pytest
import torch
from before_and_after import disturbed
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from perso_lite import PersoError, TextBoost, encode_prompts, load_method
from perso_lite.files.tensors import read_tensors, write_tensors
from perso_lite.methods.textboost.word_with_lora import TARGETS

PROMPTS = [
    "a <toy> on a beach",
    "<toy-zoom-out> a photo of a <toy>, <toy-crop>",
    "a cat",
]


def make(base, **options):
    options = {"picture": 0, **options}
    return disturbed(TextBoost(base, "teddy", **options), 0.2)


def states_of(method, prompts=PROMPTS):
    with torch.no_grad(), method.attach(method.base):
        return encode_prompts(method.base, prompts)


# -- for stock libraries ---------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("loader", ["peft", "transformers"])
def test_stock_libraries_encode_as_we_do(own_tiny, tmp_path, loader):
    method = make(own_tiny)
    wanted, plain = states_of(method), encode_prompts(own_tiny, ["a cat"])
    folder = method.to_peft(tmp_path / "toy")
    own_tiny.load_textual_inversion(folder / "learned_embeds.safetensors")
    for token in method.augmentation_tokens.values():
        own_tiny.load_textual_inversion(folder / f"{token.strip('<>')}.safetensors")
    if loader == "peft":
        own_tiny.text_encoder = PeftModel.from_pretrained(own_tiny.text_encoder, folder)
    else:
        own_tiny.text_encoder.load_adapter(folder)
    got = encode_prompts(own_tiny, PROMPTS)
    assert torch.allclose(got, wanted, atol=1e-5)
    assert not torch.allclose(got[2:], plain, atol=1e-2)


def test_the_folder_holds_peft_s_files_and_one_a_word(tiny, tmp_path):
    method = make(tiny, rank=2, targets=["q_proj", "fc2"], num_vectors=2)
    folder = method.to_peft(tmp_path / "toy")
    names = {path.name for path in folder.iterdir()}
    others = {
        f"{t.strip('<>')}.safetensors" for t in method.augmentation_tokens.values()
    }
    kept = {"adapter_model.safetensors", "adapter_config.json"}
    assert names == others | kept | {"learned_embeds.safetensors"}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 2)
    assert sorted(config["target_modules"]) == ["fc2", "q_proj"]
    word = load_file(folder / "learned_embeds.safetensors")
    assert [*word] == ["<toy>"] and word["<toy>"].shape == (3, 32)
    assert torch.equal(word["<toy>"][:2], method.vectors[:2])


def test_what_peft_cannot_do_is_not_written(tiny, tmp_path):
    with pytest.raises(PersoError, match="which peft cannot do"):
        make(tiny, causality_preserved=True).to_peft(tmp_path / "toy")
    assert not (tmp_path / "toy").exists()


def test_our_own_file_holds_everything_and_little_else(tiny, tmp_path):
    method, path = make(tiny), tmp_path / "toy.safetensors"
    method.save(path)
    loaded = load_method(path, tiny)
    assert torch.equal(states_of(loaded), states_of(method))
    assert loaded.augmentation_tokens == method.augmentation_tokens
    numbers = sum(parameter.numel() for parameter in method.parameters())
    assert path.stat().st_size < 4 * numbers + 20_000
    renamed = load_method(path, tiny, "<pet>")
    assert renamed.augmentation_tokens["crop"] == "<pet-crop>"
    said = [text.replace("<toy", "<pet") for text in PROMPTS]
    assert torch.equal(states_of(renamed, said), states_of(method))


# -- of the released code --------------------------------------------------------------

RELEASED = {"<zoom-out_0>": 1, "<zoom-out_1>": 2, "<crop>": 3}


def released_folder(
    base, folder, tokens=("<dog>",), others=RELEASED, scale=1, **config
):
    """As the released code saves a training, with noise."""
    generator = torch.Generator().manual_seed(0)
    options = {"r": 4, "lora_alpha": 4 * scale, "target_modules": [*TARGETS], **config}
    encoder = base.text_encoder
    encoder.add_adapter(LoraConfig(init_lora_weights="gaussian", **options))
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    encoder.save_pretrained(folder / "text_encoder")
    width = encoder.config.hidden_size
    for token in (*tokens, *others):
        vector = torch.randn(width, generator=generator)
        torch.save({token: vector}, folder / f"{token.strip('<>')}.bin")
    torch.save({"state": {}}, folder / "optimizer.bin")
    return folder


@torch.no_grad()
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("tokens", [("<dog>",), ("<dog_0>", "<dog_1>")])
def test_a_released_folder_encodes_as_with_its_own_loader(
    tiny, own_tiny, tmp_path, scale, tokens
):
    folder = released_folder(own_tiny, tmp_path, tokens, scale=scale)
    method = TextBoost.from_released(folder, tiny, "dog")
    assert (method.placeholder_token, method.num_vectors) == ("<dog>", len(tokens))
    for path in folder.glob("*.bin"):
        if path.name != "optimizer.bin":
            own_tiny.load_textual_inversion(path)
    name = " ".join(tokens)
    theirs = encode_prompts(own_tiny, [
        f"<zoom-out_0> <zoom-out_1> a photo of a {name} dog, <crop>", "a cat",
    ])  # fmt: skip
    ours = states_of(method, ["<dog-zoom-out> a photo of a <dog>, <dog-crop>", "a cat"])
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_names_before_transformers_5_are_read(tiny, own_tiny, tmp_path):
    folder = released_folder(own_tiny, tmp_path)
    wanted = TextBoost.from_released(folder, tiny, "dog").state_dict()
    path = folder / "text_encoder" / "adapter_model.safetensors"
    earlier = {
        name.replace("base_model.model.", "base_model.model.text_model."): value
        for name, value in load_file(path).items()
    }
    save_file(earlier, path)
    got = TextBoost.from_released(folder, tiny, "dog").state_dict()
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)


def test_a_word_that_is_no_transformation_here_is_named(tiny, own_tiny, tmp_path):
    others = {"<hflip>": 1, "<zoom-out_0>": 2, "<crop>": 3}  # half of zoom-out
    folder = released_folder(own_tiny, tmp_path, others=others)
    with pytest.warns(UserWarning, match=r"Not read.*<hflip>, <zoom-out>"):
        method = TextBoost.from_released(folder, tiny, "dog", "<pet>", False)
    assert method.placeholder_token == "<pet>" and not method.with_class_word
    assert method.tokens.tokens[:2] == ["<pet>", "<pet-grayscale>"]


def test_only_a_word_means_no_augmentation(tiny, own_tiny, tmp_path):
    folder = released_folder(own_tiny, tmp_path, others=())
    assert TextBoost.from_released(folder, tiny, "dog").augmentation == "none"


def broken(folder, what):
    adapter = folder / "text_encoder" / "adapter_model.safetensors"
    if what == "no word":
        (folder / "dog.bin").unlink()
    elif what == "two words":
        torch.save({"<cat>": torch.zeros(32)}, folder / "cat.bin")
    elif what == "no config":
        (folder / "text_encoder" / "adapter_config.json").unlink()
    elif what == "no adapter":
        adapter.unlink()
    elif what == "wide":
        torch.save({"<dog>": torch.zeros(33)}, folder / "dog.bin")
    elif what == "layer missing":
        tensors = load_file(adapter)
        for name in [name for name in tensors if ".0.mlp.fc1." in name]:
            del tensors[name]
        save_file(tensors, adapter)
    else:
        tensors = load_file(adapter)
        tensors["base_model.model.encoder.layers.0.mlp.fc1.lora_magnitude_vector"] = (
            torch.ones(64)
        )
        save_file(tensors, adapter)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no word", "no file of a word"),
        ("two words", r"holds 2 words .*<cat>, <dog>"),
        ("no config", "does not say the scale"),
        ("no adapter", "no file .*adapter_model"),
        ("wide", "do not fit the text encoder"),
        ("layer missing", "do not fit the text encoder"),
        ("DoRA", "no plain LoRA of one rank"),
    ],
)
def test_what_is_no_such_folder_is_refused(tiny, own_tiny, tmp_path, what, message):
    folder = released_folder(own_tiny, tmp_path, others=())
    broken(folder, what)
    with pytest.raises(PersoError, match=message) as refusal:
        TextBoost.from_released(folder, tiny, "dog")
    assert len(str(refusal.value)) < 400 + len(str(folder))


def test_a_file_of_another_rank_or_text_encoder_is_refused(tiny, base, tmp_path):
    path = tmp_path / "toy.safetensors"
    make(tiny).save(path)
    tensors, header = read_tensors(path)
    settings = json.loads(header["perso_lite.settings"])
    assert settings["rank"] == 4
    key = "perso_lite.settings"
    write_tensors(path, tensors, header | {key: json.dumps(settings | {"rank": 2})})
    with pytest.raises(PersoError, match=f"^{path}"):
        load_method(path, tiny)
    make(tiny).save(path)
    with pytest.raises(PersoError, match="was trained on the base"):
        load_method(path, base)
    with pytest.raises(PersoError, match=r"does not fit|other|width|shape"):
        load_method(path, base, transfer=True)


def test_peft_names_layers_as_we_do(own_tiny):
    method = TextBoost(own_tiny, "teddy")
    own_tiny.text_encoder.add_adapter(LoraConfig(target_modules=[*TARGETS]))
    names = get_peft_model_state_dict(own_tiny.text_encoder)
    assert {*names} == {*method.lora.weights()}
