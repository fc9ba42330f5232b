"""The invokes of one end that have no answer yet, by request ID, with their deadlines under one timer.

Every request is answered exactly once on the wire, also one that was cancelled: until then its entry stays, the
credit it took stays taken, and an answer that comes too late finds a future that is already done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mainbus.deadlines import Deadlines
from mainbus.errors import BadMessage, InvokeTimeout, LimitExceeded, MainbusError, RemoteError, from_wire
from mainbus.quick import CallsCore
from mainbus.remote import remote_error
from mainbus.reply import Reply
from mainbus.routes import Route
from mainbus.streams import Demand, StreamReply
from mainbus.wire import clone
from mainbus.wire.pieces import Body


class Calls(CallsCore):
    """Pending invokes.

    Args:
        loop: The loop of the futures.
        cancel: Called with a reply whose request has left and must be cancelled at the other end.
    """

    __slots__ = ("_cancel", "_deadlines", "expired", "streams")

    def __init__(self, loop: asyncio.AbstractEventLoop, cancel: Callable[[Reply], None]) -> None:
        super().__init__(loop)
        self.streams = 0
        """How many of them are streams that have not ended."""
        self.expired = 0
        """How many were not answered in time."""
        self._cancel = cancel
        self._deadlines: Deadlines[Reply] | None = None

    # Public

    def __len__(self) -> int:
        return len(self._pending)

    def open(self, channel: str, request: int, route: Route, timeout: float | None) -> Reply:
        """Return the future of a request that is about to leave. `timeout` in seconds."""
        reply = Reply(self._loop, channel, request, route, timeout, self.cancelled)
        self._pending[request] = reply
        if timeout is not None:
            self._limit(reply, timeout)
        return reply

    def open_stream(
        self, channel: str, request: int, route: Route, timeout: float | None, demand: Demand
    ) -> StreamReply:
        """Return what the items of a stream come to whose request is about to leave. `timeout` in seconds."""
        reply = StreamReply(self._loop, channel, request, route, timeout, self.cancelled, demand)
        self._pending[request] = reply
        self.streams += 1
        if timeout is not None:
            self._limit(reply, timeout)
        return reply

    def result(self, request: int, body: Body, depth: int) -> BadMessage | LimitExceeded | None:
        """Answer a request with an encoded result; returns the fault if that does not decode.

        An unknown request is ignored: nobody waits for it any more.
        """
        reply = self._answered(request)
        if reply is None or reply.done():
            return None
        if not reply.has_value:
            reply.set_result(None)
            return None
        try:
            value = clone.decode(body, max_depth=depth)
        except (BadMessage, LimitExceeded) as error:
            _fail(reply, BadMessage(f"the result of {reply.channel!r} does not decode: {error}"))
            return error
        # Somebody may give it up at any time, such as a finaliser that the collector runs.
        with suppress(asyncio.InvalidStateError):
            reply.set_result(value)
        return None

    def item(self, request: int, body: Body, depth: int) -> BadMessage | LimitExceeded | None:
        """Take in an encoded item of a stream; returns the fault if that does not decode, which ends the stream."""
        reply = self.stream(request)
        if reply is None or reply.done():
            return None
        try:
            value = clone.decode(body, max_depth=depth)
        except (BadMessage, LimitExceeded) as error:
            if _fail(reply, BadMessage(f"an item of {reply.channel!r} does not decode: {error}")):
                self.cancelled(reply)
            return error
        if not reply.done():
            reply.put(len(body), value)
        return None

    def stream(self, request: int) -> StreamReply | None:
        """Return the stream with this request, if there is one that has not ended at the other end."""
        reply = self._pending.get(request)
        return reply if isinstance(reply, StreamReply) else None

    def expects(self, request: int) -> bool:
        """Tell whether an answer to a request is the first that comes, and may wait for its turn; asked once."""
        reply = self._pending.get(request)
        if reply is None or reply.is_answered:
            return False
        reply.is_answered = True
        return True

    def error(self, request: int, code: int, body: Body, depth: int) -> BadMessage | LimitExceeded | None:
        """Answer a request with an encoded error; returns the fault if that does not decode."""
        reply = self._answered(request)
        if reply is None or reply.done():
            return None
        if code == InvokeTimeout.wire_code and reply.timeout is not None:
            self.expired += 1
            reply.set_exception(InvokeTimeout(reply.channel, reply.timeout))
            return None
        try:
            outcome = error_of(reply.channel, code, body, depth)
        except (BadMessage, LimitExceeded) as error:
            _fail(reply, BadMessage(f"the error of {reply.channel!r} does not decode: {error}"))
            return error
        _fail(reply, outcome)
        return None

    def fail(self, request: int, error: BaseException, *, left: bool = False) -> None:
        """Answer a request with an error of our own. `left`: it has cost a credit, which is given back."""
        reply = self._answered(request) if left else self._pop(request)
        if reply is not None:
            _fail(reply, error)

    def moved(self, request: int, route: Route) -> None:
        """Note that a request waits in another route than before."""
        reply = self._pending.get(request)
        if reply is not None:
            reply.route = route

    def fail_all(self, make: Callable[[Reply], BaseException], keep: set[int] | frozenset[int] = frozenset()) -> None:
        """Answer all requests but those in `keep` with an error."""
        for reply in [reply for request, reply in self._pending.items() if request not in keep]:
            self.fail(reply.request, make(reply), left=True)
        if not self._pending and self._deadlines is not None:
            self._deadlines.clear()

    def cancelled(self, reply: Reply) -> None:
        """Take a request back that its caller has cancelled, or have it cancelled at the other end."""
        if self._pending.get(reply.request) is not reply:
            return
        if reply.route.withdraw(reply.request):
            self._pop(reply.request)
        else:
            self._cancel(reply)

    # Private

    def _limit(self, reply: Reply, timeout: float) -> None:
        if self._deadlines is None:
            self._deadlines = Deadlines(self._loop, self._waits, self._expire)
        self._deadlines.add(timeout, reply)

    def _pop(self, request: int) -> Reply | None:
        reply = self._pending.pop(request, None)
        if reply is not None and not reply.has_value:
            self.streams -= 1
        return reply

    def _answered(self, request: int) -> Reply | None:
        reply = self._pending.pop(request, None)
        if reply is not None:
            if not reply.has_value:
                self.streams -= 1
            reply.answered()
        return reply

    def _waits(self, reply: Reply) -> bool:
        return not reply.done()

    def _expire(self, reply: Reply) -> None:
        assert reply.timeout is not None
        self.expired += 1
        reply.set_exception(InvokeTimeout(reply.channel, reply.timeout))
        self.cancelled(reply)


def _fail(reply: Reply, error: BaseException) -> bool:
    """Have an error for an outcome; False if there is one, such as by a finaliser that has run as it was decoded."""
    try:
        reply.set_exception(error)
    except asyncio.InvalidStateError:
        return False
    return True


def error_of(channel: str, code: int, body: Body, depth: int) -> MainbusError:
    """Make the exception that an error packet describes.

    Raises:
        BadMessage: The body does not decode.
        LimitExceeded: The body is over a bound.
    """
    value: Any = clone.decode(body, max_depth=depth) if body else None
    if code == RemoteError.wire_code:
        return remote_error(channel, value)
    return from_wire(code, channel, value if isinstance(value, str) else "")
