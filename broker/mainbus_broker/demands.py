"""Demands: the credit that renderers give for streams. It is passed on only while they read what they are sent.

Who gives credit says that it has taken items. One that says so and leaves the items unread would make the broker
queue ever more for it, so above the high-water mark its credit waits until its queue is low: then what one renderer
can have waiting for it is bounded by the number of its streams, whatever it claims.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainbus.wire.packets import Kind, build

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer


class Demands:
    """Credit that waits, by who has given it and request.

    Args:
        hub: The broker whose streams these are.
    """

    __slots__ = ("_held", "_hub")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._held: dict[Peer, dict[int, int]] = {}

    def __len__(self) -> int:
        return len(self._held)

    # Public

    def give(self, peer: Peer, request: int, credit: int) -> None:
        """Let a stream that a renderer has asked for go on, now or when it has read more."""
        used = self._used(peer, request)
        if used is None or not credit:
            # It has ended meanwhile.
            return
        held = self._held.get(peer)
        waits = held.get(request, 0) if held else 0
        if credit > used - waits:
            peer.wire.fail(f"gave credit for items of request {request} that it never had")
        elif held is None and _unread(peer) <= self._hub.config.limits.high:
            self._pass_on(peer, request, credit)
        else:
            self._held.setdefault(peer, {})[request] = waits + credit
            self._hub.flow.watch(peer)

    def release(self, peer: Peer) -> None:
        """Pass on what waits, if the renderer has read enough."""
        if peer not in self._held:
            return
        if _unread(peer) > self._hub.config.limits.low:
            self._hub.flow.watch(peer)
            return
        for request, credit in self._held.pop(peer).items():
            self._pass_on(peer, request, credit)

    def forget(self, peer: Peer) -> None:
        """Drop what a renderer that is gone has given."""
        self._held.pop(peer, None)

    # Private

    def _used(self, peer: Peer, request: int) -> int | None:
        """Return what a stream has used of its credit; None if there is none."""
        replies = self._hub.replies
        if replies.callee(peer, request) is None:
            return self._hub.main.used(peer, request)
        stream = replies.streams.get(peer, request)
        return stream.used if stream is not None else None

    def _pass_on(self, peer: Peer, request: int, credit: int) -> None:
        callee = self._hub.replies.callee(peer, request)
        if callee is None:
            self._hub.main.demand(peer, request, credit)
            return
        stream = self._hub.replies.streams.get(peer, request)
        if stream is not None:
            stream.credited(credit)
            callee.outbox.put(build(Kind.DEMAND, peer.id, request, value=credit))


def _unread(peer: Peer) -> int:
    """Return the bytes that a renderer could have read; it may have asked for the rest of its route to wait."""
    return peer.outbox.queued + peer.route.owed
