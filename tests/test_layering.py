"""Who may import whom: the library is built in layers, from the ground up.

Imports count at the top of a file, inside a function, and as a string that is imported
later ("commands.tour").
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import perso_lite

LIBRARY = Path(perso_lite.__file__).parent
# single files in an order in which each imports only what stands before it
GROUND = ["errors", "files", "files.writing", "files.reading", "files.tensors"]
GROUND += ["files.public", "files.pictures", "_lazy"]
CONDITIONING = [
    "conditioning.architecture",
    "conditioning.restored",
    "conditioning.neutral_captions",
    "conditioning.new_words",
    "conditioning.words",
    "conditioning.tokens",
    "conditioning.cross_attention",
    "conditioning.prompt_lookup",
    "conditioning.lora",
]
CORE = ["base", "concepts", "sampling", "method"]
CORE += ["examples", "checkpoints", "training"]
ORDER = [*GROUND, *CONDITIONING, *CORE]

BELOW = ["ground", "conditioning", "core"]
ALLOWED = {  # folder -> folders that it may import, beside itself
    "ground": [],
    "conditioning": ["ground"],
    "core": ["ground", "conditioning"],
    "world": ["ground"],
    "methods": BELOW,
    "attention": BELOW,
    "evaluation": [*BELOW, "attention", "world"],
    "pretrain": [*BELOW, "world", "evaluation"],
    "figures": [*BELOW, "methods", "attention", "evaluation"],
    "teaching": [*BELOW, "world", "methods", "attention", "evaluation", "figures"],
}
ALLOWED["commands"] = [*ALLOWED["teaching"], "pretrain"]

Arrow = tuple[str, str]  # importing module, imported module


def sources_of(library: Path) -> dict[str, str]:
    """The library's modules by name: "" for the package itself, "methods", "base"."""
    names = {path: path.relative_to(library).with_suffix("") for path in
             library.rglob("*.py")}  # fmt: skip
    return {
        ".".join(name.parts).removesuffix("__init__").removesuffix("."): path.read_text(
            "utf-8"
        )
        for path, name in names.items()
    }


def imported_names(source: str, module: str) -> list[str]:
    """Dotted names, relative to perso_lite, that a source imports or names."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.startswith("perso_lite.")]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import: write it whole."
            if node.module and node.module.split(".")[0] == "perso_lite":
                found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if "." in node.value.removeprefix("perso_lite."):
                found.append(node.value)
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("import_quietly", "import_module", "later"):
                found += [a.value for a in node.args if isinstance(a, ast.Constant)]
    return [str(name).removeprefix("perso_lite.") for name in found]


def arrows_of(sources: dict[str, str]) -> set[Arrow]:
    """Which module imports which; names of the face stand for where they come from."""
    arrows = set()
    for module, source in sources.items():
        for name in imported_names(source, module):
            name = perso_lite._HOME.get(name, name).replace(":", ".")
            parts = name.split(".")
            ends = (".".join(parts[:i]) for i in range(len(parts), 0, -1))
            target = next((end for end in ends if end in sources), None)
            if target and target != module:
                arrows.add((module, target))
    return arrows


def layer_of(module: str) -> str | None:
    """The folder of a module; None for the package's face and its command line."""
    if module in ("", "__main__"):
        return None
    if module in GROUND or module in CORE:
        return "ground" if module in GROUND else "core"
    return module.split(".")[0]


def method_of(module: str) -> str | None:
    """The method that a module belongs to; None for what all methods share."""
    parts = module.split(".")
    return parts[1] if parts[0] == "methods" and len(parts) > 1 else None


def wrong_arrows(sources: dict[str, str]) -> list[str]:
    """What is imported against the order, in words."""
    found = []
    for module, target in sorted(arrows_of(sources)):
        upper, lower = layer_of(module), layer_of(target)
        if upper is None:
            continue
        if lower is None:
            wrong = target == "__main__"
        elif module in ORDER and target in ORDER:
            wrong = ORDER.index(module) <= ORDER.index(target)
        elif upper != lower:
            wrong = lower not in ALLOWED.get(upper, [])
        else:
            one, other = method_of(module), method_of(target)
            wrong = one is not None and one != other
        if wrong:
            found.append(f"{module} imports {target}")
    return found


def circle(sources: dict[str, str]) -> list[str]:
    """Folders that import each other in a circle; [] if none do."""
    graph: dict[str, set[str]] = {}
    for module, target in arrows_of(sources):
        ends = layer_of(module), layer_of(target)
        if None not in ends and ends[0] != ends[1]:
            graph.setdefault(ends[0], set()).add(ends[1])
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


SOURCES = sources_of(LIBRARY)


def test_imports_follow_the_layers():
    assert wrong_arrows(SOURCES) == []


def test_folders_import_each_other_in_no_circle():
    assert circle(SOURCES) == []


def test_every_module_has_a_layer():
    layers = {layer_of(module) for module in SOURCES} - {None}
    assert layers == set(ALLOWED)
    files = {m for m in SOURCES if layer_of(m) in ("ground", "core", "conditioning")}
    assert files - {"conditioning"} == set(ORDER)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("world.shapes", "from perso_lite.evaluation.judges import ATTRIBUTES"),
        ("pretrain.loop", "def f():\n    import perso_lite.methods"),
        ("methods.textual_inversion", "from perso_lite import NeTI"),
        ("evaluation.scores", 'import_quietly("teaching.panels")'),
        ("training", 'LATER = {"tour": "commands.tour"}'),
        ("conditioning.tokens", "from perso_lite.base import load_base"),
        ("base", "from perso_lite.training import fit"),
        ("commands.tour", "from perso_lite.__main__ import main"),
        ("attention.maps", "from perso_lite import bootstrap_interval"),
    ],
)
def test_a_planted_wrong_arrow_is_found(module, line):
    planted = SOURCES | {module: f"{SOURCES[module]}\n{line}\n"}
    (found,) = wrong_arrows(planted)
    assert found.startswith(f"{module} imports ")


def test_a_planted_circle_is_found():
    line = "from perso_lite.evaluation.judges import ATTRIBUTES"
    planted = SOURCES | {"world.shapes": f"{SOURCES['world.shapes']}\n{line}\n"}
    assert {"world", "evaluation"} <= set(circle(planted))


def test_few_names_at_the_top_and_in_each_folder():
    """A newcomer sees at a glance where everything is."""
    top = [path for path in LIBRARY.iterdir() if path.name != "__pycache__"]
    assert len(top) <= 23
    for folder in {path.parent for path in LIBRARY.rglob("*.py")} - {LIBRARY}:
        if folder.name != "world":
            assert len(list(folder.glob("*.py"))) <= 16, folder
