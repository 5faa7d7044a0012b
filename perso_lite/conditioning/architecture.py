"""Which pipelines can be used here: those built like Stable Diffusion 1.x and 2.x.

Every way in asks here, so that SDXL (two text encoders) or Stable Diffusion 3 (no
U-Net) is refused in the same sentence everywhere, before anything is done with it.
"""

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from peft import PeftModel
from transformers import CLIPTextModel

from perso_lite.errors import PersoError, shortened

PARTS = {"text_encoder": CLIPTextModel, "unet": UNet2DConditionModel}
PARTS |= {"vae": AutoencoderKL, "text_encoder_2": type(None)}
# attention and text do not ask how pictures are decoded: other autoencoders may do it
READS_TEXT = ("text_encoder", "unet", "text_encoder_2")


def check_parts(
    pipe: DiffusionPipeline, source: str = "", pictures: bool = False
) -> None:
    """Refuse a pipeline that is not built like Stable Diffusion 1.x or 2.x.

    Args:
        pipe: any pipeline of diffusers.
        source: what it is called in the message; default: by its class.
        pictures: whether its autoencoder matters, too, as it does for training.

    Raises:
        PersoError: it has other parts, as SDXL has.
    """
    for name in PARTS if pictures else READS_TEXT:
        part = getattr(pipe, name, None)
        part = getattr(part, "_orig_mod", part)  # of what is compiled
        if isinstance(part, PeftModel):  # a text encoder with somebody's adapter
            part = part.get_base_model()
        if not isinstance(part, PARTS[name]):
            source = source or f"This {type(pipe).__name__}"
            raise _other_kind(source, name, type(part).__name__)


def check_index(index: Mapping[str, Any], source: str) -> None:
    """Refuse a `model_index.json` of another architecture, before weights are read.

    Args:
        index: its content: for each part, its library and its class.
        source: the folder or hub id.

    Raises:
        PersoError: it names other parts.
    """
    for name, wanted in PARTS.items():
        entry = index.get(name, [None, None])
        pair = isinstance(entry, list | tuple) and len(entry) == 2
        if not pair or entry[0] not in ("diffusers", "transformers", None):
            continue  # damaged, which loading will say
        found = type(None).__name__ if entry[1] is None else str(entry[1])
        if found != wanted.__name__:
            raise _other_kind(source, name, found)


def _other_kind(source: str, name: str, found: str) -> PersoError:
    of_kind = {"NoneType": "missing"}.get(found, f"a {found}")
    wanted = PARTS[name].__name__
    expected = "none" if PARTS[name] is type(None) else f"a {wanted}"
    return PersoError(
        f"{shortened(source)} cannot be used here, where only Stable Diffusion 1.x and "
        f"2.x and bases built like them are supported, not XL, 3 or others: its {name} "
        f"is {of_kind}, but {expected} was expected."
    )
