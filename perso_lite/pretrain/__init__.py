"""Pretraining of the shipped base model, stage by stage: `main` runs it."""

from .stages import main

__all__ = ["main"]
