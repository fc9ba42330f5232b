"""The broker's end of a lane: a renderer's second connection, for calls that block its thread.

Packets on the main connection are numbered from 1. A lane's REPEAT says which numbers follow on the lane, and by
that, which ones must have come on the main connection before: they are in the kernel's buffer at worst. What else a
lane carries has, by ONCE, a number too: if its renderer gives the lane up, the same comes on the main connection.

What the renderer holds back for want of room comes on a lane all the same. So it is the lane that waits for room:
nothing but a call that blocks is behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mainbus.answers import Outcome
from mainbus.outbox import Outbox
from mainbus.routes import Route
from mainbus.wire import packets
from mainbus.wire.connection import Connection
from mainbus.wire.packets import HEADER_SIZE, MAIN, Head, Kind

from mainbus_broker.farewell import Farewell
from mainbus_broker.peer import Peer
from mainbus_broker.turns import TURN_BYTES, TURN_PACKETS

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub


class LaneEnd(asyncio.Protocol):
    """One lane.

    Args:
        hub: The broker.
        peer: The renderer whose lane it is.
        wire: The wire that has read the lane's first packet.
        transport: The lane's own connection.
    """

    def __init__(self, hub: Hub, peer: Peer, wire: Connection, transport: asyncio.Transport) -> None:
        self._hub = hub
        self._peer = peer
        self._wire = wire
        self._transport = transport
        self._outbox = Outbox(hub.loop, 0)
        self._route = Route(self._outbox, 0)
        self._next = 1
        self._repeats = 0
        self._once = 0
        self._held: tuple[Head, bytes, int] | None = None
        """A packet that waits for room."""
        self._scheduled = False
        self._reading = True
        self._calls: dict[int, str] = {}
        self._limits: dict[int, asyncio.TimerHandle] = {}

    # Public

    def start(self) -> None:
        """Serve what has arrived behind the first packet."""
        self._outbox.attach(self._transport)
        self._scan()

    @property
    def pending(self) -> int:
        """How many calls are to be answered here."""
        return len(self._calls)

    @property
    def held(self) -> int:
        """Bytes that have come and are not served, and that wait to be read."""
        return self._wire.held + self._outbox.size + self._outbox.held

    def look_again(self) -> None:
        """Look again whether what this lane waits for has come, or whether there is room now."""
        if (self._held is not None or self._wire.backlog) and not self._scheduled:
            self._scheduled = True
            self._hub.loop.call_soon(self._scan)

    def expect(self, request: int, channel: str) -> None:
        """Note a call that is to be answered here."""
        self._calls[request] = channel

    def answer(self, request: int, outcome: Outcome) -> None:
        """Answer a call, once."""
        if request in self._calls:
            self.forget(request)
            kind, value, body = outcome
            self._route.put(packets.message(kind, MAIN, request, body, value=value), HEADER_SIZE + len(body))
            self._hub.holdings.added(len(body))
            if self._outbox.size + self._route.size > self._peer.limits.backlog:
                self._hub.loop.call_soon(self._peer.close_slow)

    def limit(self, request: int, seconds: float, expire: Callable[[], None]) -> None:
        """Call `expire` if a call is not answered within `seconds`."""
        self._limits[request] = self._hub.loop.call_later(seconds, self._expire, expire)

    def forget(self, request: int) -> None:
        """Answer a call no more."""
        self._calls.pop(request, None)
        timer = self._limits.pop(request, None)
        if timer is not None:
            timer.cancel()

    def unanswered(self) -> list[tuple[int, str]]:
        """Return request and channel of the calls that wait for an answer."""
        return list(self._calls.items())

    def close(self) -> None:
        """End the lane; what was answered leaves if the renderer reads it."""
        self._forget_all()
        self._outbox.hand_over()
        self._outbox.detach()
        if not self._transport.is_closing():
            Farewell(self._hub, self._transport)

    def abandon(self) -> None:
        """End the lane, since its renderer has another one."""
        self._forget_all()
        self._transport.abort()

    # Callbacks

    def data_received(self, data: bytes) -> None:
        """Serve what has arrived."""
        self._hub.holdings.added(len(data))
        self._wire.feed(data)
        if not self._scheduled:
            self._scan()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the lane; the renderer itself goes on, and may open another."""
        self._outbox.detach()
        self._forget_all()
        if self._peer.lane is self:
            self._peer.lane = None

    def pause_writing(self) -> None:
        """Pass it on."""
        self._outbox.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._outbox.resume_writing()

    # Private

    def _expire(self, expire: Callable[[], None]) -> None:
        self._hub.counters["timeouts"] += 1
        expire()

    def _forget_all(self) -> None:
        for timer in self._limits.values():
            timer.cancel()
        self._limits.clear()
        self._calls.clear()

    @property
    def _waits(self) -> bool:
        """Whether packets that were sent before are still on their way on the main connection."""
        return self._peer.wire.received < self._next - 1 and self._peer.wire.skip < self._next - 1

    def _has_room(self, head: Head) -> bool:
        """Whether a packet for the main process would find room there."""
        limits, inbox = self._hub.config.limits, self._peer.inbox
        if head[1] == Kind.INVOKE and not head[5] and not head[3]:
            return inbox.size <= limits.high and len(inbox.handlers) + inbox.count < limits.running
        return inbox.size <= limits.high

    def _is_held_up(self) -> bool:
        return self._held is not None or self._waits

    def _scan(self) -> None:
        self._scheduled = False
        if self._is_over():
            return
        held, self._held = self._held, None
        if held is not None:
            self._serve(*held)
        if not self._is_held_up():
            for head, data, at in self._wire.packets(TURN_PACKETS, TURN_BYTES):
                self._serve(head, data, at)
                if self._is_held_up() or self._is_over():
                    break
        if self._is_over():
            return
        failure = self._wire.failure or self._peer.wire.failure
        if failure is not None:
            self._peer.close(f"on its lane: {failure}", blame=True)
            self._transport.abort()
            return
        self._read_on()

    def _is_over(self) -> bool:
        """Whether its renderer is gone, or has given it up for another one: that brings what was not served here."""
        return self._peer.closing or self._peer.lane is not self

    def _read_on(self) -> None:
        full = self._held is not None or self._wire.backlog
        if full == self._reading:
            self._reading = not full
            (self._transport.pause_reading if full else self._transport.resume_reading)()
        if full and not self._is_held_up() and not self._scheduled:
            self._scheduled = True
            self._hub.loop.call_soon(self._scan)

    def _serve(self, head: Head, data: bytes, at: int) -> None:
        kind = head[1]
        if self._repeats:
            self._repeat(head, data, at)
        elif kind == Kind.REPEAT:
            # Whoever sends this has read the lane's nonce: the former one is of no use any more.
            self._peer.lane_nonces = self._peer.lane_nonces[-1:]
            self._next = head[8]
            self._repeats = head[6]
        elif kind == Kind.ONCE:
            self._once = head[8]
        elif not self._has_room(head):
            self._held = (head, data, at)
        else:
            once, self._once = self._once, 0
            if not once or self._peer.take_once(once):
                self._route_on(head, data, at)

    def _repeat(self, head: Head, data: bytes, at: int) -> None:
        wire = self._peer.wire
        number = self._next
        known = number <= max(wire.received, wire.skip)
        if head[1] == Kind.ONCE:
            # It stands before the packet that it speaks of, and has no number itself.
            if not known and not self._peer.take_once(head[8]):
                wire.skip = number
            return
        self._next += 1
        self._repeats -= 1
        if not known:
            wire.skip = number
            self._peer.serve(self._peer, head, data, at)

    def _route_on(self, head: Head, data: bytes, at: int) -> None:
        self._peer.by_lane = True
        try:
            self._peer.serve(self._peer, head, data, at)
        finally:
            self._peer.by_lane = False


class NoLane:
    """Where the answer to a call goes that came without its lane: nowhere, since nobody waits for it any more."""

    pending: Final = 0

    def answer(self, request: int, outcome: Outcome) -> None:
        """Drop an answer."""

    def expect(self, request: int, channel: str) -> None:
        """Note nothing."""

    def limit(self, request: int, seconds: float, expire: Callable[[], None]) -> None:
        """Set no timer."""

    def forget(self, request: int) -> None:
        """There is nothing to forget."""


NO_LANE: Final = NoLane()
