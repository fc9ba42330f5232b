"""Messages of one channel as an async iterator."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Self

from mainbus.errors import LocalProtocolError
from mainbus.registration import Registration


class Incoming:
    """What `listen` returns: messages wait here until they are taken, and their senders wait when it is full.

    Args:
        max_queue: Messages that may wait.
    """

    __slots__ = ("__weakref__", "_closed", "_getter", "_max", "_messages", "_putters", "registration")

    def __init__(self, max_queue: int) -> None:
        if max_queue < 1:
            raise ValueError(f"Expected max_queue to be at least 1, but found {max_queue}")
        self.registration: Registration | None = None
        self._max = max_queue
        self._messages: deque[tuple[Any, ...]] = deque()
        self._putters: deque[asyncio.Future[None]] = deque()
        self._getter: asyncio.Future[None] | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Any, ...]:
        if self._getter is not None:
            raise LocalProtocolError("one task at a time may take from listen()")
        while not self._messages:
            if self._closed:
                raise StopAsyncIteration
            self._getter = asyncio.get_running_loop().create_future()
            try:
                await self._getter
            finally:
                self._getter = None
        message = self._messages.popleft()
        while self._putters and len(self._messages) < self._max:
            putter = self._putters.popleft()
            if not putter.done():
                putter.set_result(None)
                break
        return message

    def put(self, *message: Any) -> Any:
        """Take a message, at once or, while it is full, as an awaitable that the sender's order waits for."""
        if len(self._messages) < self._max and not self._putters:
            self._append(message)
            return None
        return self._put_later(message)

    async def aclose(self) -> None:
        """End the iteration and listen no longer."""
        self.close()

    def close(self) -> None:
        """End the iteration: what waits is still taken."""
        self._closed = True
        if self.registration is not None:
            self.registration.cancel()
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)
        for putter in self._putters:
            if not putter.done():
                putter.set_result(None)

    def _append(self, message: tuple[Any, ...]) -> None:
        self._messages.append(message)
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)

    async def _put_later(self, message: tuple[Any, ...]) -> None:
        putter = asyncio.get_running_loop().create_future()
        self._putters.append(putter)
        await putter
        if not self._closed:
            self._append(message)
