"""Pretraining of the shipped base model, stage by stage: `main` runs it."""

from perso_lite.pretrain.command import main

__all__ = ["main"]
