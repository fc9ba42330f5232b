"""Guest: a renderer as its host has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mainbus.channels import Channels, check_channel
from mainbus.emitter import Emitter
from mainbus.errors import ObjectDestroyedError
from mainbus.hosting import EVENTS, GuestState
from mainbus.verbs import encode
from mainbus.wire.packets import HOST, Kind

if TYPE_CHECKING:
    from mainbus.renderer import IpcRenderer


class Guest:
    """A guest of this renderer, which is its host (Electron's `<webview>`). Made by `create_guest`.

    A guest whose connection is lost may come back: it is the same object then, with another `id`.
    """

    __slots__ = ("_renderer", "_state", "_waiters")

    def __init__(self, renderer: IpcRenderer, number: int, name: str | None) -> None:
        self._renderer = renderer
        self._state = GuestState(number, name, self, Channels(), Emitter(EVENTS), self._wake)
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

    async def ready(self) -> None:
        """Wait until it is connected. Safe to cancel.

        Raises:
            ObjectDestroyedError: It has left, or was closed meanwhile.
        """
        self._renderer._check_thread()
        while self._state.id is None:
            if self._state.is_over:
                raise ObjectDestroyedError
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def send(self, channel: str, *args: object) -> None:
        """Send a message to it, which it takes as from the main process; returns at once. As `IpcRenderer.send`.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            LocalProtocolError: It is not connected; `ready` waits until it is.
            ObjectDestroyedError: It has left, or was closed.
        """
        session = self._renderer._checked()
        raw, body = check_channel(channel), encode(session, args)
        session.send(Kind.SEND, self._state.address(), None, raw, body, flags=HOST)

    def close(self) -> None:
        """Have it as a guest no more: its token counts for nothing, and if it is connected it has no host from now on.

        It stays connected as a renderer. A second call does nothing.
        """
        if not self._state.is_over:
            session = self._renderer._checked()
            session.hosting.let_go(session, self._state)

    # Public: events

    def on(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function with every "ipc-message" (an `IpcMessageEvent`), "ready" or "destroyed" (no arguments).

        Args:
            event: "ipc-message": it has sent something by `send_to_host`; "ready": it has connected; "destroyed": it
                is gone, and comes back only if its connection was lost.
            fn: The listener; without one this is a decorator, with one it returns a `Registration`.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: No such event.
        """
        self._renderer._check_thread()
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
        self._renderer._check_thread()
        return self._state.on(event, fn, once=True)

    def off(self, event: str, fn: Callable[..., object]) -> None:
        """Take out the latest registration of a function.

        Args:
            event: The event's name, as in `on`.
            fn: The listener; of one that is not registered nothing happens.

        Raises:
            ValueError: No such event.
        """
        self._renderer._check_thread()
        self._state.off(event, fn)

    add_listener = on
    remove_listener = off

    # Private

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
