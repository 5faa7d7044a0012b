"""Whether two pieces of code are the same code, whatever their layout and comments.

Notebooks show a method's key lines, and the library has them too. They are compared as
syntax trees: by `check.same` when the cell runs, and by a test without running it.
"""

import ast
import inspect
import linecache
import textwrap
from collections.abc import Callable


def same_code(source_a: str, source_b: str) -> bool:
    """Whether two sources are the same code.

    Layout, comments, docstrings, decorators and type hints do not count; names do.
    """
    return ast.dump(_bare(source_a)) == ast.dump(_bare(source_b))


def definitions(source: str) -> dict[str, ast.AST]:
    """The functions and classes of a source by name, methods as "Class.method".

    They come without what does not count: two are the same code if `ast.dump` says the
    same of both.
    """
    found: dict[str, ast.AST] = {}
    waiting = [("", node) for node in _bare(source).body]
    for prefix, node in waiting:  # grows on the way
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[prefix + node.name] = node
        if isinstance(node, ast.ClassDef):
            waiting += [(f"{prefix}{node.name}.", inner) for inner in node.body]
    return found


def definition_of(thing: Callable | type) -> ast.AST:
    """The bare definition of a function or class, also of one in a notebook's cell.

    Raises:
        OSError, TypeError, SyntaxError: its source cannot be read.
    """
    if inspect.isclass(thing):
        # Python looks for a class in its module's file, which a notebook has not; the
        # methods know the cell.
        for method in filter(inspect.isfunction, vars(thing).values()):
            file = inspect.unwrap(method).__code__.co_filename
            there = definitions("".join(linecache.getlines(file)))
            if thing.__qualname__ in there:
                return there[thing.__qualname__]
    return _bare(inspect.getsource(thing)).body[0]


def _bare(source: str) -> ast.Module:
    return _Bare().visit(ast.parse(textwrap.dedent(source)))


class _Bare(ast.NodeTransformer):
    """Takes away what does not count."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Docstrings, decorators and the type a function returns."""
        super().generic_visit(node)
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            documented = ast.get_docstring(node) is not None
            node.body = node.body[documented:] or [ast.Pass()]
            node.decorator_list, node.returns = [], None  # where a node has them
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        """`x: int` among arguments becomes `x`."""
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        """`x: int = 3` becomes `x = 3`, and a field `x: int` becomes `x`."""
        self.generic_visit(node)
        if node.value is None:
            return ast.Expr(node.target)
        return ast.Assign([node.target], node.value)
