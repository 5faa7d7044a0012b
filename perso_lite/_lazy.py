"""Imports that wait until something is used, so that a first import costs little."""

import importlib
import logging
from types import ModuleType


def import_quietly(name: str) -> ModuleType:
    """Import `perso_lite.<name>` without a remark that is of no use to our users.

    While it is imported, transformers says that it can do without torchvision.
    """
    remarks = logging.getLogger("transformers.utils.import_utils")
    were_off, remarks.disabled = remarks.disabled, True
    try:
        return importlib.import_module(f"perso_lite.{name}")
    finally:
        remarks.disabled = were_off
