"""Stands before the router for renderers with a role: what that does not grant goes nowhere, and is told.

It looks at headers and channels only; no body is decoded for what is refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from mainbus.errors import PermissionDenied
from mainbus.wire import clone
from mainbus.wire.fragments import stream_of
from mainbus.wire.packets import BY_NAME, CONTINUES, HEADER_SIZE, MAIN, MORE, Head, Kind, build, text_of

from mainbus_broker import forwards
from mainbus_broker.lane_end import NO_LANE

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer

TOLD: Final = 64
"""Refusals of one renderer that are logged, each verb and channel once; further ones are counted."""

VERBS: Final[dict[int, tuple[str, str]]] = {
    Kind.SEND: ("send", "send_to"),
    Kind.POST: ("send", "send_to"),
    Kind.SYNC: ("send", "send"),
    Kind.INVOKE: ("invoke", "send_to"),
    Kind.STREAM: ("invoke", "send_to"),
    Kind.BROADCAST: ("broadcast", "broadcast"),
    Kind.QUERY: ("monitor", "monitor"),
}
"""The verb of each kind that names a channel: to the main process, and to another renderer."""

CALLS: Final = frozenset({int(Kind.INVOKE), int(Kind.STREAM), int(Kind.QUERY)})
_TO_MAIN: Final = frozenset({int(Kind.SYNC), int(Kind.QUERY)})
_OPEN_QUERIES: Final = frozenset({b"peers", b"granted"})
"""Queries that everybody may make; what a role may not see is not in the answer."""

log = logging.getLogger("mainbus.broker")


class Gate:
    """What the renderers of one broker are refused.

    Args:
        hub: The broker.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    # Public

    def serve(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        """Serve one packet of a renderer with a role, if that grants it."""
        kind, flags = head[1], head[2]
        verbs = VERBS.get(kind)
        if verbs is None:
            self._hub.router.serve(peer, head, data, at)
            return
        to_main = kind in _TO_MAIN or (kind != Kind.BROADCAST and not head[5] and not head[3])
        if flags & CONTINUES:
            if to_main and peer.streams and (MAIN, b"", stream_of(kind, flags)) in peer.streams:
                forwards.rest(peer, head, b"")
            else:
                self._hub.router.serve(peer, head, data, at)
            return
        assert peer.policy is not None
        verb = verbs[0] if to_main else verbs[1]
        channel = _channel(head, data, at)
        if kind == Kind.QUERY:
            granted = channel in _OPEN_QUERIES or peer.policy.may_look
        else:
            granted = peer.policy.allows(verb, channel)
        if granted:
            self._hub.router.serve(peer, head, data, at)
        else:
            self._refuse_whole(peer, head, data, at, verb, to_main)

    def takes(self, target: Peer, head: Head, data: bytes, at: int) -> bool:
        """Tell whether a renderer may get what a packet begins."""
        return target.policy is None or target.policy.allows(_received(head[1]), _channel(head, data, at))

    def refuse(self, peer: Peer, target: Peer, head: Head, data: bytes, at: int) -> None:
        """Tell a sender that its target may not get this."""
        verb = _received(head[1])
        self._note(target, verb, _channel(head, data, at))
        self._tell(peer, head, data, at, verb)

    def check(self, target: Peer, verb: str, channel: bytes) -> None:
        """Check that a renderer may get something from the main process.

        Raises:
            PermissionDenied: Its role does not grant that.
        """
        if target.policy is not None and not target.policy.allows(verb, channel):
            self._note(target, verb, channel)
            raise PermissionDenied(verb, text_of(channel))

    # Private

    def _refuse_whole(self, peer: Peer, head: Head, data: bytes, at: int, verb: str, to_main: bool) -> None:
        """Refuse a message, or the first fragment of one: then the rest goes nowhere, too."""
        name_end = at + HEADER_SIZE + head[3]
        name = data[at + HEADER_SIZE : name_end]
        if head[2] & MORE:
            if not forwards.begin(peer, head, name, (), peer.limits.unfinished):
                return
        elif not to_main and peer.streams and forwards.is_inside(peer, head, None):
            return
        if head[1] == Kind.POST and head[8] and to_main:
            self._hub.router.drop_ports(peer, head, data, at)
        self._note(peer, verb, _channel(head, data, at))
        self._tell(peer, head, data, at, verb)

    def _tell(self, peer: Peer, head: Head, data: bytes, at: int, verb: str) -> None:
        _, kind, flags, name_length, channel_length, target, request, _, _ = head
        name_end = at + HEADER_SIZE + name_length
        channel = data[name_end : name_end + channel_length]
        error = PermissionDenied(verb, text_of(channel))
        if kind == Kind.SYNC:
            lane = peer.lane or NO_LANE
            lane.expect(request, text_of(channel))
            lane.answer(request, (Kind.ERROR, error.wire_code, clone.encode(str(error))))
        elif kind in CALLS:
            body = clone.encode(str(error))
            self._hub.router.tell(peer, build(Kind.ERROR, target, request, value=error.wire_code, body=body))
        else:
            name = data[at + HEADER_SIZE : name_end]
            self._hub.router.tell(
                peer,
                build(
                    Kind.UNDELIVERABLE,
                    target,
                    flags=flags & BY_NAME,
                    name=name,
                    channel=channel,
                    body=str(error).encode(),
                ),
            )

    def _note(self, peer: Peer, verb: str, channel: bytes) -> None:
        """Count a refusal, and log it if it is the first of its kind."""
        self._hub.counters["denied"] += 1
        told = peer.refusals
        assert told is not None
        if (verb, channel) in told or len(told) > TOLD:
            return
        told.add((verb, channel))
        if len(told) > TOLD:
            log.warning(
                "denied %s (role %s): %d verbs and channels so far, more are counted", peer.label, peer.role, TOLD
            )
        else:
            log.warning("denied %s (role %s): %s on %r", peer.label, peer.role, verb, text_of(channel))


def _received(kind: int) -> str:
    return "handle" if kind in CALLS else "listen"


def _channel(head: Head, data: bytes, at: int) -> bytes:
    start = at + HEADER_SIZE + head[3]
    return data[start : start + head[4]]
