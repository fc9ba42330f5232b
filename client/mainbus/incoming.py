"""Messages of one channel as an async iterator."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from mainbus.errors import LocalProtocolError
from mainbus.registration import Registration


class Mailbox:
    """Messages that wait to be taken. It knows nothing of its iterator, so that one can be dropped and be noticed.

    Args:
        max_queue: Messages that may wait; then their senders do.
    """

    __slots__ = ("__weakref__", "_getter", "_max", "_messages", "_putters", "closed", "registration")

    def __init__(self, max_queue: int) -> None:
        if max_queue < 1:
            raise ValueError(f"Expected max_queue to be at least 1, but found {max_queue}")
        self.registration: Registration | None = None
        self.closed = False
        self._max = max_queue
        self._messages: deque[tuple[Any, ...]] = deque()
        self._putters: deque[tuple[asyncio.Future[None], tuple[Any, ...]]] = deque()
        self._getter: asyncio.Future[None] | None = None

    def put(self, *message: Any) -> Any:
        """Take a message, at once or, while it is full, as an awaitable that the sender's order waits for."""
        if self.closed:
            # Its delivery had begun before: nobody would ever make room for it.
            return None
        if len(self._messages) < self._max and not self._putters:
            self._append(message)
            return None
        putter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._putters.append((putter, message))
        return putter

    async def take(self) -> tuple[Any, ...] | None:
        """Wait for the next message; None at the end."""
        if self._getter is not None:
            raise LocalProtocolError("one task at a time may take from listen()")
        while not self._messages:
            if self.closed:
                return None
            self._getter = asyncio.get_running_loop().create_future()
            try:
                await self._getter
            finally:
                self._getter = None
        message = self._messages.popleft()
        if self._putters:
            self._take_in()
        return message

    def close(self) -> None:
        """Take no more messages; those that wait may still be taken."""
        if self.registration is not None:
            self.registration.cancel()
        self.closed = True
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)
        while self._putters:
            self._take_in()

    def _append(self, message: tuple[Any, ...]) -> None:
        self._messages.append(message)
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)

    def _take_in(self) -> None:
        """Let in the first that waits; here and not in its own task, so that nothing comes in between."""
        putter, message = self._putters.popleft()
        self._append(message)
        if not putter.done():
            putter.set_result(None)


class Incoming:
    """What `listen` returns: messages wait here until they are taken, and their senders wait when it is full.

    `aclose` or dropping it ends the listening; so does the end of the renderer, after what waits.

    Args:
        mailbox: Where the messages are put.
        post: Makes a call on the loop of the mailbox, from any thread.
    """

    __slots__ = ("_mailbox", "_post")

    def __init__(self, mailbox: Mailbox, post: Callable[[Callable[[], None]], None]) -> None:
        self._mailbox = mailbox
        self._post = post

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Any, ...]:
        message = await self._mailbox.take()
        if message is None:
            raise StopAsyncIteration
        return message

    async def aclose(self) -> None:
        """End the iteration and listen no longer; what waits is still taken."""
        self._mailbox.close()

    def __del__(self) -> None:
        # Left by a bare `break`, say. A finaliser runs in any thread, so it only posts to the loop.
        if not self._mailbox.closed:
            self._post(self._mailbox.close)
