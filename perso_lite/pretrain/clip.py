"""Stage 3: a small CLIP, whose text encoder conditions the U-Net.

The loss is CLIP's. Besides the other captions of the batch, every picture has one more
wrong caption, which differs from its own in a single fact, so that every word matters.
"""

import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from perso_lite.pretrain.loop import Modules
from perso_lite.pretrain.pictures import as_tensor, scene_of
from perso_lite.pretrain.tokenizer import CONTEXT_LENGTH
from perso_lite.world.captions import altered, caption

TEXT_WIDTH = 192


def build_clip(tokenizer: CLIPTokenizer, size: int) -> CLIPModel:
    """Six text layers of width 192, four picture layers on an 8 x 8 grid."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=6,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        projection_dim=128,
        **special,
    )
    vision = CLIPVisionConfig(
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=size,
        patch_size=size // 8,
        projection_dim=128,
    )
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    )


def text_encoder_of(clip: CLIPModel) -> CLIPTextModel:
    """The text encoder alone, in the class that Stable Diffusion uses."""
    encoder = CLIPTextModel(clip.config.text_config)
    inner = getattr(encoder, "text_model", encoder)
    inner.load_state_dict(clip.text_model.state_dict())
    return encoder


def tokenize(
    tokenizer: CLIPTokenizer, captions: list[str], trim: bool = False
) -> Tensor:
    """Ids `(batch, 32)`; `trim` cuts them to the longest caption."""
    padding = "longest" if trim else "max_length"
    ids = tokenizer(
        captions,
        padding=padding,
        max_length=CONTEXT_LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    return ids.input_ids


def contrastive_loss(
    image: Tensor, text: Tensor, wrong: Tensor, scale: Tensor
) -> Tensor:
    """CLIP's loss with one more wrong caption for each picture.

    Args:
        image: unit vectors (batch, dim) of pictures.
        text: unit vectors (batch, dim) of their captions.
        wrong: unit vectors (batch, dim) of the wrong captions.
        scale: the learned inverse temperature.
    """
    to_text = scale * image @ text.T
    to_wrong = scale * (image * wrong).sum(1, keepdim=True)
    target = torch.arange(len(image), device=image.device)
    from_image = F.cross_entropy(torch.cat([to_text, to_wrong], dim=1), target)
    return (from_image + F.cross_entropy(to_text.T, target)) / 2


def clip_loss(
    pictures: np.ndarray, tokenizer: CLIPTokenizer, batch: int, rank: int
) -> Callable[[Modules, int], Tensor]:
    """The loss of the stage; every step has new wordings of the captions.

    Args:
        pictures: bytes (count, 3, size, size), the first ones of the world.
        tokenizer: of the captions.
        batch: pictures per step.
        rank: of the process; each draws its own pictures.

    Returns:
        The loss as a function of the modules and the step.
    """

    def loss(modules: Modules, step: int) -> Tensor:
        rng = random.Random(f"clip/{step}/{rank}")
        rows = sorted(rng.sample(range(len(pictures)), batch))
        scenes = [scene_of(0, i) for i in rows]
        captions = [caption(s, rng) for s in scenes]
        captions += [caption(altered(s, rng), rng) for s in scenes]
        model = modules["clip"]
        device = next(model.parameters()).device
        ids = tokenize(tokenizer, captions, trim=True).to(device)
        output = model(input_ids=ids, pixel_values=as_tensor(pictures[rows], device))
        image = F.normalize(output.image_embeds.float(), dim=-1)
        text = F.normalize(output.text_embeds.float(), dim=-1)
        scale = next(
            p for n, p in model.named_parameters() if n.endswith("logit_scale")
        )
        return contrastive_loss(
            image, text[:batch], text[batch:], scale.exp().clamp(max=100)
        )

    return loss


@torch.no_grad()
def caption_accuracy(
    clip: CLIPModel, tokenizer: CLIPTokenizer, pictures: np.ndarray, seed: int
) -> float:
    """How often a picture is nearer to its caption than to one with a changed fact.

    Args:
        clip: the model.
        tokenizer: of the captions.
        pictures: bytes (count, 3, size, size), the first ones of the world.
        seed: of that world.
    """
    rng = random.Random("caption accuracy")
    device = next(clip.parameters()).device
    right = []
    for start in range(0, len(pictures), 128):
        chunk = pictures[start : start + 128]
        scenes = [scene_of(seed, start + i) for i in range(len(chunk))]
        captions = [caption(s, rng) for s in scenes]
        captions += [caption(altered(s, rng), rng) for s in scenes]
        output = clip(
            input_ids=tokenize(tokenizer, captions).to(device),
            pixel_values=as_tensor(chunk, device),
        )
        image, text = output.image_embeds, output.text_embeds
        good, bad = text[: len(chunk)], text[len(chunk) :]
        right.append((image * good).sum(1) > (image * bad).sum(1))
    return torch.cat(right).float().mean().item()
