"""Changes to a pipeline that are undone whatever happens.

Every hook, word and attribute that a method lends to a pipeline goes through
`restored`: an error, an interruption at any line and `with` blocks that are left in any
order all leave the pipeline as it was.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Undo = Callable[[], Any]


@contextmanager
def restored() -> Iterator[Callable[[Undo], None]]:
    """Inside, say how each change is undone; at the end all are, the last one first.

        with restored() as at_exit:
            at_exit(layer.register_forward_hook(edit).remove)

    A change and its `at_exit` stand in one line, or the `at_exit` comes first, so that
    no interruption can fall between them. How to undo a change must bear to be run
    twice, and before the change was made.
    """
    undo: list[Undo] = []
    try:
        try:
            yield undo.append
        finally:
            _run(undo)
    finally:  # once more, for an interruption while the lines above were undoing
        _run(undo)


def take_out(members: list[Any], member: Any) -> None:
    """Take a member out of a list, if it is there."""
    members[:] = [other for other in members if other is not member]


def _run(undo: list[Undo]) -> None:
    for action in reversed(undo):
        action()
