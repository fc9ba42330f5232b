"""Large messages on their way from one renderer to others: where the rest of each goes. The router asks here.

Receivers join fragments by who sent them and by stream, so no two messages of one stream may be under way to the same
renderer, and none may grow beyond the limit: the receiver would be the one to fail. All of it is the sender's fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from mainbus.wire import heap
from mainbus.wire.fragments import Progress, not_finished, stream_of, without_first
from mainbus.wire.packets import CHUNKS, HEADER_SIZE, MORE, Head, Kind

if TYPE_CHECKING:
    from mainbus_broker.peer import Peer

Key: TypeAlias = tuple[int, bytes, int]
"""What fragments are addressed to: id, name and stream."""


class Forward(Progress):
    """One message of which fragments are missing."""

    __slots__ = ("keys", "targets")

    def __init__(self, head: Head, keys: Iterable[Key], targets: Sequence[Peer]) -> None:
        super().__init__(head[1], head[6], _size(head))
        self.keys = keys
        """What leads to it: how it is addressed, and whom that means."""
        self.targets = targets
        """Who gets the rest; nobody, once it was refused."""


def begin(peer: Peer, head: Head, name: bytes, targets: Sequence[Peer], limit: int) -> bool:
    """Note where the rest of a message goes whose first fragment this is; False if it may not begin.

    Args:
        peer: Its sender.
        head: The first fragment's header.
        name: Whom it is addressed to, if not by id.
        targets: Who gets it.
        limit: Messages that one sender may have begun and not finished.
    """
    stream = stream_of(head[1], head[2])
    keys = {_address(head, name, stream)}
    if head[1] != Kind.BROADCAST:
        keys.update((target.id, b"", stream) for target in targets)
    if peer.streams is None:
        peer.streams = {}
    if not keys.isdisjoint(peer.streams):
        peer.wire.fail(not_finished(head[1]))
        return False
    if peer.unfinished >= limit:
        peer.wire.fail(f"more than {limit} messages that are not finished")
        return False
    heap.expect(CHUNKS)
    peer.unfinished += 1
    peer.streams.update(dict.fromkeys(keys, Forward(head, keys, targets)))
    return True


def refuse(peer: Peer, head: Head, name: bytes) -> None:
    """Let the rest of a message that has begun go nowhere."""
    assert peer.streams is not None
    peer.streams[_address(head, name, stream_of(head[1], head[2]))].targets = ()


def rest(peer: Peer, head: Head, name: bytes) -> Sequence[Peer]:
    """Return who gets a fragment that continues a message."""
    kind, flags = head[1], head[2]
    streams = peer.streams or {}
    forward = streams.get(_address(head, name, stream_of(kind, flags)))
    if forward is None:
        peer.wire.fail(without_first(kind))
        return ()
    fault = forward.fault(kind, head[6], _size(head), peer.wire.max_message)
    if fault is not None:
        peer.wire.fail(fault)
        return ()
    if not flags & MORE:
        peer.unfinished -= 1
        for key in forward.keys:
            del streams[key]
    return forward.targets


def is_inside(peer: Peer, head: Head, target: Peer | None) -> bool:
    """Tell whether a whole message stands inside another one of its stream, and fail its sender then."""
    key = (target.id if target is not None else 0, b"", stream_of(head[1], head[2]))
    if peer.streams and key in peer.streams:
        peer.wire.fail(not_finished(head[1]))
        return True
    return False


def _address(head: Head, name: bytes, stream: int) -> Key:
    return (0 if head[1] == Kind.BROADCAST else head[5], name, stream)


def _size(head: Head) -> int:
    return head[0] - HEADER_SIZE - head[3] - head[4]
