"""What is on its way out of one connection: joined writes, and room for others while something large passes.

The transport's high-water mark must be zero: `pause_writing` then means that bytes sit in the transport, and
`resume_writing` that the kernel has taken them all. While they sit there everything else waits here, where it can
still be counted, and reordered between targets.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mainbus.cores import CHUNK, LARGE_CHUNK
from mainbus.quick import OutboxCore
from mainbus.wire.packets import MAX_PACKET
from mainbus.wire.pieces import Packet, Pieces

if TYPE_CHECKING:
    from mainbus.routes import Route

_WRITES_A_TURN: Final = 4

_BUFFER: Final = 416 * 1024
"""Bytes that the system should buffer on a connection where large messages leave: fewer turns for each of them."""


class Outbox(OutboxCore):
    """Packets of one connection that have not been handed to its transport yet."""

    __slots__ = ("held",)

    _transport: asyncio.Transport | None
    _ready: list[Route]

    def __init__(self, loop: asyncio.AbstractEventLoop, max_calls: int) -> None:
        super().__init__(loop, max_calls)
        self.held = 0
        """Bytes that wait in the routes of this connection."""

    # Public

    def attach(self, transport: asyncio.Transport) -> None:
        """Start to write to `transport`; what waits leaves with the next turn of the loop."""
        transport.set_write_buffer_limits(high=0)
        self._transport = transport
        self._blocked = self._widened = False
        self.written = 0
        self._in_flight = (b"", 0)
        self.flush_soon()

    def detach(self) -> None:
        """Stop writing: the connection is gone. What waits stays until `take` or the next `attach`."""
        self._transport = None
        self._blocked = True

    def put_large(self, packet: Packet) -> None:
        """Queue one packet, which may be in pieces."""
        if isinstance(packet, Pieces):
            self._in_pieces += 1
        self._packets.append(packet)
        self.queued += len(packet)
        self.flush_soon()

    def flush_follows(self) -> None:
        """Schedule nothing: the caller calls `flush` in this turn of the loop, whatever happens before."""
        self._scheduled = True

    def pull(self, route: Route) -> None:
        """Take packets from `route` whenever there is room, one in turn with the other routes."""
        if not route.listed:
            route.listed = True
            self._ready.append(route)
            self.flush_soon()

    def when_low(self, size: int, call: Callable[[], None]) -> None:
        """Call once when no more than `size` bytes wait here."""
        self._when_low = (size, call)

    def starve(self, route: Route) -> None:
        """Ask `route` again when one of the `max_calls` has been answered."""
        self._starved[route] = None

    def answered(self) -> None:
        """Count one invoke out."""
        self.calls -= 1
        if self._starved:
            self._feed_starved()
            self.flush_soon()

    def flush(self) -> None:
        """Hand over what waits, as far as the transport takes it."""
        self._scheduled = False
        for _ in range(_WRITES_A_TURN):
            if self._blocked:
                return
            if self._ready or self._starved:
                self._refill()
            if not self._packets:
                break
            self._write()
        if self._when_low is not None and self.queued <= self._when_low[0]:
            call = self._when_low[1]
            self._when_low = None
            call()
        if self._blocked:
            return
        if self._packets or self._ready:
            self.flush_soon()
        elif self._waiters:
            self.wake()

    @property
    def size(self) -> int:
        """Bytes that wait here or in the transport."""
        if self._transport is None:
            return self.queued
        return self.queued + self._transport.get_write_buffer_size()

    @property
    def count(self) -> int:
        """Packets that wait here."""
        return len(self._packets)

    @property
    def last_number(self) -> int:
        """The number on its connection of the last packet put here; 0 if there was none."""
        return self.written + len(self._packets)

    @property
    def idle(self) -> bool:
        """Whether everything that was put here has reached the kernel."""
        return not self._packets and not self._ready and not self._blocked

    def hand_over(self) -> None:
        """Hand over what waits, although bytes sit in the transport: a lane is about to repeat it all."""
        self.flush()
        if self._packets and self._transport is not None:
            data, count = self.in_flight()
            packets = self.take()
            rest, more = b"".join(packets), len(packets)
            self.handed += len(rest)
            self.written += more
            self._transport.write(rest)
            self._in_flight = (data + rest, count + more)

    def in_flight(self) -> tuple[bytes, int]:
        """Return the bytes that may not have left the transport yet, as whole packets, and how many those are."""
        data, count = self._in_flight if self._blocked else (b"", 0)
        return bytes(data), count

    def take(self) -> list[bytes]:
        """Return the packets that wait here and forget them."""
        packets = [bytes(packet) for packet in self._packets]
        self.drop()
        return packets

    def drop(self) -> None:
        """Forget the packets that wait here."""
        self._packets = []
        self._in_pieces = 0
        self.queued = 0

    async def wait_until(self, done: Callable[[], bool]) -> None:
        """Wait until `done()`, asked whenever something has left or `wake` is called. Safe to cancel."""
        while not done():
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def wake(self) -> None:
        """Let all that wait look again."""
        waiters = self._waiters
        if waiters:
            self._waiters = []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # Callbacks

    def pause_writing(self) -> None:
        """Note that bytes sit in the transport."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Note that the kernel has taken them all."""
        if self._transport is not None:
            self._blocked = False
            self.flush_soon()

    # Private

    def _refill(self) -> None:
        ready = self._ready
        while self.queued < (LARGE_CHUNK - MAX_PACKET if self._in_pieces else CHUNK):
            if not ready and not self._feed_starved():
                break
            route = ready.pop(0)
            packet = route.next_packet()
            if packet is None:
                route.listed = False
            else:
                if isinstance(packet, Pieces):
                    self._in_pieces += 1
                self._packets.append(packet)
                self.queued += len(packet)
                ready.append(route)

    def _feed_starved(self) -> bool:
        """List a route that waits for one of the `max_calls`, if there is one to have."""
        while self._starved and self.calls < self.max_calls:
            route = next(iter(self._starved))
            del self._starved[route]
            if not route.listed:
                route.listed = True
                self._ready.append(route)
                return True
        return False

    def _write(self) -> None:
        packets = self._packets
        count = len(packets)
        data: Packet
        if count == 1:
            data = packets.pop()
            self._in_pieces = 0
        elif self.queued <= (most := LARGE_CHUNK if self._in_pieces else CHUNK):
            data = self._joined(packets)
            packets.clear()
        else:
            size = count = 0
            for packet in packets:
                size += len(packet)
                if count and size > most:
                    break
                count += 1
            data = self._joined(packets[:count])
            del packets[:count]
        self._in_flight = (data, count)
        size = len(data)
        self.queued -= size
        self.handed += size
        self.written += count
        assert self._transport is not None
        if isinstance(data, bytes):
            self._transport.write(data)
        else:
            if not self._widened:
                self._widened = True
                _widen(self._transport)
            self._transport.writelines(data.parts)
            if not self._blocked and self._transport.get_write_buffer_size():
                # Some versions of asyncio do not say so; this makes them look (and it is what it was).
                self._transport.set_write_buffer_limits(high=0)

    def _joined(self, packets: list[Packet]) -> Packet:
        """Return packets as one; what is large stays where it is."""
        if not self._in_pieces:
            return b"".join(packets)  # type: ignore[arg-type]
        parts: list[bytes | memoryview] = []
        for packet in packets:
            if isinstance(packet, Pieces):
                self._in_pieces -= 1
                parts += packet.parts
            else:
                parts.append(packet)
        return Pieces(parts)


def _widen(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < _BUFFER:
        # The system takes what it allows, of any size.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
