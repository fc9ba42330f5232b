"""Which lines of ours an input has run through, in which order of two: what has not been seen before is worth keeping.

The standard library's tracing does it, so that fuzzing needs nothing that has to be compiled or installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeAlias

Arc: TypeAlias = tuple[CodeType, int, int]

OURS = ("/mainbus/", "/mainbus_broker/")


class Coverage:
    """The arcs (a line, and the line of the same function before it) that were seen so far."""

    def __init__(self) -> None:
        self.seen: set[Arc] = set()
        self._ours: dict[CodeType, bool] = {}

    def trace(self, run: Callable[[], object]) -> bool:
        """Call `run`; returns whether it has seen anything new."""
        before = len(self.seen)
        former = sys.gettrace()
        sys.settrace(self._called)
        try:
            run()
        finally:
            sys.settrace(former)
        return len(self.seen) > before

    def _called(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = any(folder in code.co_filename for folder in OURS)
        if not ours:
            return None
        last, seen = 0, self.seen

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            if event == "line":
                seen.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line
