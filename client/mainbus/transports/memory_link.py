"""One direction of a connection inside one process; only the ends of a memory connection import it.

The two ends may live on different threads, and a link is all they share. Its rules: whoever changes it does so under
its lock, and wakes the other end after letting the lock go. Waking is idempotent and says nothing: a woken end looks
at its links and does what is due, so no wake-up can be lost, doubled or come in the wrong order.
"""

import threading
from collections import deque
from typing import Protocol

__all__ = ["CHUNK", "End", "Link"]

CHUNK = 256 * 1024
"""The most bytes that are delivered at once, as from a socket."""


class End(Protocol):
    """Who reads or writes a link."""

    def wake(self) -> None:
        """Look at the links soon; any thread may call it."""


class Link:
    """Bytes on their way from a writer to a reader.

    Attributes:
        size: bytes that were written and not yet consumed.
        ended: the writer adds nothing any more; what is here still arrives.
        broken: the writer is gone without a close; what was here is lost.
        closed: the reader is gone; what is written is dropped.
        reader, writer: the ends, set once both exist.
    """

    __slots__ = ("_chunks", "_lock", "_wake_writer_at", "broken", "closed", "ended", "reader", "size", "writer")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: deque[bytes | memoryview] = deque()
        # The writer waits for the size to fall to this; -1: it does not wait.
        self._wake_writer_at = -1
        self.size = 0
        self.ended = False
        self.broken = False
        self.closed = False
        self.reader: End
        self.writer: End

    # The writer's side.

    def put(self, data: bytes) -> None:
        """Add bytes, unless nobody will read them."""
        with self._lock:
            if self.closed:
                return
            if len(data) <= CHUNK:
                self._chunks.append(data)
            else:
                view = memoryview(data)
                self._chunks.extend(view[start : start + CHUNK] for start in range(0, len(data), CHUNK))
            self.size += len(data)
        self.reader.wake()

    def is_down_to(self, level: int) -> bool:
        """Say whether at most so many bytes are left; if not, wake the writer once they are."""
        with self._lock:
            if self.size <= level:
                return True
            self._wake_writer_at = level
            return False

    def end(self) -> None:
        """Add nothing any more."""
        self.ended = True
        self.reader.wake()

    def abort(self) -> None:
        """Drop what is on its way and tell the reader so."""
        with self._lock:
            self._drop()
            self.ended = self.broken = True
        self.reader.wake()

    # The reader's side.

    def has_news(self) -> bool:
        """Say whether there are bytes, or there will be none."""
        return bool(self._chunks) or self.ended

    def take(self) -> bytes:
        """Return the next bytes, at most a chunk; they count until they are `consumed`."""
        with self._lock:
            taken: list[bytes | memoryview] = []
            room = CHUNK
            while self._chunks and len(self._chunks[0]) <= room:
                chunk = self._chunks.popleft()
                room -= len(chunk)
                taken.append(chunk)
        return b"".join(taken)

    def consumed(self, count: int) -> None:
        """Count so many bytes less."""
        with self._lock:
            # A reader that closed while it consumed has counted everything off already.
            self.size = max(0, self.size - count)
            due = self.size <= self._wake_writer_at
            if due:
                self._wake_writer_at = -1
        if due:
            self.writer.wake()

    def close(self) -> None:
        """Read nothing any more."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._drop()
        self.writer.wake()

    def _drop(self) -> None:
        self._chunks.clear()
        self.size = 0
