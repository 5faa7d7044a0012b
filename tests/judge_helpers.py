"""Judges that are fast: untrained, and a reader that can be told what to read."""

import torch
from transformers import CLIPConfig, CLIPModel

from perso_lite.evaluation.judges import (
    ATTRIBUTES,
    AttributeReader,
    FaceReader,
    InstanceEncoder,
    Judges,
)


class Told(AttributeReader):
    """Reads the label of every attribute from the pictures' first pixel."""

    def read(self, pictures):
        labels = ((pictures[:, 0, 0, 0] + 1) * 50).round().long()
        return labels[:, None].expand(-1, len(ATTRIBUTES))


class FindsLeft(InstanceEncoder):
    """Finds its subject in the left half of every picture."""

    def find_masks(self, pictures):
        return left_half(len(pictures))


def left_half(count: int) -> torch.Tensor:
    masks = torch.zeros(count, 1, 128, 128)
    masks[..., :64] = 1
    return masks


def with_other_background(pictures: torch.Tensor) -> torch.Tensor:
    """Noise wherever `FindsLeft` finds no subject."""
    noise = torch.rand(pictures.shape, generator=torch.Generator().manual_seed(2))
    return torch.where(left_half(1) > 0, pictures, noise)


def shade(labels: list[int]) -> torch.Tensor:
    """Pictures in which `Told` reads these labels."""
    grey = torch.tensor(labels)[:, None, None, None] / 100
    return grey.expand(-1, 3, 128, 128).float()


def tiny_clip(tokenizer) -> CLIPModel:
    small = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        **small,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 24,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**small, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    return CLIPModel(config).eval().requires_grad_(False)


def untrained(network: torch.nn.Module) -> torch.nn.Module:
    """Frozen, with normalized features: else all pictures have the same vector."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0  # the statistics of the next batch
    network.train()(torch.randn(8, 3, 128, 128))
    return network.eval().requires_grad_(False)


def untrained_judges(tokenizer) -> Judges:
    """Untrained judges, and a reader that can be told what to read."""
    torch.manual_seed(0)
    networks = [untrained(kind()) for kind in (Told, FindsLeft, FaceReader)]
    return Judges(*networks, tiny_clip(tokenizer), tokenizer)
