"""Stage 4: the U-Net learns to denoise latents, and the text encoder to help it.

The loss is Stable Diffusion's: predict the noise, with 10 % of the captions dropped for
guidance, weighted by Min-SNR (gamma 5) so that no noise level dominates. The text
encoder comes from the contrastive stage and continues to learn at a lower rate. Once a
base is shipped, its text encoder stays frozen: a training that starts from that base
(`--start-from`) trains only the U-Net.
"""

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import compute_snr
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from perso_lite.pretrain.clip import TEXT_WIDTH, tokenize
from perso_lite.pretrain.loop import Modules
from perso_lite.pretrain.pictures import captions_of, scene_of
from perso_lite.world.scenes import Scene

SHEET_PROMPTS = (
    """
a red car. a photo of a brown teddy on a beach. a blue cat in the snow.
a green robot on the moon. a yellow bird in a forest. a purple rabbit.
a white mug in a kitchen. a pink teapot wearing a hat. an orange fish underwater.
a black dog with a crown. a gray rocket in a city. a red boat on a beach.
a cactus in a desert. a striped mushroom in a meadow. a blue lamp in a bedroom.
a clock on a stage. a red cat next to a blue dog. a bird on top of a robot.
a pencil sketch of a rabbit. pixel art of a car. a watercolor of a boat.
a neon sign of a cat. a teddy with glasses in a library. a photo of losa remude.
""".replace("\n", " ")
    .strip(" .")
    .split(". ")
)


def build_unet() -> UNet2DConditionModel:
    """Stable Diffusion 1.x in small: the same sixteen cross-attention layers."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=2,
        block_out_channels=(80, 128, 192, 192),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,  # the number of heads, despite its name
        norm_num_groups=8,
    )


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def prepare_for_cpu(unet: UNet2DConditionModel) -> None:
    """Two things that make a CPU step about twice as fast and change no result."""
    unet.to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())


def picture_weights(count: int) -> list[int]:
    """Sampling weights of the world's first pictures.

    Accessories, patterns and several things are rarer and harder to draw than the rest,
    so pictures with any of them have weight 2.
    """

    def weight(scene: Scene) -> int:
        worn = any(thing.accessory or thing.pattern for thing in scene.things)
        return 2 if worn or len(scene.things) > 1 else 1

    return [weight(scene_of(0, index)) for index in range(count)]


def denoising_loss(
    latents: Tensor,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    scaling_factor: float,
    batch: int,
    rank: int,
    dropout: float = 0.1,
) -> Callable[[Modules, int], Tensor]:
    """The loss of the stage.

    Args:
        latents: (count, 4, 16, 16), posterior means of the world's first pictures.
        text_encoder: frozen; not used if a text encoder is among the modules.
        tokenizer: of the captions.
        scaling_factor: of the latents.
        batch: pictures per step.
        rank: of the process; each draws its own pictures.
        dropout: share of empty captions (as in Stable Diffusion: 0.1).

    Returns:
        The loss as a function of the modules and the step.
    """
    scheduler = build_scheduler()
    every = range(len(latents))
    shares = list(itertools.accumulate(picture_weights(len(latents))))

    def loss(modules: Modules, step: int) -> Tensor:
        rng = random.Random(f"unet/{step}/{rank}")
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        rows = rng.choices(every, cum_weights=shares, k=batch)
        captions = captions_of(0, rows, rng)
        captions = ["" if rng.random() < dropout else c for c in captions]
        device = next(modules["unet"].parameters()).device
        clean = latents[rows].to(device).float() * scaling_factor
        noise = torch.randn(clean.shape, generator=generator).to(device)
        timesteps = torch.randint(0, 1000, (batch,), generator=generator).to(device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        noisy = noisy.to(memory_format=torch.channels_last)
        ids = tokenize(tokenizer, captions).to(device)
        states = modules.get("text_encoder", text_encoder)(ids).last_hidden_state
        guess = modules["unet"](noisy, timesteps, states).sample
        snr = compute_snr(scheduler, timesteps)
        weight = snr.clamp(max=5) / snr
        error = (guess.float() - noise).pow(2).mean((1, 2, 3))
        return (weight * error).mean()

    return loss


def save_sheet(pictures: Tensor, path: Path, columns: int = 8, zoom: int = 2) -> None:
    """Write pictures as one PNG, enlarged without smoothing.

    Args:
        pictures: (pictures, 3, height, width) in [0, 1].
        path: of the file.
        columns: pictures per row.
        zoom: factor of the enlargement.
    """
    pictures = (pictures * 255).round().byte().cpu()
    empty = -len(pictures) % min(columns, len(pictures))  # white, in the last row
    pictures = torch.cat(
        [pictures, torch.full_like(pictures[:1], 255).expand(empty, -1, -1, -1)]
    )
    rows = [
        torch.cat(list(pictures[i : i + columns]), dim=2)
        for i in range(0, len(pictures), columns)
    ]
    sheet = torch.cat(rows, dim=1).permute(1, 2, 0).numpy()
    height, width = sheet.shape[:2]
    image = Image.fromarray(sheet).resize((width * zoom, height * zoom), Image.NEAREST)
    image.save(path)
