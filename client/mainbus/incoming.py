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
        self._putters: deque[tuple[asyncio.Future[None], tuple[Any, ...]]] = deque()
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
        if self._putters:
            self._take_in()
        return message

    def put(self, *message: Any) -> Any:
        """Take a message, at once or, while it is full, as an awaitable that the sender's order waits for."""
        if len(self._messages) < self._max and not self._putters:
            self._append(message)
            return None
        putter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._putters.append((putter, message))
        return putter

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
