"""A byte string that arrives in parts, put together where it will stay: so nothing has to be joined at its end."""

from __future__ import annotations

from mainbus.wire import CODEC

__all__ = ["Growing", "PureGrowing"]


class PureGrowing:
    """A byte string of known length, which takes no more memory than a few times what has come of it.

    Args:
        size: Bytes that it has at the end.
    """

    __slots__ = ("_bytes", "_size")

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError("Expected a size")
        self._size = size
        self._bytes = bytearray()

    @property
    def missing(self) -> int:
        """Bytes that have not come."""
        return self._size - len(self._bytes)

    def add(self, data: bytes, start: int, stop: int) -> None:
        """Take more of it: a slice of `data`, no longer than what is missing."""
        if not 0 <= start <= stop <= len(data) or stop - start > self.missing:
            raise ValueError("Expected a slice of the data, no longer than what is missing")
        self._bytes += memoryview(data)[start:stop]

    def take(self) -> bytes:
        """Return what has come, and forget it."""
        taken, self._bytes = bytes(self._bytes), bytearray()
        return taken


if CODEC == "compiled":
    from mainbus.wire.packets_fast import Growing
else:
    Growing = PureGrowing  # type: ignore[assignment, misc]
