"""The files that a stock pipeline opens, by method, and what opens them."""

from dataclasses import dataclass
from pathlib import Path

from perso_lite.method import Method
from perso_lite.methods.baselines.custom_diffusion import CustomDiffusion
from perso_lite.methods.baselines.dreambooth_lora import DreamBoothLoRA
from perso_lite.methods.textboost.textboost import TextBoost
from perso_lite.methods.textual_inversion import TextualInversion


@dataclass(frozen=True)
class StockFormat:
    """How a method is written for other programs.

    Attributes:
        writer: name of the method's own function.
        opened_by: what opens the file, in a stock installation.
    """

    writer: str
    opened_by: str


STOCK_FORMATS: dict[type[Method], StockFormat] = {
    TextualInversion: StockFormat("to_learned_embeds", "pipe.load_textual_inversion"),
    DreamBoothLoRA: StockFormat("to_lora_weights", "pipe.load_lora_weights"),
    CustomDiffusion: StockFormat(
        "to_custom_diffusion_weights", "pipe.unet.load_attn_procs"
    ),
    TextBoost: StockFormat("to_peft", "pipe.text_encoder.load_adapter"),
}


def write_stock_file(method: Method, folder: str | Path) -> StockFormat | None:
    """Write what stock libraries open into a folder, if there is such a format.

    Args:
        method: learned.
        folder: made if it is not there.

    Returns:
        The format, or None: then only `load_method` reads what `save` writes.

    Raises:
        PersoError: the place cannot be written, or the method's settings cannot be
            said in the format.
    """
    found = STOCK_FORMATS.get(type(method))
    if found is not None:
        getattr(method, found.writer)(folder)
    return found
