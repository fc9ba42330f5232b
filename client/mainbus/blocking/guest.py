"""BlockingGuest: a renderer as its host has it, where the host is a blocking one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mainbus.blocking.registry import LockedChannels, LockedEmitter
from mainbus.blocking.waiter import Waiter
from mainbus.errors import ObjectDestroyedError
from mainbus.hosting import EVENTS, GuestState
from mainbus.session import Session
from mainbus.timeouts import check_timeout
from mainbus.wire.packets import HOST, Kind

if TYPE_CHECKING:
    from mainbus.blocking.renderer import BlockingRenderer


class BlockingGuest:
    """A `Guest` for threads. Made by `create_guest`. Its listeners run where those of the renderer do."""

    __slots__ = ("_renderer", "_session", "_state", "_waiters")

    def __init__(self, renderer: BlockingRenderer, session: Session, number: int, name: str | None) -> None:
        self._renderer = renderer
        self._session = session
        self._state = GuestState(number, name, self, LockedChannels(), LockedEmitter(EVENTS), self._wake)
        self._waiters: list[asyncio.Future[None]] = []

    # Public: what it is

    @property
    def token(self) -> str:
        """What makes a renderer this guest, once: `connect(token=...)`, or MAINBUS_TOKEN in its environment."""
        return self._state.token

    @property
    def name(self) -> str | None:
        """Its name, or the one that it will have; None as long as it is to choose, or has none."""
        return self._state.name

    @property
    def id(self) -> int | None:
        """Its id as a renderer, while it is connected."""
        return self._state.id

    def is_destroyed(self) -> bool:
        """Tell whether it has left for good, or was closed.

        Returns:
            True if it cannot come back.
        """
        return self._state.is_over

    # Public: verbs

    def ready(self, timeout: float | None = None) -> None:
        """Wait until it is connected.

        Args:
            timeout: Seconds to wait, or None.

        Raises:
            TimeoutError: It has not connected in time.
            ObjectDestroyedError: It has left, or was closed meanwhile.
        """
        session = self._renderer._waiting()
        check_timeout(timeout)
        wait = self._renderer._loop.wait
        wait(lambda waiter: waiter.follow(session.loop.create_task(self._until_ready(timeout))))

    def send(self, channel: str, *args: object) -> None:
        """Send a message to it, which it takes as from the main process; returns at once. As `BlockingRenderer.send`.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            LocalProtocolError: It is not connected; `ready` waits until it is.
            ObjectDestroyedError: It has left, or was closed.
        """
        self._renderer._checked()
        self._renderer._send(Kind.SEND, self._state.address(), channel, args, HOST)

    def close(self) -> None:
        """Have it as a guest no more: its token counts for nothing, and if it is connected it has no host from now on.

        It stays connected as a renderer. A second call does nothing.
        """
        if not self._state.is_over:
            self._renderer._waiting()
            self._renderer._loop.wait(self._let_go)

    # Public: events

    def on(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function with every "ipc-message", "ready" or "destroyed". As `Guest.on`.

        Args:
            event: "ipc-message", "ready" or "destroyed".
            fn: The listener; without one this is a decorator.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: No such event.
        """
        return self._state.on(event, fn)

    def once(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function with the next such event only. Else as `on`.

        Args:
            event: The event's name, as in `on`.
            fn: The listener; without one this is a decorator.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: No such event.
        """
        return self._state.on(event, fn, once=True)

    def off(self, event: str, fn: Callable[..., object]) -> None:
        """Take out the latest registration of a function.

        Args:
            event: The event's name, as in `on`.
            fn: The listener; of one that is not registered nothing happens.

        Raises:
            ValueError: No such event.
        """
        self._state.off(event, fn)

    add_listener = on
    remove_listener = off

    # Private: the reader thread

    def _let_go(self, waiter: Waiter) -> None:
        self._session.hosting.let_go(self._session, self._state)
        waiter.succeed(None)

    async def _until_ready(self, timeout: float | None) -> None:
        async with asyncio.timeout(timeout):
            while self._state.id is None:
                if self._state.is_over:
                    raise ObjectDestroyedError
                future: asyncio.Future[None] = self._session.loop.create_future()
                self._waiters.append(future)
                await future

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
