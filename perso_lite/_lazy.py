"""Imports that wait until something is used, so that a first import costs little."""

import ast
import importlib
import logging
from pathlib import Path
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


def homes_in_stub(stub: Path) -> dict[str, str]:
    """The modules, relative to perso_lite, that a stub file's names come from."""
    return {
        alias.name: statement.module.removeprefix("perso_lite.")
        for statement in ast.parse(stub.read_text("utf-8")).body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
