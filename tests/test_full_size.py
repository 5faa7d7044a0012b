"""Every method on Stable Diffusion 1.5's and 2.1's true shapes, with random weights.

It attaches, trains two steps, is saved as large as the paper says, is opened again, and
leaves the base as it was to the last bit. Only the autoencoder is a small one, and
latents are 8 x 8: neither changes what a method holds.

Each version is built once for all methods. With one thread on two cores that other work
kept busy, 1.5 took 15 minutes: 45 seconds to build it, then 35 to 75 seconds a method,
117 for NeTI, 194 for Perfusion and 250 for XTI, whose texts are many; 2.1 took about 36
minutes and held 7 GB. `pytest -m full_size tests/test_full_size.py -k 1.5` runs one.
"""

import functools
import gc

import numpy as np
import pytest
import torch
from before_and_after import hooks_of
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from tiny_pipeline import tiny_tokenizer
from transformers import CLIPTextConfig, CLIPTextModel

from perso_lite import METHODS, encode_prompts, fit, load_method
from perso_lite.base import parts, text_fingerprint
from perso_lite.concepts import Concept
from perso_lite.methods.celeb_basis.basis import NameBasis
from perso_lite.methods.perfusion.covariance import TextCovariance, covariance_of

pytestmark = pytest.mark.full_size

TEXT_ENCODERS = {
    "1.5": {  # CLIP ViT-L/14
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "hidden_act": "quick_gelu",
    },
    "2.1": {  # OpenCLIP ViT-H/14 without its last layer
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23,
        "num_attention_heads": 16, "hidden_act": "gelu",
    },
}  # fmt: skip
UNETS = {
    "1.5": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "2.1": {
        "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
    },
}  # fmt: skip
SIZES = {"1.5": (123_060_480, 859_520_964), "2.1": (340_387_840, 865_910_724)}
PROMPT = ["a <toy> on a beach"]

# how a method is made, the tensors that are counted, and their numbers for 1.5 and 2.1
METHODS_AND_SIZES = {
    "textual_inversion": ({"num_vectors": 2}, "vectors", 1_536, 2_048),
    "dreambooth_lora": (
        {"identifier_token": "weird", "prior_pictures": 0},
        "matrices", 797_184, 829_952,
    ),
    "custom_diffusion": (
        {"initializer_token": "weird", "prior_pictures": 0},
        "deltas", 19_169_280, 25_559_040,
    ),
    "perfusion": ({}, "target_", 24_960 + 768, 24_960 + 1_024),  # with i*
    "extended_textual_inversion": ({}, "table", 12_288, 16_384),
    "neti": ({}, "mapper", 563_616 + 2_048, 629_664 + 2_048),  # with W, not learned
    "catversion": ({}, "prefix_", 4_608, 6_144),
    "textboost": (
        {
            "num_augmentations": 2, "knowledge_batch_size": 1, "picture": 0,
            "knowledge_captions": ["a cat on a beach", "a dog in snow"],
        },
        "matrices", 663_552, 1_695_744,
    ),
    "celeb_basis": ({"num_components": 512}, "weights", 1_024, 1_024),
}  # fmt: skip


def full_size_pipeline(version, folder):
    """A pipeline of that version's shapes, with random weights."""
    tokenizer = tiny_tokenizer(folder)
    tokenizer.model_max_length = 77
    torch.manual_seed(0)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id")
           for name in ("bos", "eos", "pad")}  # fmt: skip
    text = CLIPTextConfig(vocab_size=49_408, **TEXT_ENCODERS[version], **ids)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        **UNETS[version],
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        norm_num_groups=4,
        sample_size=64,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon" if version == "1.5" else "v_prediction",
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def bits_of(base):
    """For every weight, the sum of its bits read as whole numbers, and its version.

    A hash of four gigabytes for every method would take longer than its training; so
    would a sum in 64 bits. In 32, which wrap around, one bit more or less still shows.
    """
    return [
        (value.view(torch.int32).sum(dtype=torch.int32).item(), value._version)
        for part in parts(base)
        for value in part.parameters()
    ]


