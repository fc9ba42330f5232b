"""What is on its way out of one connection, on a real socket whose other end reads when the test says so."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat
from typing import Any, cast

import pytest
from mainbus.cores import CHUNK, LARGE_CHUNK
from mainbus.outbox import Outbox
from mainbus.routes import Route
from mainbus.wire.packets import MAX_FRAGMENT
from mainbus.wire.pieces import Pieces


class _Protocol(asyncio.Protocol):
    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def pause_writing(self) -> None:
        self._outbox.pause_writing()

    def resume_writing(self) -> None:
        self._outbox.resume_writing()


class Ends:
    """An outbox on one end of a pair of sockets, and the other end."""

    def __init__(self, outbox: Outbox, transport: asyncio.Transport, other: socket.socket) -> None:
        self.outbox = outbox
        self.transport = transport
        self.other = other

    async def read(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        data = bytearray()
        while len(data) < size:
            data += await loop.sock_recv(self.other, size - len(data))
        return bytes(data)


@asynccontextmanager
async def ends() -> AsyncIterator[Ends]:
    loop = asyncio.get_running_loop()
    ours, other = socket.socketpair()
    for end in (ours, other):
        end.setblocking(False)
    outbox = Outbox(loop, 10)
    # The pair is one of TCP where there are no Unix sockets.
    connect = loop.create_connection if sys.platform == "win32" else loop.create_unix_connection
    transport, _ = await connect(lambda: _Protocol(outbox), sock=ours)
    try:
        yield Ends(outbox, transport, other)
    finally:
        outbox.detach()
        transport.abort()
        other.close()
        await asyncio.sleep(0)


async def test_the_packets_of_one_turn_leave_together_in_order() -> None:
    async with ends() as pair:
        pair.outbox.attach(pair.transport)
        for packet in (b"one", b"two", b"three"):
            pair.outbox.put(packet)
        assert pair.outbox.queued == 11
        assert await pair.read(11) == b"onetwothree"
        assert (pair.outbox.queued, pair.outbox.written, pair.outbox.handed) == (0, 3, 11)
        assert pair.outbox.idle


async def test_nothing_leaves_before_it_is_attached_and_all_of_it_after() -> None:
    async with ends() as pair:
        pair.outbox.put(b"early")
        await asyncio.sleep(0)
        assert pair.outbox.queued == pair.outbox.size == 5
        pair.outbox.attach(pair.transport)
        assert await pair.read(5) == b"early"


async def test_while_bytes_sit_in_the_transport_the_rest_waits_and_is_counted() -> None:
    async with ends() as pair:
        pair.outbox.attach(pair.transport)
        packets = [bytes([number]) * 65_536 for number in range(64)]
        for packet in packets:
            pair.outbox.put(packet)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not pair.outbox.idle
        assert pair.transport.get_write_buffer_size() <= CHUNK
        in_flight, count = pair.outbox.in_flight()
        assert len(in_flight) == count * 65_536
        assert pair.outbox.size == pair.outbox.queued + pair.transport.get_write_buffer_size()
        assert await pair.read(64 * 65_536) == b"".join(packets)
        await pair.outbox.wait_until(lambda: pair.outbox.idle)
        assert pair.outbox.in_flight() == (b"", 0)


async def test_handed_over_everything_is_in_flight_as_whole_packets() -> None:
    async with ends() as pair:
        pair.outbox.attach(pair.transport)
        for _ in range(64):
            pair.outbox.put(bytes(65_536))
        pair.outbox.hand_over()
        data, count = pair.outbox.in_flight()
        assert not pair.outbox.queued
        assert pair.outbox.written == 64
        assert len(data) == count * 65_536
        await pair.read(64 * 65_536)


async def test_a_detached_one_keeps_what_waits() -> None:
    async with ends() as pair:
        pair.outbox.attach(pair.transport)
        pair.outbox.detach()
        pair.outbox.put(b"kept")
        await asyncio.sleep(0)
        assert pair.outbox.take() == [b"kept"]
        assert not pair.outbox.queued


@pytest.mark.contract("2.19")
async def test_large_messages_of_two_routes_leave_in_turns() -> None:
    async with ends() as pair:
        pair.outbox.attach(pair.transport)
        for number in (b"a", b"b"):
            route = Route(pair.outbox, 1)
            route.put(iter(repeat(number * 65_536, 8)), 8 * 65_536)
        data = await pair.read(16 * 65_536)
        assert data[::65_536] == b"ab" * 8


async def test_somebody_is_told_once_when_little_waits() -> None:
    async with ends() as pair:
        told: list[int] = []
        pair.outbox.when_low(100_000, lambda: told.append(pair.outbox.queued))
        for _ in range(64):
            pair.outbox.put(bytes(65_536))
        pair.outbox.attach(pair.transport)
        await asyncio.sleep(0)
        assert not told
        await pair.read(64 * 65_536)
        await pair.outbox.wait_until(lambda: bool(told))
        assert len(told) == 1
        assert told[0] <= 100_000


async def test_who_waits_looks_again_when_woken_and_may_be_cancelled() -> None:
    async with ends() as pair:
        done = False
        waiting = asyncio.create_task(pair.outbox.wait_until(lambda: done))
        cancelled = asyncio.create_task(pair.outbox.wait_until(lambda: False))
        await asyncio.sleep(0)
        cancelled.cancel()
        pair.outbox.wake()
        await asyncio.sleep(0)
        assert not waiting.done()
        done = True
        pair.outbox.wake()
        await waiting
        with pytest.raises(asyncio.CancelledError):
            await cancelled


async def test_calls_over_all_routes_are_limited_and_go_on_with_the_answers() -> None:
    async with ends() as pair:
        pair.outbox.max_calls = 1
        one, two = Route(pair.outbox, 5), Route(pair.outbox, 5)
        one.put(b"first.", 6, request=1)
        two.put(b"second", 6, request=2)
        pair.outbox.attach(pair.transport)
        assert await pair.read(6) == b"first."
        assert (pair.outbox.calls, two.size) == (1, 6)
        one.answered()
        assert await pair.read(6) == b"second"
        two.answered()
        assert not pair.outbox.calls


@pytest.mark.contract("9.3")
async def test_a_route_that_needs_its_turn_no_more_leaves_it_to_the_next() -> None:
    async with ends() as pair:
        pair.outbox.max_calls = 1
        one, two, three = Route(pair.outbox, 5), Route(pair.outbox, 5), Route(pair.outbox, 5)
        pair.outbox.attach(pair.transport)
        one.put(b"first.", 6, request=1)
        two.put(b"second", 6, request=2)
        three.put(b"third.", 6, request=3)
        assert await pair.read(6) == b"first."
        # Asked again for other reasons, a route keeps its one place in the row.
        for _ in range(5):
            two.put(b"behind", 6)
            await asyncio.sleep(0)
        assert two.withdraw(2)
        one.answered()
        assert sorted([await pair.read(6) for _ in range(6)]) == [b"behind"] * 5 + [b"third."]


@pytest.mark.contract("9.3")
async def test_turns_are_taken_while_a_large_message_leaves() -> None:
    async with ends() as pair:
        pair.outbox.max_calls = 1
        one, two, large = Route(pair.outbox, 5), Route(pair.outbox, 5), Route(pair.outbox, 5)
        pair.outbox.attach(pair.transport)
        one.put(b"first.", 6, request=1)
        two.put(b"second", 6, request=2)
        assert await pair.read(6) == b"first."
        large.put(iter(repeat(b"x" * 65_536, 500)), 500 * 65_536)
        await asyncio.sleep(0)
        one.answered()
        data = await pair.read(500 * 65_536 + 6)
        assert data.index(b"second") < 100 * 65_536


# Packets in pieces.


async def test_packets_in_pieces_leave_in_their_place_and_are_counted() -> None:
    async with ends() as pair:
        pair.outbox.attach(pair.transport)
        large = Pieces((b"head", memoryview(b"x" * CHUNK)))
        pair.outbox.put(b"before")
        pair.outbox.put_large(large)
        pair.outbox.put(b"between")
        pair.outbox.put_large(large)
        pair.outbox.put_large(b"plain")
        whole = b"before" + bytes(large) + b"between" + bytes(large) + b"plain"
        assert pair.outbox.queued == len(whole)
        assert await pair.read(len(whole)) == whole
        assert (pair.outbox.queued, pair.outbox.written, pair.outbox.handed) == (0, 5, len(whole))
        pair.outbox.put(b"small")
        assert await pair.read(5) == b"small"


async def test_a_route_gives_packets_in_pieces_between_those_of_others() -> None:
    async with ends() as pair:
        large = [Pieces((bytes([number]), b"x" * 100_000)) for number in range(6)]
        route = Route(pair.outbox, 0)
        route.put(iter(large), 600_006)
        pair.outbox.put(b"small")
        pair.outbox.attach(pair.transport)
        assert await pair.read(600_011) == b"small" + b"".join(map(bytes, large))


async def test_what_of_a_packet_in_pieces_may_not_have_left_is_said_as_it_is() -> None:
    async with ends() as pair:
        pair.outbox.attach(pair.transport)
        large = Pieces((b"head", b"x" * (4 << 20)))
        pair.outbox.put_large(large)
        pair.outbox.flush()
        pair.outbox.put_large(large)
        pair.outbox.hand_over()
        data, count = pair.outbox.in_flight()
        assert (data == 2 * bytes(large), count) == (True, 2)
        assert await pair.read(2 * len(large)) == 2 * bytes(large)


async def test_packets_in_pieces_are_whole_when_they_are_taken_back() -> None:
    outbox = Outbox(asyncio.get_running_loop(), 10)
    outbox.put_large(Pieces((b"head", b"body")))
    assert outbox.take() == [b"headbody"]
    outbox.put_large(Pieces((b"head", b"body")))
    outbox.drop()
    assert outbox.queued == 0
    outbox.put(b"later")
    assert outbox.take() == [b"later"]


async def test_four_fragments_leave_at_a_time() -> None:
    async with ends() as pair:
        writes: list[int] = []

        class Counting:
            def __getattr__(self, name: str) -> Any:
                return getattr(pair.transport, name)

            def writelines(self, parts: list[bytes]) -> None:
                writes.append(sum(map(len, parts)))
                pair.transport.writelines(parts)

        pair.outbox.attach(cast(asyncio.Transport, Counting()))
        fragments = [Pieces((bytes(30), bytes([number]) * MAX_FRAGMENT)) for number in range(8)]
        route = Route(pair.outbox, 0)
        route.put(iter(fragments), 8 * MAX_FRAGMENT)
        pair.outbox.put(b"before")
        sent = b"before" + b"".join(map(bytes, fragments))
        assert await pair.read(len(sent)) == sent
        assert max(writes) <= LARGE_CHUNK
        assert len(writes) == 2
