"""The renderers that are connected, by id, name and secret. An id is never used again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mainbus_broker.peer import Peer

LOST_KEPT: Final = 1024
"""Renderers that were lost with a role, and may come back; then the first one is forgotten."""


class Renderers:
    """A registry; whoever removes a peer removes all that leads to it."""

    __slots__ = ("_last", "_lost", "_secrets", "ids", "names", "names_raw", "restricted", "watchers")

    def __init__(self) -> None:
        self.ids: dict[int, Peer] = {}
        self.names: dict[str, Peer] = {}
        self.names_raw: dict[bytes, Peer] = {}
        """The same by UTF-8, as packets have it."""
        self.watchers: set[Peer] = set()
        """Those that want to know who joins and leaves."""
        self.restricted: set[Peer] = set()
        """Those that have a role with limits."""
        self._secrets: dict[bytes, Peer] = {}
        self._lost: dict[bytes, tuple[str, str | None]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self.ids.values()))

    def next_id(self) -> int:
        """Return an id that no renderer of this broker ever had."""
        self._last += 1
        return self._last

    def add(self, peer: Peer) -> None:
        """Make a peer known."""
        self.ids[peer.id] = peer
        self._secrets[peer.secret] = peer
        if peer.policy is not None:
            self.restricted.add(peer)
        if peer.name is not None:
            self.names[peer.name] = peer
            self.names_raw[peer.name_raw] = peer

    def remove(self, peer: Peer) -> None:
        """Forget a peer."""
        del self.ids[peer.id]
        del self._secrets[peer.secret]
        if peer.role is not None and not peer.said_goodbye:
            self._lost[peer.secret] = (peer.role, peer.name)
            if len(self._lost) > LOST_KEPT:
                del self._lost[next(iter(self._lost))]
        self.watchers.discard(peer)
        self.restricted.discard(peer)
        if peer.name is not None:
            del self.names[peer.name]
            del self.names_raw[peer.name_raw]

    def by_secret(self, secret: bytes | None) -> Peer | None:
        """Return the peer whose session has this secret."""
        # Looked up, not compared: a dict tells a guesser nothing about 16 random bytes.
        return self._secrets.get(secret) if secret is not None else None

    def lost(self, secret: bytes) -> tuple[str | None, str | None]:
        """Return role and name of a renderer that was lost with a role, for its one reconnect."""
        return self._lost.pop(secret, (None, None))
