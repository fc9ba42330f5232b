"""What registering a listener or handler returns."""

from collections.abc import Callable
from typing import Self

__all__ = ["Registration"]


class Registration:
    """One listener or handler, as it was registered; as a context manager it is cancelled at the end.

    Args:
        cancel: takes exactly this one out again.
    """

    __slots__ = ("_cancel",)

    def __init__(self, cancel: Callable[[], object]) -> None:
        # None: cancelled, and what was registered is no longer kept alive from here.
        self._cancel: Callable[[], object] | None = cancel

    def cancel(self) -> None:
        """Take out this registration, no other one of the same function; twice is once."""
        if self._cancel is not None:
            # It may refuse the thread: then the registration stands.
            self._cancel()
            self._cancel = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
