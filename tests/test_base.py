import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from perso_lite import PersoError, fingerprint, generate, load_base
from perso_lite.base import base_name, parts, picture_size, text_fingerprint
from perso_lite.pretrain.autoencoder import build_autoencoder
from perso_lite.pretrain.clip import build_clip, text_encoder_of
from perso_lite.pretrain.export import export, pipeline_of
from perso_lite.pretrain.tokenizer import build_tokenizer
from perso_lite.pretrain.unet import build_scheduler, build_unet


def test_a_loaded_base_is_stock_frozen_and_quiet(tiny_folder, capfd):
    base = load_base(tiny_folder, device="cpu")
    assert type(base) is StableDiffusionPipeline
    assert base.safety_checker is None
    for part in parts(base):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())
    base("a cat", num_inference_steps=1)
    assert capfd.readouterr() == ("", "")


def test_sixteen_cross_attention_layers(tiny):
    assert sum("attn2" in name for name in tiny.unet.attn_processors) == 16


def test_fingerprint_tells_bases_apart_and_survives_precision(tiny, own_tiny):
    assert fingerprint(own_tiny) == fingerprint(tiny)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        own_tiny.unet.to(dtype)
        own_tiny.text_encoder.to(dtype)
        assert fingerprint(own_tiny) == fingerprint(tiny)
        assert text_fingerprint(own_tiny) == text_fingerprint(tiny)


def test_fingerprint_notices_a_change_in_any_layer(own_tiny):
    generator, seen = torch.Generator().manual_seed(0), {fingerprint(own_tiny)}
    text = text_fingerprint(own_tiny)
    networks = (own_tiny.text_encoder, own_tiny.unet)
    matrices = [w for part in networks for w in part.parameters() if w.ndim > 1]
    assert len(matrices) > 100
    for weight in matrices:  # one replaced at a time
        before = weight.data
        weight.data = torch.randn(weight.shape, generator=generator)
        seen.add(fingerprint(own_tiny))
        of_text = any(weight is w for w in own_tiny.text_encoder.parameters())
        assert (text_fingerprint(own_tiny) != text) == of_text
        weight.data = before
    assert len(seen) == 1 + len(matrices)
    for weight in matrices:  # also if one column stays
        if weight.ndim == 2:
            before = weight.data.clone()
            weight.data[:, 1:] = torch.randn(before[:, 1:].shape, generator=generator)
            seen.add(fingerprint(own_tiny))
            weight.data = before
    assert len(seen) == 1 + len(matrices) + sum(w.ndim == 2 for w in matrices)
    with torch.no_grad():  # or all of them moved a little, as in fine-tuning
        for weight in matrices:
            weight += (
                0.1 * weight.std() * torch.randn(weight.shape, generator=generator)
            )
    assert fingerprint(own_tiny) not in seen


def test_fingerprint_survives_a_stock_textual_inversion(tiny, own_tiny):
    own_tiny.load_textual_inversion({"<new>": torch.randn(2, 32)})
    assert len(own_tiny.text_encoder.get_input_embeddings().weight) > len(
        tiny.text_encoder.get_input_embeddings().weight
    )
    assert fingerprint(own_tiny) == fingerprint(tiny)


def test_a_base_is_named_without_its_path(tiny, tiny_folder):
    assert base_name(tiny) == tiny_folder.name


def test_a_folder_without_a_pipeline_is_refused(tmp_path):
    with pytest.raises(PersoError, match=r"model_index\.json"):
        load_base(tmp_path)


def test_an_inpainting_model_is_refused(own_tiny, tmp_path):
    own_tiny.unet.register_to_config(in_channels=9)
    own_tiny.unet.conv_in = torch.nn.Conv2d(9, 32, 3, padding=1)
    own_tiny.save_pretrained(tmp_path)
    with pytest.raises(PersoError, match="Inpainting"):
        load_base(tmp_path)


def test_the_size_of_its_pictures_comes_from_the_base(tiny):
    drawn = generate(tiny, "a cat", output_type="pt", num_inference_steps=1)
    assert drawn.shape[-2:] == (picture_size(tiny), picture_size(tiny))


@pytest.mark.parametrize("size", [64, 128])
def test_both_sizes_of_our_own_base_load(tmp_path, size):
    tokenizer = build_tokenizer()
    text = text_encoder_of(build_clip(tokenizer, size))
    parts = build_unet(), text, build_autoencoder(size), tokenizer, build_scheduler()
    export(tmp_path / "base", pipeline_of(*parts))
    base = load_base(tmp_path / "base", device="cpu")
    assert picture_size(base) == size
    drawn = generate(base, "a cat", output_type="pt", num_inference_steps=1)
    assert drawn.shape == (1, 3, size, size)


@pytest.mark.parametrize("device", ["quantum", "cuda:99", "", 1.5])
def test_an_unknown_device_is_refused(tiny_folder, device):
    with pytest.raises(PersoError, match="this computer has"):
        load_base(tiny_folder, device=device)


def test_pickled_weights_are_refused_and_the_way_out_works(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "bins", safe_serialization=False)
    for weights in tmp_path.glob("bins/*/*.safetensors"):  # transformers' part is safe
        ending = weights.with_name("pytorch_model.bin")
        torch.save(load_file(weights), ending)
        weights.unlink()
    with pytest.raises(PersoError, match="use_safetensors=False") as refused:
        load_base(tmp_path / "bins")
    assert ".save_pretrained" in str(refused.value)
    given = StableDiffusionPipeline.from_pretrained(
        tmp_path / "bins", use_safetensors=False
    )
    given.save_pretrained(tmp_path / "converted")
    converted = load_base(tmp_path / "converted", device="cpu")
    assert fingerprint(converted) == fingerprint(tiny)


def test_one_pickled_part_is_refused_too(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    (weights,) = (tmp_path / "unet").glob("*.safetensors")
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(PersoError, match=r"\.safetensors"):
        load_base(tmp_path)


def test_clip_skip_fails_upstream(own_tiny):
    """When it works, `load_base` need not warn of it any longer."""
    with pytest.raises(AttributeError, match="text_model"):
        own_tiny("a cat", clip_skip=1, num_inference_steps=1)
