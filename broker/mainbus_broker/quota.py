"""How much may everybody together hold, and one user of it: connections, and those that have not said who they are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mainbus.errors import TooManyRequests
from mainbus.open_files import has_files, most_files

from mainbus_broker.listeners import Process, same_user

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub

log = logging.getLogger("mainbus.broker")


class Quota:
    """What is counted for more than one renderer. What one may hold is its own registries' to count.

    Args:
        hub: The broker.
    """

    __slots__ = ("_hub", "_refused")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._refused = 0
        """Connections refused since the last one that was let in."""

    def no_entrance(self, process: Process, fd: int = -1) -> TooManyRequests | None:
        """Return why a connection that has just been made is one too many; None: it is not.

        Args:
            process: The other end.
            fd: Its descriptor: the lowest that was free, so it tells how many there are.
        """
        crowd = self._crowd(process, fd)
        if crowd is not None:
            # One line for them all: they come as long as there are too many, again and again.
            if not self._refused:
                log.warning("refusing connections, now of pid %d: %s", process.pid, crowd)
            self._refused += 1
        elif self._refused:
            log.info("letting connections in again, after %d refusals", self._refused)
            self._refused = 0
        return crowd

    def no_room(self, process: Process, *, again: bool) -> TooManyRequests | None:
        """Return why a renderer is one too many; None: it is not. `again`: its former connection is being closed."""
        limits = self._hub.config.limits
        # Those that leave hold their last bytes for a moment.
        if len(self._hub.renderers) + len(self._hub.leaving) - again >= limits.connections:
            return TooManyRequests(limits.connections, "The number of renderers")
        # Compared first, here and below: who somebody is has to be asked of the system.
        limit = limits.user_connections
        if len(self._hub.renderers) < limit or same_user(process):
            return None
        if sum(peer.process.uid == process.uid for peer in self._hub.renderers) >= limit:
            return TooManyRequests(limit, f"The number of renderers of uid {process.uid}")
        return None

    # Private

    def _crowd(self, process: Process, fd: int) -> TooManyRequests | None:
        if not has_files(fd):
            return TooManyRequests(most_files(), "The number of open files")
        limit = self._hub.config.limits.entering
        entering = self._hub.entering
        if len(entering) >= limit:
            return TooManyRequests(limit, "The number of connections without a hello")
        limit //= 2
        if len(entering) < limit or same_user(process):
            return None
        if sum(other.uid == process.uid for other in entering.values()) >= limit:
            return TooManyRequests(limit, f"The number of connections of uid {process.uid} without a hello")
        return None
