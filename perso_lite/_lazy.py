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
    """Where the names of a stub file live, relative to perso_lite.

    As "module:name", for example "training:fit"; modules as "teaching.panels".
    """
    homes = {}
    for statement in ast.parse(stub.read_text("utf-8")).body:
        for alias in statement.names if isinstance(statement, ast.ImportFrom) else ():
            home = statement.module.removeprefix("perso_lite.")
            file = stub.parent.joinpath(*home.split("."), f"{alias.name}.py")
            homes[alias.name] = f"{home}{'.' if file.is_file() else ':'}{alias.name}"
    return homes
