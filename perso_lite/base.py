"""The base model: a stock, frozen Stable Diffusion pipeline.

`load_base()` loads the small base shipped in `data/base`. With a folder or hub id it
loads any other Stable Diffusion 1.x or 2.x; the rest of the code stays the same.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.architecture import check_index, check_parts
from perso_lite.errors import PersoError, shortened
from perso_lite.files import DATA_FOLDER
from perso_lite.files.writing import restore_earlier

BASE_FOLDER = DATA_FOLDER / "base"
SAMPLED = 64  # numbers of each weight tensor that a fingerprint looks at (ours)


def load_base(
    path_or_id: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> StableDiffusionPipeline:
    """Load a pipeline, freeze it and put it in evaluation mode.

    Args:
        path_or_id: folder or hub id, for example
            "stable-diffusion-v1-5/stable-diffusion-v1-5"; default: the shipped base.
        device: default (ours): "cuda" if there is a GPU, otherwise "cpu".
        dtype: default (ours): float16 on a GPU, float32 on a CPU.

    Returns:
        The stock pipeline without safety checker and progress bar. Its call's
        `clip_skip` fails with the versions that we pin: diffusers 0.42 asks for a part
        of the text encoder that transformers 5 no longer has.

    Raises:
        PersoError: the pipeline cannot be loaded, or is not a plain text-to-image
            Stable Diffusion 1.x or 2.x.
    """
    device = _present_device(device)
    if dtype is None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32

    source = str(path_or_id or BASE_FOLDER)
    restore_earlier(source)
    if path_or_id is None and not os.path.isdir(BASE_FOLDER):
        raise PersoError(
            f"The shipped base is not at {BASE_FOLDER}. Install from a clone with "
            "`pip install -e .`, or make a base with `python -m perso_lite pretrain`."
        )
    # progress bars for downloads only: a folder is read too fast to need them
    bars = quiet() if os.path.isdir(source) else nullcontext()
    try:
        with bars:
            check_index(StableDiffusionPipeline.load_config(source), source)
            base = StableDiffusionPipeline.from_pretrained(
                source,
                safety_checker=None,
                requires_safety_checker=False,
                use_safetensors=True,
            )
            _check_kind(base, source)
    except PersoError:
        raise
    except Exception as reason:  # whatever a damaged folder may cause
        raise _not_loaded(source, reason) from reason
    base.set_progress_bar_config(disable=True)
    for part in parts(base):
        # the models' own .to() prints warnings that do not apply here
        nn.Module.to(part, device, dtype).eval().requires_grad_(False)
    return base


def _present_device(device: str | torch.device | None) -> torch.device:
    """The device by its name, or the best there is.

    Raises:
        PersoError: this computer has no such device.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError, ValueError) as reason:
        present = "cpu and cuda" if torch.cuda.is_available() else "cpu alone"
        raise PersoError(
            f"The device {device} cannot be used ({shortened(reason)}); this computer "
            f"has {present}."
        ) from reason


def _not_loaded(source: str, reason: Exception) -> PersoError:
    """Why no pipeline was loaded from a folder or hub id."""
    folder = Path(source) if os.path.isdir(source) else None
    if folder and any(folder.glob("*/*.bin")) and not any(folder.glob("*/*.safet*")):
        return PersoError(
            f"{source} has its weights in .bin files, which can run code when they are "
            "opened; only .safetensors are read here. Where you trust them, convert: "
            "StableDiffusionPipeline.from_pretrained(folder, use_safetensors=False)"
            '.save_pretrained("converted").'
        )
    return PersoError(
        f"No Stable Diffusion pipeline could be loaded from {source} "
        f"({shortened(reason).rstrip('.')}). Give a folder that holds model_index.json "
        "and .safetensors weights, or a hub id while the network is up."
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, diffusers and transformers show no progress bars."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


def _check_kind(base: StableDiffusionPipeline, source: str) -> None:
    check_parts(base, source, pictures=True)
    width_read = base.unet.config.cross_attention_dim
    width_written = base.text_encoder.config.hidden_size
    latent_channels = base.vae.config.latent_channels
    if width_read != width_written or base.unet.config.in_channels != latent_channels:
        raise PersoError(
            f"{source} is not a plain text-to-image Stable Diffusion 1.x or 2.x: its "
            f"U-Net reads {base.unet.config.in_channels} channels and text of width "
            f"{width_read}, where {latent_channels} and {width_written} were expected. "
            "Inpainting, depth and XL models cannot be used here."
        )


def parts(base: StableDiffusionPipeline) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The three networks: text encoder, U-Net, autoencoder."""
    return base.text_encoder, base.unet, base.vae


def picture_size(base: StableDiffusionPipeline) -> int:
    """Pixels per side of the pictures that a base draws (ours: 128; SD 1.x: 512)."""
    size = base.unet.config.sample_size
    return (size if isinstance(size, int) else size[0]) * base.vae_scale_factor


def base_name(base: StableDiffusionPipeline) -> str:
    """The base's name for a file: its hub id, or its folder's name without the path."""
    name = str(base.name_or_path)
    return Path(name).name if os.path.exists(name) else name


def fingerprint(base: StableDiffusionPipeline) -> str:
    """Sixteen hexadecimal digits that identify a base: its text encoder and U-Net.

    A hash of the signs of 64 numbers of every weight tensor. Signs survive rounding, so
    a base has one fingerprint in float32, float16 and bfloat16; and a base that was
    fine-tuned from another has a fingerprint of its own. Token rows that were added
    later do not count.
    """
    return _hash_of_signs(_weights_of_text(base) + list(base.unet.parameters()))


def text_fingerprint(base: StableDiffusionPipeline) -> str:
    """The same of the text encoder alone: tells one from another."""
    return _hash_of_signs(_weights_of_text(base))


def _weights_of_text(base: StableDiffusionPipeline) -> list[Tensor]:
    """The text encoder's weights; of the token table, the words of the base alone.

    Raises:
        PersoError: the base is not of a kind that can be used here.
    """
    check_parts(base)
    table, known = base.text_encoder.get_input_embeddings().weight, base.tokenizer
    weights = base.text_encoder.parameters()
    return [w[: known.vocab_size] if w is table else w for w in weights]


def _hash_of_signs(weights: list[Tensor]) -> str:
    digest = hashlib.sha256(str([tuple(weight.shape) for weight in weights]).encode())
    # an odd stride: an even one would meet few columns of a matrix, or only one
    strides = [-(-w.numel() // SAMPLED) | 1 for w in weights]
    sampled = [w.detach().flatten()[::n] for w, n in zip(weights, strides, strict=True)]
    signs = torch.cat([numbers.signbit() for numbers in sampled])
    digest.update(signs.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
