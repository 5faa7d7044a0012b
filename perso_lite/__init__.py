"""perso_lite: text-to-image personalization, to read, run and take apart.

The public names are listed in `__init__.pyi`, where editors find them, too. Each is
imported when it is first used, so that `import perso_lite` itself costs next to
nothing. Modules can be reached in the same way: `perso_lite.training`.
"""

import pkgutil
from pathlib import Path
from typing import Any

from perso_lite._lazy import homes_in_stub, import_quietly

__version__ = "0.1.0"

_HOME = homes_in_stub(Path(__file__).with_suffix(".pyi"))  # where each name lives
_EARLIER_NAMES = {
    "between": "fraction_of_oracle",
    "exchanged": "swap_keys_values",
    "noised_maps": "attention_on_noised",
    "probe": "inject_prompts",
    "readable_facts": "linear_probe_accuracy",
    "word_overlap": "word_grounding",
}
_MODULES = [m.name for m in pkgutil.iter_modules(__path__) if m.name[0] != "_"]

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    name = _EARLIER_NAMES.get(name, name)
    if name not in _HOME and name not in _MODULES:
        raise AttributeError(f"module 'perso_lite' has no attribute '{name}'")
    module, _, inside = _HOME.get(name, name).partition(":")
    return getattr(import_quietly(module), inside) if inside else import_quietly(module)


def __dir__() -> list[str]:
    return sorted([*_HOME, *_MODULES, "__version__"])
