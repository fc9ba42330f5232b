"""How much may everybody together hold, and one user of it: connections, and those that have not said who they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mainbus.errors import TooManyRequests

from mainbus_broker.listeners import Process, same_user

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub


class Quota:
    """What is counted for more than one renderer. What one may hold is its own registries' to count.

    Args:
        hub: The broker.
    """

    __slots__ = ("_hub", "_lingering")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lingering: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        """Connections of renderers that are gone, which have not read their last bytes."""

    def __len__(self) -> int:
        return len(self._lingering)

    def close(self, transport: asyncio.Transport) -> None:
        """Close a connection once its last bytes were read; it counts, and has as much time as one before its hello."""
        unread = transport.get_write_buffer_size()
        transport.close()
        if unread:
            limits = self._hub.config.limits
            later = self._hub.loop.call_later(limits.handshake_timeout, self._give_up, transport)
            self._lingering[transport] = later

    def closed(self, transport: asyncio.Transport) -> None:
        """Note that a connection is gone."""
        timer = self._lingering.pop(transport, None)
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Give up all that linger."""
        for transport in list(self._lingering):
            self._give_up(transport)

    def no_entrance(self, process: Process) -> TooManyRequests | None:
        """Return why a connection that has just been made is one too many; None: it is not."""
        limit = self._hub.config.limits.entering
        entering = self._hub.entering
        if len(entering) >= limit:
            return TooManyRequests(limit, "The number of connections without a hello")
        if not same_user(process) and sum(other.uid == process.uid for other in entering) >= limit // 2:
            return TooManyRequests(limit // 2, f"The number of connections of uid {process.uid} without a hello")
        return None

    def no_room(self, process: Process) -> TooManyRequests | None:
        """Return why a renderer is one too many; None: it is not."""
        limits = self._hub.config.limits
        if len(self._hub.renderers) + len(self._lingering) >= limits.connections:
            return TooManyRequests(limits.connections, "The number of renderers")
        if not same_user(process):
            limit = limits.user_connections
            if sum(peer.process.uid == process.uid for peer in self._hub.renderers) >= limit:
                return TooManyRequests(limit, f"The number of renderers of uid {process.uid}")
        return None

    def _give_up(self, transport: asyncio.Transport) -> None:
        self.closed(transport)
        transport.abort()
