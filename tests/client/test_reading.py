"""Reading in place: what comes is the same however it is read, and small packets are read as ever."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mainbus.quick import COMPILED
from mainbus.reading import read_in_place
from mainbus.wire.connection import Connection
from mainbus.wire.packets import CONTINUES, HEADER_SIZE, MAX_FRAGMENT, MAX_PACKET, MORE, Kind, build
from mainbus.wire.states import Role

from tests.support.bus import until, within
from tests.support.cores import opened
from tests.support.memory_ends import finish, make_ends

if COMPILED:
    from mainbus.wire.intake_fast import Intake
    from mainbus.wire.packets_fast import Taker

compiled = pytest.mark.skipif(
    not COMPILED or sys.platform == "win32", reason="reads in place where it is compiled, and from sockets"
)

LIMIT = 64 * 1024 * 1024
SMALL = build(Kind.SEND, 1, channel=b"c", body=b"small")


def large(size: int = MAX_FRAGMENT) -> bytes:
    return build(Kind.SEND, 1, channel=b"c", body=os.urandom(size))


def fragments(count: int, last: int) -> list[bytes]:
    """A message of so many whole fragments, and a last one."""
    sizes = [MAX_FRAGMENT] * count + [last]
    flags = [(CONTINUES if at else 0) | (MORE if at < count else 0) for at in range(count + 1)]
    return [build(Kind.RESULT, 1, 7, os.urandom(size), flags=flag) for size, flag in zip(sizes, flags, strict=True)]


class Reader(asyncio.Protocol):
    """Scans what comes as a session does, and keeps it."""

    def __init__(self) -> None:
        self.wire: Connection = opened(Role.RENDERER, limit=LIMIT)
        self.packets: list[bytes] = []
        self.reserved: list[int] = []
        self.filled = 0
        self.ended: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.wire.feed(data)
        self.packets += [data[at : at + head[0]] for head, data, at in self.wire.packets()]
        if self.wire.expects_large:
            read_in_place(
                self.wire,
                self,
                self.transport,
                failed=self.transport.abort,
                reserved=self.reserved.append,
                filled=self._was_filled,
            )

    def eof_received(self) -> bool:
        self.ended.append("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.append("lost")

    def _was_filled(self) -> None:
        self.filled += 1

    @property
    def is_in_place(self) -> bool:
        return self.transport.get_protocol() is not self


@asynccontextmanager
async def reader() -> AsyncIterator[tuple[Reader, socket.socket]]:
    loop = asyncio.get_running_loop()
    ours, other = socket.socketpair()
    for end in (ours, other):
        end.setblocking(False)
    transport, protocol = await loop.create_unix_connection(Reader, sock=ours)
    try:
        yield protocol, other
    finally:
        transport.abort()
        other.close()
        await until(lambda: "lost" in protocol.ended)


async def send(other: socket.socket, *packets: bytes) -> None:
    await within(asyncio.get_running_loop().sock_sendall(other, b"".join(packets)))


@compiled
async def test_large_packets_are_read_in_place_and_small_ones_as_ever() -> None:
    async with reader() as (protocol, other):
        sent = [SMALL, *fragments(5, 9), SMALL, large(40_000), *fragments(2, 100_000)]
        await send(other, SMALL)
        await until(lambda: protocol.packets == sent[:1])
        assert not protocol.is_in_place
        await send(other, *sent[1:])
        await until(lambda: protocol.packets == sent)
        assert protocol.is_in_place
        assert protocol.reserved


@compiled
async def test_who_sends_nothing_large_for_a_while_is_read_as_ever() -> None:
    async with reader() as (protocol, other):
        sent = fragments(2, 9)
        await send(other, *sent)
        await until(lambda: protocol.packets == sent)
        for _ in range(3):
            # Not for a few small ones: to change protocols costs more than to read those in place.
            for _ in range(5):
                sent.append(SMALL)
                await send(other, SMALL)
                await until(lambda: protocol.packets == sent)
            assert protocol.is_in_place
            sent.append(large(50_000))
            await send(other, sent[-1])
            await until(lambda: protocol.packets == sent)
        while protocol.is_in_place:
            assert len(sent) < 50
            sent.append(SMALL)
            await send(other, SMALL)
            await until(lambda: protocol.packets == sent)
        assert (protocol.wire.held, protocol.wire.lent, protocol.wire.in_place) == (0, 0, False)


@compiled
async def test_what_is_being_read_counts_as_held_and_no_more_than_a_packet_is_reserved() -> None:
    async with reader() as (protocol, other):
        first, *rest = fragments(2, 10)
        await send(other, first, rest[0][:50_000])
        await until(lambda: protocol.is_in_place and protocol.packets == [first])
        await send(other, rest[0][50_000:60_000])
        await until(lambda: protocol.wire.lent > 0)
        assert 60_000 <= protocol.wire.held == len(rest[0]) + HEADER_SIZE
        await until(lambda: protocol.reserved == [len(rest[0]) + HEADER_SIZE])
        await send(other, rest[0][60_000:], rest[1])
        await until(lambda: len(protocol.packets) == 3)
        assert max(protocol.reserved) <= MAX_PACKET + HEADER_SIZE


@compiled
async def test_who_reads_hears_when_there_was_more_than_room_for_it() -> None:
    async with reader() as (protocol, other):
        packets = fragments(20, 10)
        await send(other, *packets)
        await until(lambda: len(protocol.packets) == len(packets))
        assert protocol.packets == packets
        assert protocol.filled


@compiled
async def test_an_end_amid_a_large_packet_is_passed_on() -> None:
    async with reader() as (protocol, other):
        await send(other, *fragments(2, 10)[:2], large()[:70_000])
        await until(lambda: protocol.is_in_place)
        other.close()
        await until(lambda: protocol.ended == ["eof", "lost"])


async def test_a_transport_without_a_socket_reads_as_ever() -> None:
    ends = transport, _, _, protocol = make_ends()
    wire = opened(Role.RENDERER)
    wire.expects_large = True
    read_in_place(wire, protocol, transport, failed=transport.abort)
    assert transport.get_protocol() is not None
    assert (wire.expects_large, wire.in_place) == (False, False)
    await finish(ends)


if COMPILED:

    @settings(max_examples=60)
    @given(
        st.lists(st.sampled_from([5, 300, 40_000, 70_000, MAX_FRAGMENT]), min_size=1, max_size=6),
        st.lists(st.integers(1, 300_000), min_size=1, max_size=20),
        st.booleans(),
    )
    def test_any_chunking_gives_the_same_packets(sizes: list[int], chunks: list[int], begun: bool) -> None:
        packets = [build(Kind.SEND, 1, channel=b"c", body=bytes([at]) * size) for at, size in enumerate(sizes)]
        data = memoryview(b"".join(packets))
        wire = opened(Role.RENDERER, limit=LIMIT)
        found: list[bytes] = []

        def take(data: bytes) -> None:
            wire.feed(data)
            found.extend(data[at : at + head[0]] for head, data, at in wire.packets())

        if begun:
            # The wire has the beginning of a packet already.
            take(bytes(data[:30]))
            data = data[30:]
        intake = Intake(wire, take, lambda: None, None, None, pytest.fail)
        # Tiny ones alone would take a million steps.
        chunks.append(MAX_FRAGMENT)
        step = 0
        while data:
            room = memoryview(intake.get_buffer(-1))
            size = min(len(room), len(data), chunks[step % len(chunks)])
            assert len(room) == len(intake) > 0
            room[:size] = data[:size]
            room.release()
            intake.buffer_updated(size)
            data = data[size:]
            step += 1
        assert found == packets
        assert wire.failure is None

    @settings(max_examples=60)
    @given(st.integers(2, 5), st.integers(1, 5000), st.lists(st.integers(1, 200_000), min_size=1, max_size=8))
    def test_fragments_that_take_the_short_way_are_the_message(count: int, last: int, chunks: list[int]) -> None:
        body = b"\x81\x5a" + (count * MAX_FRAGMENT + last - 6).to_bytes(4, "big")
        body += os.urandom(count * MAX_FRAGMENT + last - len(body))
        parts = [body[at : at + MAX_FRAGMENT] for at in range(0, len(body), MAX_FRAGMENT)]
        data = b"".join(
            build(Kind.RESULT, 1, 7, part, flags=(CONTINUES if at else 0) | (MORE if at < len(parts) - 1 else 0))
            for at, part in enumerate(parts)
        )
        wire = opened(Role.RENDERER, limit=LIMIT)
        wire.taker = Taker()
        found: list[bytes] = []
        # Tiny ones alone would take a million steps.
        chunks.append(MAX_FRAGMENT)
        looked_at = at = step = 0
        while at < len(data):
            chunk = data[at : at + chunks[step % len(chunks)]]
            at, step = at + len(chunk), step + 1
            if wire.take_in(chunk, len(chunk), len(chunk)) >= 0:
                for head, buffer, place in wire.packets():
                    looked_at += 1
                    message = wire.message(head, buffer, place)
                    if message is not None:
                        found.append(bytes(message[8]))
        assert wire.failure is None
        assert found == [body]
        assert wire.received == len(parts)
        # All but the first and the last took it.
        assert looked_at == 2

    def test_no_more_is_taken_than_was_given_room_for() -> None:
        intake = Intake(opened(Role.RENDERER), lambda data: None, lambda: None, None, None, pytest.fail)
        with pytest.raises(ValueError, match="no more bytes than"):
            intake.buffer_updated(1)
        with pytest.raises(BufferError):
            memoryview(intake)
        intake.get_buffer(-1)
        with pytest.raises(ValueError, match="no more bytes than"):
            intake.buffer_updated(len(intake) + 1)

    def never(data: bytes) -> None:
        pytest.fail(f"{len(data)} bytes were taken")

    def test_without_memory_for_a_packet_what_comes_is_lost_and_that_is_said_once() -> None:
        said: list[str] = []
        wire = opened(Role.RENDERER)
        # More than there is anywhere.
        wire._pieces, wire._have = [b"x"], 1 << 62
        intake = Intake(wire, never, lambda: None, None, None, lambda: said.append("no memory"))
        for _ in range(3):
            assert len(memoryview(intake.get_buffer(-1)))
            intake.buffer_updated(1)
        assert said == ["no memory"]

    def test_without_memory_for_a_message_what_comes_is_lost_and_that_is_said_once() -> None:
        said: list[str] = []
        wire = opened(Role.RENDERER, limit=LIMIT)
        wire.taker = Taker()
        wire._partials = {(1, 3): Growing()}
        intake = Intake(wire, never, lambda: None, None, None, lambda: said.append("no memory"))
        for packet in fragments(3, 9)[1:3]:
            room = memoryview(intake.get_buffer(-1))
            size = min(len(room), len(packet))
            room[:size] = packet[:size]
            room.release()
            intake.buffer_updated(size)
        assert said == ["no memory"]

    def test_each_fragment_that_passes_by_the_protocol_is_reserved_once() -> None:
        wire = opened(Role.RENDERER, limit=LIMIT)
        wire.taker = Taker()
        first, at_once, in_parts, _ = fragments(3, 9)
        body = b"\x81\x5a" + (4 * MAX_FRAGMENT).to_bytes(4, "big") + bytes(MAX_FRAGMENT - 6)
        wire.feed(first[:-MAX_FRAGMENT] + body)
        for packet in wire.packets():
            assert wire.message(*packet) is None
        reserved: list[int] = []
        intake = Intake(wire, never, lambda: None, reserved.append, None, pytest.fail)

        def read(data: bytes) -> None:
            with memoryview(intake.get_buffer(-1)) as room:
                room[: len(data)] = data
            intake.buffer_updated(len(data))

        read(at_once)
        assert reserved == [len(at_once)]
        step = len(in_parts) // 3 + 1
        for start in range(0, len(in_parts), step):
            read(in_parts[start : start + step])
        assert reserved == [len(at_once), MAX_PACKET + HEADER_SIZE]
        assert wire.received == 3

    class Growing:
        """A message for which there is no more memory."""

        @property
        def _kind(self) -> int:
            raise MemoryError

    @settings(max_examples=60)
    @given(
        st.lists(st.sampled_from([200, 5000, MAX_FRAGMENT]), min_size=1, max_size=5),
        st.lists(st.integers(1, 300_000), min_size=1, max_size=12),
    )
    def test_fragments_read_in_place_pass_by_the_protocol_and_are_the_message(
        sizes: list[int], chunks: list[int]
    ) -> None:
        # The last one is longer than what fits behind a fragment: with a whole packet behind it none would pass by.
        size = sum(sizes) + MAX_FRAGMENT + 1000
        body = b"\x81\x5a" + size.to_bytes(4, "big") + os.urandom(size)
        parts = [body[:MAX_FRAGMENT]]
        for size in sizes:
            parts.append(body[sum(map(len, parts)) :][:size])
        parts.append(body[sum(map(len, parts)) :])
        packets = [
            build(Kind.RESULT, 1, 7, part, flags=(CONTINUES if at else 0) | (MORE if at < len(parts) - 1 else 0))
            for at, part in enumerate(parts)
        ]
        wire = opened(Role.RENDERER, limit=LIMIT)
        wire.taker = Taker()
        found: list[bytes] = []
        seen: list[int] = []

        def take(data: bytes) -> None:
            seen.append(len(data))
            if wire.take_in(data, len(data), len(data)) >= 0:
                for packet in wire.packets():
                    message = wire.message(*packet)
                    if message is not None:
                        found.append(bytes(message[8]))

        intake = Intake(wire, take, lambda: None, None, None, pytest.fail)
        data = memoryview(b"".join(packets))
        # Tiny ones alone would take a million steps.
        chunks.append(MAX_FRAGMENT)
        step = 0
        while data:
            room = memoryview(intake.get_buffer(-1))
            size = min(len(room), len(data), chunks[step % len(chunks)])
            room[:size] = data[:size]
            room.release()
            intake.buffer_updated(size)
            data = data[size:]
            step += 1
        assert (found, wire.failure, wire.received) == ([body], None, len(packets))
        if set(sizes) == {MAX_FRAGMENT}:
            # The protocol sees the first and the last, and nothing between them.
            assert sum(seen) <= len(packets[0]) + len(packets[-1]) + 2 * (MAX_PACKET - MAX_FRAGMENT)