@torch.no_grad()
def predicted(base, prompts):
    """What the U-Net makes of prompts, at one latent and timestep."""
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return base.unet(latents, 500, encode_prompts(base, prompts)).sample


@pytest.fixture(scope="module", params=SIZES)
def full_size(request, tmp_path_factory):
    """A version, its pipeline, and where Perfusion and Celeb Basis look."""
    folder = tmp_path_factory.mktemp("full-size")
    base = full_size_pipeline(request.param, folder)
    for part in parts(base):
        part.eval().requires_grad_(False)
    known, width = text_fingerprint(base), base.text_encoder.config.hidden_size
    TextCovariance(torch.eye(width), known).save(folder)
    directions = torch.linalg.qr(torch.randn(2, width, 512)).Q.mT.contiguous()
    ones, ranks = torch.ones(2, 512), (512, 512)
    mean = torch.zeros(2, width)
    basis = NameBasis(mean, directions, ones, ones, ranks, known)
    methods = "perso_lite.methods"
    with pytest.MonkeyPatch.context() as patch:
        kept = functools.partial(covariance_of, folder=folder)
        patch.setattr(f"{methods}.perfusion.perfusion.covariance_of", kept)
        patch.setattr(f"{methods}.celeb_basis.word_in_basis.basis_of", lambda _: basis)
        yield request.param, base, bits_of(base), predicted(base, ["a cat"])
    del base
    gc.collect()  # there is memory for one at a time


def test_the_pipeline_has_the_true_number_of_weights(full_size):
    version, base, *_ = full_size
    networks = (base.text_encoder, base.unet)
    counts = tuple(sum(p.numel() for p in part.parameters()) for part in networks)
    assert counts == SIZES[version]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_is_saved_and_leaves_nothing(full_size, tmp_path, name):
    version, base, bits, plain = full_size
    options, counted, *sizes = METHODS_AND_SIZES[name]
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    concept = Concept("noise", "teddy", [Image.fromarray(pixels)], [None])
    method = METHODS[name](base, "teddy", "<toy>", **options)
    start = {key: value.clone() for key, value in method.state_dict().items()}
    steps = list(fit(method, concept, 2, batch_size=1))
    assert len(steps) == 2 and all(np.isfinite(step.loss) for step in steps)

    learned = method.state_dict()
    assert any(not torch.equal(learned[key], start[key]) for key in start)
    numbers = sum(v.numel() for k, v in learned.items() if k.startswith(counted))
    assert numbers == sizes[version == "2.1"]
    path = tmp_path / "toy.safetensors"
    method.save(path)
    payload = sum(value.nbytes for value in learned.values())
    assert payload < path.stat().st_size < payload + 60_000
    again = load_method(path, base)
    for key, value in again.state_dict().items():
        assert torch.equal(value, learned[key])
    drawn = []
    for each in (method, again):
        with each.attach(base):
            drawn.append(predicted(base, PROMPT))
    assert torch.equal(*drawn)
    assert hooks_of(base) == [] and bits_of(base) == bits
    assert torch.equal(predicted(base, ["a cat"]), plain)


def test_the_papers_numbers(full_size):
    """In bytes, what the papers say of Stable Diffusion 1.x; others count weights."""
    version, base, *_ = full_size
    if version != "1.5":
        pytest.skip("the papers measure on Stable Diffusion 1.x")
    perfusion = METHODS["perfusion"](base, "teddy")
    targets = (perfusion.target_keys, perfusion.target_values)
    assert sum(target.nbytes for target in targets) == 99_840
    prefix = METHODS["catversion"](base, "teddy")
    assert prefix.prefix_keys.nbytes + prefix.prefix_values.nbytes == 18_432
    mapper = METHODS["neti"](base, "teddy").mapper
    assert sum(parameter.numel() for parameter in mapper.parameters()) == 563_616
