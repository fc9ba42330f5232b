"""Outcomes of an invoke as packets: a result, an exception that a handler raised, a refusal of our own."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeAlias

from mainbus.errors import (
    CloneError,
    LimitExceeded,
    MainbusError,
    MessageTooLarge,
    RemoteError,
    ReplyNeverSent,
)
from mainbus.remote import describe
from mainbus.user_frames import user_frames
from mainbus.wire import clone
from mainbus.wire.packets import ERROR, ITEM, RESULT
from mainbus.wire.pieces import Body

Outcome: TypeAlias = tuple[int, int, Body]
"""Kind, value and body of an answer."""


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

    def result(self, value: object) -> Outcome:
        """Return kind, value and body of the answer; a result that cannot be cloned makes it an error."""
        try:
            return RESULT, 0, self._encode(value, "result")
        except (CloneError, LimitExceeded) as error:
            return _uncloned(str(error))

    def item(self, value: object) -> Outcome:
        """Return kind, value and body of an item of a stream.

        Raises:
            NotCloned: It cannot be cloned; `raised` makes the answer of it that ends the stream.
        """
        try:
            return ITEM, 0, self._encode(value, "item")
        except (CloneError, LimitExceeded) as error:
            raise NotCloned(str(error)) from error

    def returned(self, log: logging.Logger, event: Any, value: object) -> Outcome:
        """As `result`, for a handler: what cannot be cloned is logged where it ran, like what a handler raises."""
        try:
            return RESULT, 0, self._encode(value, "result")
        except (CloneError, LimitExceeded) as error:
            log_raised(log, event, error)
            return _uncloned(str(error))

    def raised(self, channel: str, error: BaseException) -> Outcome:
        """Return kind, value and body for a handler that raised; cancelled or exited, it never replied."""
        if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
            return self.refused(ReplyNeverSent(channel))
        if isinstance(error, NotCloned):
            return _uncloned(str(error))
        body = clone.encode(describe(error, traceback=self._tracebacks))
        return ERROR, RemoteError.wire_code, body

    def refused(self, error: MainbusError) -> Outcome:
        """Return kind, value and body for a call that no handler was run for."""
        return ERROR, error.wire_code, clone.encode(str(error))

    # Private

    def _encode(self, value: object, root: str) -> Body:
        try:
            body = clone.encode_body(value, root=root, max_depth=self._depth)
        except MemoryError:
            raise LimitExceeded(f"There is no memory for the {root}") from None
        if len(body) > self._max_message:
            raise MessageTooLarge(len(body), self._max_message)
        return body


def log_raised(log: logging.Logger, event: Any, error: BaseException) -> None:
    """Log what a handler raised, as Electron does: the caller may keep it to itself. Cancelled is not failed."""
    # The loop itself raises the last two.
    if not isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
        log.error(
            "Error occurred in handler for %r, invoked by %s",
            event.channel,
            event.sender_label,
            exc_info=user_frames(error),
        )


class NotCloned(Exception):
    """An item of a stream that cannot be sent."""


def _uncloned(text: str) -> Outcome:
    return ERROR, RemoteError.wire_code, clone.encode({"name": "", "message": text})
