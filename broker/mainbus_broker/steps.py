"""Steps that are done behind those that they come from: what calls itself in a ring, or as deep as a peer likes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType


class Steps:
    """A queue of steps. Called with one, it does it at once, unless another is under way: then behind that one.

    As a context manager it is a step itself: what is added within is done at the end.
    """

    __slots__ = ("_depth", "_todo")

    def __init__(self) -> None:
        self._todo: deque[Callable[[], object]] = deque()
        self._depth = 0

    def __call__(self, step: Callable[[], object]) -> None:
        """Do a step when nothing else is under way."""
        self._todo.append(step)
        self._work_off()

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        self._work_off()

    def _work_off(self) -> None:
        if self._depth:
            return
        self._depth = 1
        try:
            while self._todo:
                self._todo.popleft()()
        finally:
            self._depth = 0
