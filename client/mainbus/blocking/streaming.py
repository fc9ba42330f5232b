"""The producer of a stream: a plain generator that advances one step at a time where listeners run.

Between two steps other listeners run. There is never more than one job for it: each step adds the next one, or waits
for credit, and then it is credit or the end that adds one. So no step can begin inside of another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

from mainbus.answers import NotCloned
from mainbus.blocking.work import Job, Work
from mainbus.wire.credit import Sending

log = logging.getLogger("mainbus")


class Producer:
    """One open stream.

    Args:
        generator: What a handler has returned; it has not begun.
        work: Where listeners run.
        send: Sends one item; returns the bytes of its body, or raises `NotCloned`.
        end: Called once when there are no more items, with what the generator raised, or None.
    """

    __slots__ = ("_cancelled", "_end", "_generator", "_send", "_sending", "_waits", "_work")

    def __init__(
        self,
        generator: Generator[Any, Any, Any],
        work: Work,
        send: Callable[[object], int],
        end: Callable[[BaseException | None], None],
    ) -> None:
        self._generator = generator
        self._work = work
        self._send = send
        self._end = end
        self._sending = Sending()
        self._waits = False
        """Whether no job of it is under way: it has no credit."""
        self._cancelled = False

    # Public: where listeners run

    def step(self) -> None:
        """Send the next item, or end."""
        if self._cancelled:
            self._close()
            return
        try:
            item = next(self._generator)
        except StopIteration:
            self._end(None)
        except Exception as error:  # noqa: BLE001 - it is the answer
            self._end(error)
        except BaseException as error:
            self._end(error)
            raise
        else:
            self._put(item)

    # Public: the reader thread

    def credited(self, credit: int) -> None:
        """Let it go on with items of `credit` more bytes."""
        with self._work.lock:
            self._sending.credited(credit)
            if self._waits:
                self._go_on()

    def cancel(self) -> None:
        """Close the generator, after the step that it may be in."""
        with self._work.lock:
            self._cancelled = True
            if self._waits:
                self._go_on()

    # Private

    def _put(self, item: object) -> None:
        try:
            size = self._send(item)
        except NotCloned as error:
            self._close()
            self._end(error)
            return
        with self._work.lock:
            self._sending.sent(size)
            self._go_on()

    def _go_on(self) -> None:
        """Have the next step made when it may be; with the lock held."""
        self._waits = not self._cancelled and not self._sending.may_send
        if not self._waits:
            self._work.put(Job(self.step))

    def _close(self) -> None:
        try:
            self._generator.close()
        except Exception:
            log.exception("a generator failed as its stream was closed")
