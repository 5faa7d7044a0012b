"""Code is compared without its layout, and a cell with the library."""

import ast
import importlib.util
import inspect
import linecache

import pytest

from perso_lite import examples, sampling
from perso_lite.teaching import check
from perso_lite.teaching import same_code as syntax


def same_code(one, other):
    """Whether two sources define the same."""
    first, second = (
        {name: ast.dump(node) for name, node in syntax.definitions(source).items()}
        for source in (one, other)
    )
    return first == second


PLAIN = """
def mix(a, b=2, *rest, c=None, **more):
    total = a + b
    return total
"""

SAME = {
    "comments and layout": """
def mix(a, b = 2, *rest, c=None, **more):
    # why
    total = (a +
             b)

    return total
""",
    "a docstring": PLAIN.replace("    total = a", '    """Mix."""\n    total = a'),
    "a decorator": "@torch.no_grad()" + PLAIN,
    "type hints": """
def mix(a: int, b: int = 2, *rest: int, c: str | None = None, **more: str) -> int:
    total: int = a + b
    return total
""",
    "indentation": PLAIN.replace("\n", "\n    "),
}

OTHER = {
    "another number": PLAIN.replace("b=2", "b=3"),
    "another operation": PLAIN.replace("a + b", "a - b"),
    "another name": PLAIN.replace("mix", "join"),
    "another argument": PLAIN.replace("c=None", "d=None"),
    "a line more": PLAIN.replace("    return", "    total += 1\n    return"),
    "a string that is no docstring": PLAIN.replace("return total", "return 'total'"),
    "nothing": "",
}


@pytest.mark.parametrize("source", SAME.values(), ids=SAME.keys())
def test_what_does_not_count(source):
    assert same_code(PLAIN, source)


@pytest.mark.parametrize("source", OTHER.values(), ids=OTHER.keys())
def test_what_counts(source):
    assert not same_code(PLAIN, source)


def test_a_docstring_alone_is_an_empty_body():
    assert same_code('def f():\n    """Later."""', "def f():\n    pass")
    assert not same_code('def f():\n    """Later."""', "def f():\n    return 1")


def test_fields_of_a_dataclass_count_but_not_their_types():
    fields = "class A:\n    x: int\n    y: int = 3"
    assert same_code(fields, fields.replace("int", "float"))
    assert not same_code(fields, fields.replace("x", "z"))


CLASS = '''
import torch

class Mapper(torch.nn.Module):
    """Maps."""
    size: int = 3

    @property
    def wide(self) -> bool:
        """Whether it is."""
        return self.size > 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def inner():
            return x
        return inner()

async def later():
    pass
'''


def test_definitions_are_found_with_methods():
    found = syntax.definitions(CLASS)
    assert set(found) == {"Mapper", "Mapper.wide", "Mapper.forward", "later"}
    assert (
        ast.unparse(found["Mapper.wide"]) == "def wide(self):\n    return self.size > 4"
    )


def test_a_method_alone_can_be_compared_with_one_in_its_class():
    alone = "def forward(self, x):\n    def inner(): return x\n    return inner()"
    mine = syntax.definitions(alone)["forward"]
    assert ast.dump(mine) == ast.dump(syntax.definitions(CLASS)["Mapper.forward"])
    assert ast.dump(mine) != ast.dump(syntax.definitions(CLASS)["Mapper.wide"])


@pytest.fixture
def run_cell():
    """Run source as a notebook does: in no file, with lines that `linecache` knows."""
    names = []

    def run(source):
        name = f"<cell {len(names)}>"
        names.append(name)
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        namespace = {"__name__": "nowhere"}
        exec(compile(source, name, "exec"), namespace)
        return namespace

    yield run
    for name in names:
        del linecache.cache[name]


OWN = "✓ the lines above are the library's own\n"
DIFFERS = "✗ your version differs from the library's: fine for experiments\n"


IMPORTS = {
    examples.prepare: "from perso_lite.examples import *\n",
    sampling.generate: "from perso_lite.sampling import *\n",
}


def cell_of(function):
    """A cell with the code of the library and a comment."""
    return f"{IMPORTS[function]}\n# as in the library\n{inspect.getsource(function)}"


@pytest.mark.parametrize("function", IMPORTS)  # the second one is decorated
def test_a_cell_with_a_function_of_the_library(function, run_cell, capsys):
    check.same(run_cell(cell_of(function))[function.__name__], function)
    assert capsys.readouterr().out == OWN


def test_a_cell_in_which_something_was_changed(run_cell, capsys):
    changed = cell_of(examples.prepare).replace("*mean.shape[-2:]", "*mean.shape[2:]")
    assert changed != cell_of(examples.prepare)
    check.same(run_cell(changed)["prepare"], examples.prepare)
    assert capsys.readouterr().out == DIFFERS


def test_a_class_in_a_cell_is_compared_with_one_in_a_file(run_cell, tmp_path, capsys):
    file = tmp_path / "mapper_library.py"
    file.write_text(CLASS)
    spec = importlib.util.spec_from_file_location("mapper_library", file)
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    check.same(
        run_cell(CLASS.replace('"""Maps."""', "# maps"))["Mapper"], library.Mapper
    )
    check.same(run_cell(CLASS.replace("> 4", "> 5"))["Mapper"], library.Mapper)
    mine = run_cell(CLASS)["Mapper"]
    check.same(mine.forward, library.Mapper.forward)
    assert capsys.readouterr().out == OWN + DIFFERS + OWN


def test_what_has_no_source_is_reported(capsys):
    check.same(len, examples.prepare)
    assert "cannot be read" in capsys.readouterr().out
