"""Pipelines of other architectures are refused everywhere, in one sentence."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderTiny, StableDiffusionXLPipeline
from safetensors.torch import save_file
from test_method_contract import ROWS
from transformers import CLIPTextModelWithProjection

from perso_lite import (
    METHODS,
    PersoError,
    build_basis,
    covariance_of,
    encode_prompts,
    estimate_covariance,
    fingerprint,
    fit,
    generate,
    inject_prompts,
    load_base,
    load_method,
    record_attention,
    swap_keys_values,
)
from perso_lite.__main__ import main
from perso_lite.attention.grounding import attention_on_noised

SENTENCE = (
    r"cannot be used here, where only Stable Diffusion 1\.x and 2\.x .* are supported, "
    r"not XL, 3 or others: its (text_encoder_2|unet|text_encoder|vae) is .* expected\.$"
)
refused = pytest.raises(PersoError, match=SENTENCE)
INDEXES = {  # as the public folders have them
    "XL": {
        "_class_name": "StableDiffusionXLPipeline",
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    "3": {
        "_class_name": "StableDiffusion3Pipeline",
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_3": ["transformers", "T5EncoderModel"],
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    "DiT": {
        "_class_name": "DiTPipeline",
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
}


@pytest.fixture(scope="module")
def others(tiny):
    """Pipelines of other architectures: XL of diffusers, and those without a U-Net."""
    second = CLIPTextModelWithProjection(tiny.text_encoder.config)
    two = {"text_encoder_2": second, "tokenizer_2": copy.deepcopy(tiny.tokenizer)}
    parts = {name: tiny.components[name] for name in ("vae", "scheduler")}
    text = {name: tiny.components[name] for name in ("text_encoder", "tokenizer")}
    transformer = torch.nn.Linear(1, 1)
    return {
        "XL": StableDiffusionXLPipeline(unet=tiny.unet, **parts, **text, **two),
        "3": SimpleNamespace(
            **parts, **two, text_encoder=second, tokenizer=tiny.tokenizer,
            transformer=transformer,
        ),
        "DiT": SimpleNamespace(**parts, transformer=transformer),
    }  # fmt: skip


@pytest.fixture(params=INDEXES)
def kind(request):
    return request.param


@pytest.fixture
def other(others, kind):
    return others[kind]


@pytest.fixture
def folder(tmp_path, kind):
    """A folder of that architecture, whose weights nobody has to read."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model_index.json").write_text(json.dumps(INDEXES[kind]))
    return str(tmp_path / "other")


@pytest.mark.parametrize("name", METHODS)
def test_no_method_is_built_on_it(other, name):
    with refused:
        METHODS[name](other, "teddy", "<toy>", **ROWS[name].settings)


@pytest.mark.parametrize("name", METHODS)
def test_no_method_is_attached_to_it_or_trained_on_it(
    tiny, other, concept, name, covariance, name_basis
):
    options = {"perfusion": {"covariance": covariance}}
    options["celeb_basis"] = {"basis": name_basis}
    options = {**ROWS[name].settings, **options.get(name, {})}
    method = METHODS[name](tiny, "teddy", "<toy>", **options)
    with refused, method.attach(other):
        pass
    method.base = other
    with refused:
        next(fit(method, concept, 1))


def word_file(tiny, folder):
    """A file of ours and one of another tool."""
    METHODS["textual_inversion"](tiny, "teddy", "<toy>").save(folder / "o.safetensors")
    save_file({"<toy>": torch.ones(1, 32)}, folder / "p.safetensors")
    return [folder / "o.safetensors", folder / "p.safetensors"]


def test_no_file_is_opened_on_it(tiny, other, tmp_path):
    for path in word_file(tiny, tmp_path):
        for transfer in (False, True):
            with refused:
                load_method(path, other, transfer=transfer)


CALLS = {
    "covariance_of": covariance_of,
    "estimate_covariance": lambda base: estimate_covariance(base, ["a cat"]),
    "build_basis": lambda base: build_basis(base, ["cat dog", "dog cat"]),
    "fingerprint": fingerprint,
    "encode_prompts": lambda base: encode_prompts(base, ["a cat"]),
    "generate": lambda base: generate(base, "a cat"),
    "record_attention": lambda base: record_attention(base).__enter__(),
    "swap_keys_values": lambda base: swap_keys_values(base, "a cat").__enter__(),
    "inject_prompts": lambda base: inject_prompts(
        base, {("mid", None): "a cat"}
    ).__enter__(),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_other_call_takes_it(other, name):
    with refused:
        CALLS[name](other)


def test_attention_on_noised_pictures_does_not_take_it(other, concept):
    with refused:
        attention_on_noised(other, concept.images[:1], "a teddy", (500,))


def test_its_folder_is_not_loaded(folder, kind):
    with refused as refusal:
        load_base(folder, device="cpu")
    assert folder[-20:] in str(refusal.value)


COMMANDS = {
    "personalize": "personalize {photos} --class-word teddy --out {out}",
    "tour": "tour --out {out}",
    "generate": "generate --concept {word} --prompt a --out {out}",
    "convert": "convert {public} --class-word teddy --out {out}.safetensors",
    "covariance": "covariance {captions}",
    "evaluate base": "evaluate base --out {out}",
    "evaluate methods": "evaluate methods --out {out}",
    "evaluate tradeoff": "evaluate tradeoff --out {out}",
    "evaluate mix": "evaluate mix --out {out}",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_takes_its_folder(
    tiny, concept, folder, kind, command, tmp_path, capsys
):
    word, public = word_file(tiny, tmp_path)
    (tmp_path / "photos").mkdir()
    concept.images[0].save(tmp_path / "photos" / "a.png")
    (tmp_path / "captions.txt").write_text("a cat\n" * 40)
    line = COMMANDS[command].format(
        photos=tmp_path / "photos", out=tmp_path / "out", word=word, public=public,
        captions=tmp_path / "captions.txt",
    )  # fmt: skip
    assert main([*line.split(), "--base", folder]) == 2
    said = capsys.readouterr().err
    assert "only Stable Diffusion 1.x and 2.x" in said and "Traceback" not in said


def test_another_autoencoder_matters_for_training_alone(own_tiny, concept):
    own_tiny.vae = AutoencoderTiny(encoder_block_out_channels=(8, 8, 8, 8),
                                   decoder_block_out_channels=(8, 8, 8, 8))  # fmt: skip
    method = METHODS["textual_inversion"](own_tiny, "teddy", "<toy>")
    with method.attach(own_tiny):
        encode_prompts(own_tiny, ["a <toy>"])
    with pytest.raises(PersoError, match="its vae is a AutoencoderTiny"):
        next(fit(method, concept, 1))
