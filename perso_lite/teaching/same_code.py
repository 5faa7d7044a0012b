"""Compare two pieces of code, ignoring layout and comments.

Notebooks repeat the key lines of a method from the library. The two versions are
compared as syntax trees: by `check.same` when the cell runs, and by a test that does
not run the cell.
"""

import ast
import inspect
import linecache
import textwrap
from collections.abc import Callable


def definitions(source: str) -> dict[str, ast.AST]:
    """The functions and classes of a source by name, methods as "Class.method".

    Docstrings, decorators and type hints are removed: two definitions are the same
    code if their `ast.dump` is equal.
    """
    found: dict[str, ast.AST] = {}
    waiting = [("", node) for node in _bare(source).body]
    for prefix, node in waiting:  # grows during the loop
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[prefix + node.name] = node
        if isinstance(node, ast.ClassDef):
            waiting += [(f"{prefix}{node.name}.", inner) for inner in node.body]
    return found


def definition_of(thing: Callable | type) -> ast.AST:
    """The definition of a function or class, also of one in a notebook's cell.

    Docstrings, decorators and type hints are removed.

    Raises:
        OSError, TypeError, SyntaxError: its source cannot be read.
    """
    if inspect.isclass(thing):
        # Python looks for a class in its module's file, which a notebook does not
        # have; the methods know the file of their cell.
        for method in filter(inspect.isfunction, vars(thing).values()):
            file = inspect.unwrap(method).__code__.co_filename
            there = definitions("".join(linecache.getlines(file)))
            if thing.__qualname__ in there:
                return there[thing.__qualname__]
    return _bare(inspect.getsource(thing)).body[0]


def _bare(source: str) -> ast.Module:
    return _Bare().visit(ast.parse(textwrap.dedent(source)))


class _Bare(ast.NodeTransformer):
    """Removes docstrings, decorators and type hints."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Remove docstrings, decorators and return types."""
        super().generic_visit(node)
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            documented = ast.get_docstring(node) is not None
            node.body = node.body[documented:] or [ast.Pass()]
            node.decorator_list, node.returns = [], None  # where a node has them
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        """Turn an argument `x: int` into `x`."""
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        """Turn `x: int = 3` into `x = 3`, and a field `x: int` into `x`."""
        self.generic_visit(node)
        if node.value is None:
            return ast.Expr(node.target)
        return ast.Assign([node.target], node.value)
