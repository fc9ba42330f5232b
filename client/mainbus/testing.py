"""A broker and renderers on one loop, without a socket: for tests of programs that use mainbus.

The one module of this package that imports the broker.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from mainbus_broker import Broker, Config, IpcMain
from mainbus_broker.peer import Peer

from mainbus.errors import MainbusError
from mainbus.renderer import IpcRenderer
from mainbus.renderer import connect as _connect

_numbers: Final = itertools.count(1)

_QUIET_TURNS: Final = 8
"""Turns of the loop in which nothing moves before everything counts as dispatched: what a message has caused (a task's
first step, its last, the callbacks behind it) shows within fewer."""

_PATIENT_TURNS: Final = 1000
_PAUSE: Final = 0.001


@asynccontextmanager
async def broker(ipc_main: IpcMain | None = None, config: Config | None = None) -> AsyncIterator[Bus]:
    """Start a broker at a `memory:` address of its own; at the end its renderers are closed and it is stopped.

    Args:
        ipc_main: The listeners and handlers of the main process; a fresh `IpcMain` if None.
        config: Limits and times; the defaults if None.

    Returns:
        An async context manager of a `Bus`.
    """
    async with Broker(f"memory:testing-{os.getpid()}-{next(_numbers)}", ipc_main=ipc_main, config=config) as running:
        bus = Bus(running)
        try:
            yield bus
        finally:
            await bus.disconnect()


class Bus:
    """A broker for tests, and the renderers that were connected through it. Made by `broker`.

    Attributes:
        broker: The `Broker`.
        ipc_main: Its `IpcMain`.
        address: Where further renderers can connect, from every thread of this process, as with `mainbus.blocking`.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.ipc_main = broker.ipc_main
        (self.address,) = broker.addresses
        self._renderers: list[IpcRenderer] = []

    async def connect(
        self, name: str | None = None, *, token: str | None = None, reconnect: bool = True
    ) -> IpcRenderer:
        """Return a renderer that is open and is closed with the bus. Arguments as in `mainbus.connect`.

        Args:
            name: Its name, or None.
            token: A token that the broker gave out, or None.
            reconnect: Whether to come back when the connection is lost.

        Raises:
            NameTaken: Another renderer has the name.
            ConnectRefused: The broker has been stopped.
        """
        renderer = await _connect(self.address, name=name, token=token, reconnect=reconnect)
        self._renderers.append(renderer)
        return renderer

    async def settle(self) -> None:
        """Wait until every message sent so far, and those that its listeners send, has been handed to its listeners.

        Plain listeners and handlers have returned then; coroutines have gone as far as they can without anything but
        the bus. One that sleeps, works in a thread or waits for an event of its own is not waited for. It waits while
        messages do: those of a sender of whom as many coroutines run as may. Safe to cancel.
        """
        quiet = turns = 0
        while quiet < _QUIET_TURNS:
            turns += 1
            await asyncio.sleep(0 if turns < _PATIENT_TURNS else _PAUSE)
            quiet = quiet + 1 if self._is_quiet() else 0

    async def disconnect(self) -> None:
        """Close the renderers, the latest first."""
        while self._renderers:
            await self._renderers.pop().aclose()

    def _is_quiet(self) -> bool:
        hub = self.broker._hub
        if hub is not None and not all(_is_served(peer) for peer in hub.renderers):
            return False
        return all(_is_clear(renderer) for renderer in self._renderers)


# A test kit sees inside: with every end on one loop, it can tell what is under way.


def _is_served(peer: Peer) -> bool:
    """Whether the broker has nothing to do for a renderer, nor that one anything to read."""
    return peer.inbox.quiet and not peer.wire.backlog and peer.outbox.idle and not peer.outbox.held


def _is_clear(renderer: IpcRenderer) -> bool:
    """Whether a renderer has dispatched what has arrived, and all that it has sent has reached the broker."""
    session = renderer._session
    if session is None:
        return True
    try:
        session.check()
    except MainbusError:
        return True  # closed, or lost for good
    return renderer._arrivals.is_clear and session.outbox.idle and not session.outbox.held
