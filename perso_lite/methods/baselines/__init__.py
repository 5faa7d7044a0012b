"""What the methods are compared with: DreamBooth-LoRA and Custom Diffusion."""

from perso_lite.methods.baselines.custom_diffusion import CustomDiffusion
from perso_lite.methods.baselines.dreambooth_lora import DreamBoothLoRA

__all__ = ["CustomDiffusion", "DreamBoothLoRA"]
