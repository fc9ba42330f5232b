"""The consumer of a stream: an async iterator over what arrives, which gives credit as items are taken."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Self

from mainbus.errors import InvokeTimeout, LocalProtocolError
from mainbus.ownership import owner
from mainbus.reply import Reply
from mainbus.routes import Route
from mainbus.wire.credit import Receiving, Sending

Demand = Callable[[int, int], None]
"""Gives the other end of a request credit: called with the request and a number of bytes."""


class StreamReply(Reply):
    """The pending request of a stream: what has arrived and was not taken and, as a future, the end.

    It knows nothing of its `Stream`, so that one can be dropped and be noticed.
    """

    __slots__ = ("_demand", "_receiving", "_window", "getter", "items")

    has_value = False

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        channel: str,
        request: int,
        route: Route,
        timeout: float | None,
        on_cancel: Callable[[Reply], None],
        demand: Demand,
    ) -> None:
        super().__init__(loop, channel, request, route, timeout, on_cancel)
        self.items: deque[tuple[int, Any]] = deque()
        """What has arrived: bytes of the body, and value."""
        self.getter: asyncio.Future[None] | None = None
        """What the task that takes the next item waits for; None while none waits."""
        self._demand = demand
        self._receiving = Receiving()
        self._window = Sending()
        """The other end's account of it, where that one is not trusted to keep it."""

    @property
    def is_full(self) -> bool:
        """Whether the other end may not have sent another item."""
        return not self._window.may_send

    def arrived(self, size: int) -> None:
        """Count an item with a body of `size` bytes, which may have to wait for its turn."""
        self._window.sent(size)

    def put(self, size: int, value: object) -> None:
        """Take in an item with a body of `size` bytes."""
        self.items.append((size, value))
        self._wake()

    def pop(self) -> tuple[Any, int]:
        """Return the first item, and the credit to `give` now; any one thread may call it.

        Raises:
            IndexError: There is none.
        """
        size, value = self.items.popleft()
        return value, self._receiving.taken(size)

    def give(self, credit: int) -> None:
        """Let the other end go on with items of `credit` more bytes."""
        self._window.credited(credit)
        if not self.done():
            self._demand(self.request, credit)

    def answered(self) -> None:
        """Give back nothing: a stream costs no invoke."""

    def set_result(self, result: Any, /) -> None:
        """End it, after the items that have arrived."""
        super().set_result(result)
        self._wake()

    def set_exception(self, exception: type | BaseException, /) -> None:
        """End it with an error, after the items that have arrived; at once if it is too late for them."""
        super().set_exception(exception)
        if isinstance(exception, InvokeTimeout):
            self.items.clear()
        self._wake()

    def cancel(self, msg: Any | None = None) -> bool:
        """End it at once, here and at the other end; False if it had ended already."""
        if not super().cancel(msg):
            return False
        self.items.clear()
        self._wake()
        return True

    def _wake(self) -> None:
        if self.getter is not None and not self.getter.done():
            self.getter.set_result(None)


class Stream:
    """What `stream` returns: an async iterator over the items, and an async context manager.

    The request leaves at the call. The end of an `async with`, `aclose`, or cancelling the task that waits for the
    next item closes the stream at once: its generator is ended at the other end. One that is left with a bare
    `break` is closed when it is dropped. One task at a time may take from it.

    Iterating raises, after the items that have arrived: `RemoteError` (what the generator raised, `NoHandlerError`,
    `ReplyNeverSent`) or `ConnectionLost`; and at once, without them, `InvokeTimeout`. After its end there are no items.
    """

    __slots__ = ("__weakref__", "_is_begun", "_is_over", "_owner", "_reply")

    def __init__(self, reply: StreamReply) -> None:
        self._reply: Final = reply
        self._owner: Final = owner("this stream")
        self._is_begun = False
        """Whether anybody has asked for an item: then an error behind what was taken is not news to be logged."""
        self._is_over = False
        """Whether its end was told, or nobody wants to know."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """Return the next item. Cancelling it closes the stream."""
        self._owner.check()
        reply = self._reply
        if reply.getter is not None:
            raise LocalProtocolError("one task at a time may take from a stream")
        self._is_begun = True
        if not reply.items and not reply.done():
            await self._arrival()
        if reply.items:
            value, credit = reply.pop()
            if credit:
                reply.give(credit)
            return value
        if not self._is_over:
            self._is_over = True
            error = None if reply.cancelled() else reply.exception()
            if error is not None:
                raise error
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the stream at once; a second call does nothing. It does not wait for the generator's end."""
        self._owner.check()
        reply = self._reply
        self._is_over = True
        reply.items.clear()
        if not reply.cancel():
            forgive(reply)

    async def _arrival(self) -> None:
        """Wait for an item, or the end."""
        reply = self._reply
        reply.getter = reply.get_loop().create_future()
        try:
            await reply.getter
        except asyncio.CancelledError:
            reply.cancel()
            raise
        finally:
            reply.getter = None

    def __del__(self) -> None:
        reply = self._reply
        if not reply.done():
            # A finaliser runs in any thread, so it only posts to the loop, which may have been closed meanwhile.
            with suppress(RuntimeError):
                reply.get_loop().call_soon_threadsafe(reply.cancel)
        elif self._is_begun:
            forgive(reply)


def forgive(reply: StreamReply) -> None:
    """Let an error go that nobody will ask for."""
    if not reply.cancelled():
        reply.exception()
