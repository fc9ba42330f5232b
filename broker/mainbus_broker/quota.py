"""How much may everybody together hold, and one user of it: connections, and those that have not said who they are."""

from __future__ import annotations

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

    __slots__ = ("_hub",)

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def no_entrance(self, process: Process) -> TooManyRequests | None:
        """Return why a connection that has just been made is one too many; None: it is not."""
        limit = self._hub.config.limits.entering
        entering = self._hub.entering
        if len(entering) >= limit:
            return TooManyRequests(limit, "The number of connections without a hello")
        if not same_user(process) and sum(other.uid == process.uid for other in entering) >= limit // 2:
            return TooManyRequests(limit // 2, f"The number of connections of uid {process.uid} without a hello")
        return None

    def no_room(self, process: Process, *, again: bool) -> TooManyRequests | None:
        """Return why a renderer is one too many; None: it is not. `again`: its former connection is being closed."""
        limits = self._hub.config.limits
        # Those that leave hold their last bytes for a moment.
        if len(self._hub.renderers) + len(self._hub.leaving) - again >= limits.connections:
            return TooManyRequests(limits.connections, "The number of renderers")
        if not same_user(process):
            limit = limits.user_connections
            if sum(peer.process.uid == process.uid for peer in self._hub.renderers) >= limit:
                return TooManyRequests(limit, f"The number of renderers of uid {process.uid}")
        return None
