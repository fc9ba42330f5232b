"""Outcomes of an invoke as packets: a result, an exception that a handler raised, a refusal of our own."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from mainbus.errors import (
    CloneError,
    InvokeTimeout,
    LimitExceeded,
    MainbusError,
    MessageTooLarge,
    RemoteError,
    ReplyNeverSent,
)
from mainbus.remote import describe
from mainbus.wire import clone
from mainbus.wire.packets import Kind


class Answers:
    """Encodes outcomes within the limits of a connection.

    Args:
        max_message: Bytes of one body, at most.
        depth: Containers inside containers, at most.
        tracebacks: Whether the text of a traceback may cross.
    """

    __slots__ = ("_depth", "_max_message", "_tracebacks")

    def __init__(self, max_message: int, depth: int, tracebacks: bool) -> None:
        self._max_message = max_message
        self._depth = depth
        self._tracebacks = tracebacks

    def result(self, value: object) -> tuple[Kind, int, bytes]:
        """Return kind, value and body of the answer; a result that cannot be cloned makes it an error."""
        try:
            body = clone.encode(value, root="result", max_depth=self._depth)
            if len(body) > self._max_message:
                raise MessageTooLarge(len(body), self._max_message)
        except (CloneError, LimitExceeded) as error:
            return Kind.ERROR, RemoteError.wire_code, clone.encode({"name": "", "message": str(error)})
        return Kind.RESULT, 0, body

    def raised(self, channel: str, error: BaseException, *, late: bool) -> tuple[Kind, int, bytes]:
        """Return kind, value and body for a handler that raised; cancelled or exited, it never replied.

        `late`: the caller's deadline has passed, and a cancelled handler was cancelled for that.
        """
        if late and isinstance(error, asyncio.CancelledError):
            return Kind.ERROR, InvokeTimeout.wire_code, b""
        if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
            return self.refused(ReplyNeverSent(channel))
        body = clone.encode(describe(error, traceback=self._tracebacks))
        return Kind.ERROR, RemoteError.wire_code, body

    def refused(self, error: MainbusError) -> tuple[Kind, int, bytes]:
        """Return kind, value and body for a call that no handler was run for."""
        return Kind.ERROR, error.wire_code, clone.encode(str(error))


def log_raised(log: logging.Logger, event: Any, error: BaseException) -> None:
    """Log what a handler raised, as Electron does: the caller may keep it to itself. Cancelled is not failed."""
    # The loop itself raises the last two.
    if not isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
        log.error("Error occurred in handler for %r, invoked by %s", event.channel, event.sender_label, exc_info=error)
