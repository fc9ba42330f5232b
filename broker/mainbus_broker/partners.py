"""Sets of renderers, as each renderer has some: those who have no partner yet share one, since most are idle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from mainbus_broker.peer import Peer

NOBODY: Final[frozenset[Any]] = frozenset()
"""An empty set of one's own has 216 bytes."""

Peers: TypeAlias = "set[Peer] | frozenset[Peer]"
"""Renderers: a set of one's own, or `NOBODY`."""


def joined(peers: Peers, peer: Peer) -> Peers:
    """Return renderers with one more among them; a set of one's own is changed."""
    if isinstance(peers, frozenset):
        return {peer}
    peers.add(peer)
    return peers


def parted(peers: Peers, peer: Peer) -> Peers:
    """Return renderers without one of them; a set of one's own is changed."""
    if isinstance(peers, set):
        peers.discard(peer)
    return peers or NOBODY
