"""The broker's end of a lane: a renderer's second connection, for calls that block its thread.

Packets on the main connection are numbered from 1. A lane's REPEAT says which numbers follow on the lane, and by
that, which ones must have come on the main connection before: they are in the kernel's buffer at worst.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from mainbus.outbox import Outbox
from mainbus.routes import Route
from mainbus.wire import packets
from mainbus.wire.connection import Connection
from mainbus.wire.packets import HEADER_SIZE, MAIN, Head, Kind

from mainbus_broker.peer import TURN_BYTES, TURN_PACKETS, Peer

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
        self._scheduled = False
        self._reading = True
        self._limits: dict[int, asyncio.TimerHandle] = {}

    # Public

    def start(self) -> None:
        """Serve what has arrived behind the first packet."""
        self._outbox.attach(self._transport)
        self._scan()

    def main_has_received(self) -> None:
        """Look again whether the main connection has brought what this lane waits for."""
        if self._waits or self._wire.backlog:
            self._scan()

    def answer(self, request: int, outcome: tuple[Kind, int, bytes]) -> None:
        """Answer a call, once."""
        timer = self._limits.pop(request, None)
        if timer is not None:
            timer.cancel()
            kind, value, body = outcome
            self._route.put(packets.message(kind, MAIN, request, body, value=value), HEADER_SIZE + len(body))

    def limit(self, request: int, seconds: float, expire: Callable[[], None]) -> None:
        """Expect an answer to a call within `seconds`."""
        self._limits[request] = self._hub.loop.call_later(seconds, expire)

    def close(self) -> None:
        """End the lane; what was answered leaves."""
        for timer in self._limits.values():
            timer.cancel()
        self._limits.clear()
        self._outbox.flush()
        self._transport.close()

    # Callbacks

    def data_received(self, data: bytes) -> None:
        """Serve what has arrived."""
        self._wire.feed(data)
        if not self._scheduled:
            self._scan()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the lane; the renderer itself goes on, and may open another."""
        self._outbox.detach()
        for timer in self._limits.values():
            timer.cancel()
        self._limits.clear()
        if self._peer.lane is self:
            self._peer.lane = None

    def pause_writing(self) -> None:
        """Pass it on."""
        self._outbox.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._outbox.resume_writing()

    # Private

    @property
    def _waits(self) -> bool:
        """Whether packets that were sent before are still on their way on the main connection."""
        return self._peer.wire.received < self._next - 1 and self._peer.wire.skip < self._next - 1

    def _scan(self) -> None:
        self._scheduled = False
        peer = self._peer
        if peer.closing:
            return
        if not self._waits:
            for head, data, at in self._wire.packets(TURN_PACKETS, TURN_BYTES):
                self._serve(head, data, at)
                if peer.closing:
                    return
                if self._waits:
                    break
            failure = self._wire.failure or peer.wire.failure
            if failure is not None:
                peer.close(f"on its lane: {failure}", blame=True)
                self._transport.abort()
                return
        self._read_on()

    def _read_on(self) -> None:
        backlog = self._wire.backlog
        if backlog == self._reading:
            self._reading = not backlog
            (self._transport.pause_reading if backlog else self._transport.resume_reading)()
        if backlog and not self._waits and not self._scheduled:
            self._scheduled = True
            self._hub.loop.call_soon(self._scan)

    def _serve(self, head: Head, data: bytes, at: int) -> None:
        kind = head[1]
        peer = self._peer
        if kind == Kind.REPEAT:
            self._next = head[8]
            self._repeats = head[6]
        elif self._repeats:
            number = self._next
            self._next += 1
            self._repeats -= 1
            if number > max(peer.wire.received, peer.wire.skip):
                peer.wire.skip = number
                self._hub.router.serve(peer, head, data, at)
        elif kind == Kind.SYNC:
            message = self._wire.message(head, data, at)
            if message is not None:
                self._hub.main.sync(peer, message, self)
        else:
            self._hub.router.serve(peer, head, data, at)
