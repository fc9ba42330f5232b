"""Streams that were forwarded from renderer to renderer and have not ended, with the credit of each.

The broker keeps the account that both ends keep, so that neither can make it queue more than that for the other.
"""

from __future__ import annotations

from mainbus.wire.credit import Sending

from mainbus_broker.peer import Peer


class Streams:
    """Open streams by who takes the items, and request."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[Peer, dict[int, Sending]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def count(self, caller: Peer) -> int:
        """Return how many a renderer has open."""
        return len(self._open.get(caller, ()))

    def add(self, caller: Peer, request: int) -> None:
        """Note one that begins."""
        self._open.setdefault(caller, {})[request] = Sending()

    def get(self, caller: Peer, request: int) -> Sending | None:
        """Return the account of one, if it is open."""
        streams = self._open.get(caller)
        return streams.get(request) if streams else None

    def end(self, caller: Peer, request: int) -> None:
        """Drop one, if there is such a one."""
        streams = self._open.get(caller)
        if streams and streams.pop(request, None) and not streams:
            del self._open[caller]

    def forget(self, caller: Peer) -> None:
        """Drop all of a renderer."""
        self._open.pop(caller, None)
