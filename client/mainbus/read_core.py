"""What every read touches of a connection to the broker; `read_core_fast` has the same, compiled.

What is rare stands in `Link`, which derives from this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainbus.outbox import Outbox
    from mainbus.wire.connection import Connection


class ReadCore:
    """The receiving half of a connection.

    Args:
        wire: Scans what arrives.
        outbox: What leaves on it once the broker has welcomed us.
    """

    __slots__ = ("_is_open", "_outbox", "wire")

    # What is rare, of whoever derives from this.
    no_memory: Callable[[], None]
    _scan: Callable[[], None]
    _read_in_place: Callable[[], None]

    def __init__(self, wire: Connection, outbox: Outbox) -> None:
        self.wire = wire
        self._outbox = outbox
        self._is_open = False
        """Whether what arrives is for a session that knows who it is."""

    def data_received(self, data: bytes) -> None:
        """Scan what has arrived."""
        try:
            if not self._is_open:
                self.wire.feed(data)
                self._scan()
            elif not self._take_in(data):
                self._scan()
            if self.wire.expects_large:
                self._read_in_place()
            return
        except MemoryError:
            pass
        # Only now: the exception has held what there is to be freed.
        self.no_memory()

    def _take_in(self, data: bytes) -> bool:
        """Take in what is common; False if there is more."""
        outbox = self._outbox
        calls, holds = outbox.calls, outbox.hold()
        try:
            left = self.wire.take_in(data, len(data), len(data))
        finally:
            if holds:
                # Answers leave at once: whoever asked waits for nothing else.
                outbox.let_go()
        if outbox.calls < calls:
            # Who has awaited what came runs in this turn of the loop, and says more: it leaves right behind that.
            outbox.flush_soon()
        return left < 0 and self.wire.failure is None
