"""TextBoost: one picture, a text encoder with LoRA, and words for transformations."""

from perso_lite.methods.textboost.textboost import TextBoost

__all__ = ["TextBoost"]
