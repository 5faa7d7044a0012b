"""A tiny random pipeline of Stable Diffusion's own classes."""

import json

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
)

from perso_lite.conditioning.neutral_captions import TEMPLATES
from perso_lite.files.tensors import content_hash

WORDS = ["teddy", "cat", "dog", "hat", "beach", "snow"]
WORDS += ["on", "in", "and", "next", "to", "wearing"]


def invented_names() -> list[str]:
    """Names of two words of the tests, one token each."""
    words = sorted({w for text in TEMPLATES for w in text.split() if w.isalpha()})
    firsts = [*WORDS, *words]
    return [f"{a} {b}" for a, b in zip(firsts, [*words, *WORDS], strict=True)]


def tiny_vocabulary() -> tuple[dict[str, int], list[str]]:
    """Byte-pair encoding in which every word of the tests is one token."""
    words = sorted({w for text in TEMPLATES for w in text.split() if w != "{}"})
    pieces = [word.replace("-", "") for word in words if "-" not in word]
    pieces += ["close", "up", *WORDS]
    letters = [chr(code) for code in range(33, 127)]
    merges: list[tuple[str, str]] = []
    for word in dict.fromkeys(pieces):
        parts = [*word[:-1], word[-1] + "</w>"]
        for merge in merges:  # what the merges so far make of it
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == merge:
                    parts[at : at + 2] = ["".join(merge)]
                at += 1
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = ["".join(parts[:2])]
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += dict.fromkeys("".join(merge) for merge in merges)
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return vocabulary, [" ".join(merge) for merge in merges]


def tiny_tokenizer(folder) -> CLIPTokenizer:
    vocabulary, merges = tiny_vocabulary()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    return CLIPTokenizer.from_pretrained(folder, model_max_length=24)


def tiny_pipeline(folder, prediction_type: str = "epsilon") -> StableDiffusionPipeline:
    tokenizer = tiny_tokenizer(folder)
    torch.manual_seed(0)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=24,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    torch.nn.init.normal_(text_encoder.get_input_embeddings().weight, std=0.5)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32, 32, 32),
        down_block_types=(*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
        layers_per_block=2,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=32,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_clipseg(folder):
    """A random segmentation model with the words of the tests; returns its folder."""
    tokenizer = tiny_tokenizer(folder)
    small = {
        "hidden_size": 16, "intermediate_size": 32,
        "num_attention_heads": 2, "num_hidden_layers": 2,
    }  # fmt: skip
    words = {
        "vocab_size": len(tokenizer), "max_position_embeddings": 24,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    torch.manual_seed(0)
    config = CLIPSegConfig(
        text_config={**small, **words},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        reduce_dim=8,
        extract_layers=[0, 1],
        conditional_layer=0,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    CLIPSegForImageSegmentation(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def weights_hash(base: StableDiffusionPipeline) -> str:
    """Differs if any weight of the three networks does."""
    tensors = {
        f"{name}.{key}": value
        for name in ("text_encoder", "unet", "vae")
        for key, value in getattr(base, name).state_dict().items()
    }
    return content_hash(tensors, {})
