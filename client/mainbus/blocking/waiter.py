"""One thread's wait for an outcome that the reader thread brings."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from mainbus.blocking.monitor import SLICE
from mainbus.errors import ObjectDestroyedError


class Waiter:
    """Holds one outcome for one thread. The first one counts.

    Setting belongs to the reader thread; `wait` is called once, by any other.
    """

    __slots__ = ("_error", "_lock", "_value", "done", "source")

    def __init__(self) -> None:
        self.done = False
        self.source: asyncio.Future[Any] | None = None
        """What brings the outcome, for whoever gives up; None before it has begun."""
        # A bare lock costs a tenth of an event, and a signal interrupts the wait for it all the same.
        self._lock = threading.Lock()
        self._lock.acquire()
        self._value: Any = None
        self._error: BaseException | None = None

    def wait(self) -> Any:
        """Block until there is an outcome; return it, or raise it."""
        while not self._lock.acquire(timeout=SLICE):
            pass
        if self._error is not None:
            try:
                raise self._error
            finally:
                # The traceback holds this frame, and with it this object.
                self._error = None
        return self._value

    def succeed(self, value: Any) -> None:
        """Bring a value."""
        if not self.done:
            self.done = True
            self._value = value
            self._lock.release()

    def fail(self, error: BaseException) -> None:
        """Bring an error."""
        if not self.done:
            self.done = True
            self._error = error
            self._lock.release()

    def follow(self, future: asyncio.Future[Any]) -> None:
        """Bring what a future brings."""
        self.source = future
        future.add_done_callback(self._take)

    def give_up(self) -> None:
        """Cancel what would bring the outcome: nobody waits any more."""
        self.done = True
        if self.source is not None:
            self.source.cancel()

    def _take(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            self.fail(ObjectDestroyedError("the renderer was closed meanwhile"))
        elif (error := future.exception()) is not None:
            self.fail(error)
        else:
            self.succeed(future.result())
