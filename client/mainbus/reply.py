"""The promise of an invoke's result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from mainbus.routes import Route


class Reply(asyncio.Future[Any]):
    """What `invoke` returns: the request has left, or waits in its place; the result can be awaited, or not.

    It is a future of the running loop and counts as a coroutine, so that it can be awaited (once or more), cancelled,
    and given to `asyncio.create_task`, `TaskGroup.create_task`, `gather`, `wait_for` and anyio's `start_soon`.
    Cancelling it, or a task that awaits it, cancels the handler at the other end. An error that nobody retrieved
    is logged, as asyncio does for futures.

    Attributes:
        channel: The channel that was invoked.
        timeout: Seconds, or None.
    """

    __slots__ = ("_on_cancel", "channel", "is_answered", "request", "route", "timeout")

    has_value: ClassVar = True
    """Whether the answer has the result; that of a stream only ends it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        channel: str,
        request: int,
        route: Route,
        timeout: float | None,
        on_cancel: Callable[[Reply], None],
    ) -> None:
        super().__init__(loop=loop)
        self.channel = channel
        self.request = request
        self.route = route
        self.timeout = timeout
        self.is_answered = False
        """Whether the answer is there, and waits for its turn."""
        self._on_cancel = on_cancel

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the invoke; False if it has its outcome already. The handler is cancelled too.

        Args:
            msg: What `asyncio.Future.cancel` takes.

        Returns:
            Whether it was cancelled by this call.
        """
        if not super().cancel(msg):
            return False
        self._on_cancel(self)
        return True

    def answered(self) -> None:
        """Give back what the request has cost."""
        self.route.answered()

    def give_up(self, error: BaseException) -> None:
        """Have an error for an outcome, unless there is one already, and cancel the invoke."""
        if not self.done():
            self.set_exception(error)
            self._on_cancel(self)

    # What makes it a coroutine: to each task that drives it, it is the one future that the task waits for.

    def send(self, value: Any, /) -> Any:
        """Advance to the next suspension, as a task does with a coroutine."""
        if self.done():
            raise StopIteration(self.result())
        self._asyncio_future_blocking = True
        return self

    def throw(self, *args: Any) -> Any:
        """Raise an exception where a task waits for this reply; a cancellation cancels the invoke too."""
        error = args[1] if len(args) > 1 and args[1] is not None else args[0]
        if isinstance(error, type):
            error = error()
        if isinstance(error, asyncio.CancelledError):
            # A task that was cancelled before its first step has not waited for this future yet.
            self.cancel()
        raise error

    def close(self) -> None:
        """Do nothing: the invoke goes on, whoever has given up waiting for it."""


Coroutine.register(Reply)
