"""The producer of a stream: drives what a handler has returned, on the credit of whoever takes the items.

One plain asyncio task drives a generator from its first step to `aclose()`. It is cancelled by exactly one `cancel()`,
which strikes where the task stands: inside the generator, at an await of its own, as CancelledError; or here, while the
generator stands still at a `yield` for want of credit, and is then closed, which it sees as GeneratorExit. Either way
it may await in its `finally`: nothing is cancelled twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from inspect import isawaitable
from typing import Any, NoReturn

from mainbus.wire.credit import Sending


class Producer:
    """One open stream.

    Args:
        loop: The loop it runs on.
        put: Sends one item; returns the bytes of its body, or raises why it cannot be sent.
    """

    __slots__ = ("_loop", "_put", "_sending", "_waiter", "cancelled", "late", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop, put: Callable[[Any], int]) -> None:
        self.task: asyncio.Task[Any] | None = None
        """What drives it; None until it has made its first step, and for ever where that was the last."""
        self.cancelled = False
        self.late = False
        """Whether it was cancelled because the deadline has passed."""
        self._loop = loop
        self._put = put
        self._sending = Sending()
        self._waiter: asyncio.Future[None] | None = None

    # Public

    def start(self, task: asyncio.Task[Any], result: object) -> None:
        """Take the task that drives it, and what the handler has returned to it."""
        self.task = task
        if isinstance(result, Coroutine):
            # A task that is cancelled before its first step never gets to it.
            task.add_done_callback(lambda _: result.close())
        if self.cancelled:
            # In its own first step.
            task.cancel()

    @property
    def used(self) -> int:
        """What was sent and not credited, in bytes."""
        return self._sending.used

    def cancel(self) -> None:
        """End it, once."""
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()

    def credited(self, credit: int) -> None:
        """Let it go on with items of `credit` more bytes."""
        self._sending.credited(credit)
        if self._waiter is not None and self._sending.may_send and not self._waiter.done():
            self._waiter.set_result(None)

    def put(self, item: object) -> None:
        """Send an item."""
        self._sending.sent(self._put(item))

    async def run(self, result: object) -> None:
        """Send what a handler has returned: the items of an async generator, or the one result of any other."""
        if isawaitable(result):
            result = await result
        if isinstance(result, AsyncGenerator):
            await self._drive(result)
        else:
            self.put(result)

    # Private

    async def _drive(self, generator: AsyncGenerator[Any, Any]) -> None:
        try:
            while True:
                if not self._sending.may_send:
                    await self._credit()
                self._check()
                try:
                    item = await anext(generator)
                except StopAsyncIteration:
                    break
                # One that was cancelled and yields all the same.
                self._check()
                self.put(item)
        finally:
            await generator.aclose()
        # One that was cancelled and returned has not sent all that it had: nobody may take this for the end.
        self._check()

    async def _credit(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _check(self) -> None:
        if self.cancelled:
            raise asyncio.CancelledError


async def refuse_generator(generator: AsyncGenerator[Any, Any], text: str) -> NoReturn:
    """Close a generator that nobody can take items from, and say so.

    Raises:
        TypeError: Always.
    """
    await generator.aclose()
    raise TypeError(text)
