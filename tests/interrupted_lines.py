"""Ctrl-C at a chosen line."""

import sys


class InterruptedLines:
    """Inside, counts the lines of some files that run, and interrupts at one of them.

    Args:
        traced: beginnings of the files' paths.
        at: raises KeyboardInterrupt there, counted from 0; None: nowhere.
    """

    def __init__(self, traced, at=None):
        self.traced, self.at, self.count = tuple(traced), at, 0

    def __enter__(self):
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def trace(self, frame, event, _):
        if not frame.f_code.co_filename.startswith(self.traced):
            return None
        if event == "line":
            self.count += 1
            if self.count - 1 == self.at:
                raise KeyboardInterrupt
        return self.trace
