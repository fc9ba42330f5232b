"""Who gets a pool of shared memory, and what the broker makes of what hand-built packets say of one."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mainbus import shared_memory
from mainbus.wire import pooled
from mainbus_broker import Config, Limits
from mainbus_broker.roles import Match, Role

from tests.support.bus import PATIENCE, Bus, until
from tests.support.direct import Descriptors
from tests.support.raw import (
    BY_NAME,
    CONTINUES,
    ERROR,
    GOODBYE,
    INVOKE,
    LANE,
    MORE,
    PAUSE,
    RESULT,
    SEND,
    UNDELIVERABLE,
    Packet,
    Raw,
    args,
    raw,
)

pytestmark = [
    pytest.mark.skipif(not shared_memory.AVAILABLE, reason="needs memory without a name, which Linux has"),
    pytest.mark.contract("8.6"),
]

FEATURES = ["fragments", "lane", "pools"]
POOL, POOL_READY, POOL_FREE, POOL_CLOSED = range(60, 64)
POOLED = 32
MIB = 1024 * 1024
PLACE = pooled.pack((0, 10, 1, 2))


class Side:
    """A renderer of hand-built packets, with its connection for descriptors."""

    def __init__(self, renderer: Raw, lane: Descriptors) -> None:
        self.raw = renderer
        self.lane = lane
        self.id = renderer.id

    def write(self, kind: int, **fields: Any) -> None:
        self.raw.write(Packet(kind, **fields))

    async def file(self) -> tuple[int, int, int, int]:
        """Return kind, peer, number and descriptor of the pool that comes."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    data, fds, _, _ = socket.recv_fds(self.lane.sock, 24, 1)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0)
        peer, number = (int.from_bytes(data[at : at + 4]) for at in (8, 12))
        return data[4], peer, number, fds[0]

    async def given(self) -> tuple[int, int, int]:
        """Return kind, peer and number of the pool that comes, and close its descriptor."""
        kind, peer, number, fd = await self.file()
        os.close(fd)
        return kind, peer, number

    async def sealed(self, other: Side) -> int:
        """Seal the pool that comes to write to another one, and say so; returns its number."""
        kind, peer, number, fd = await self.file()
        assert (kind, peer) == (POOL, other.id)
        shared_memory.view(fd, os.fstat(fd).st_size, write=True).close()
        os.close(fd)
        self.write(POOL_READY, peer=other.id, request=number, value=1)
        return number


@asynccontextmanager
async def side(address: str, name: str, **fields: Any) -> AsyncIterator[Side]:
    async with raw(address, name, features=FEATURES, **fields) as renderer, Descriptors(address, renderer) as lane:
        assert await lane.record() == (LANE, 0, 0, None)
        yield Side(renderer, lane)


@asynccontextmanager
async def sides(address: str, config: Config | None = None) -> AsyncIterator[tuple[Bus, Side, Side]]:
    """Run a broker with two renderers, the first of which has sent something to the second."""
    async with Bus(address, config=config) as bus, side(address, "a") as a, side(address, "b") as b:
        a.write(SEND, peer=b.id, channel=b"c", body=args())
        await b.raw.next(SEND)
        yield bus, a, b


async def want(a: Side, b: Side) -> None:
    """Let one ask for a pool to another, which wants it."""
    a.write(POOL, peer=b.id)
    assert (await b.raw.next(POOL)).peer == a.id
    b.write(POOL, peer=a.id, value=1)


async def make(a: Side, b: Side) -> int:
    """Make a pool from the first to the second; returns its number."""
    await want(a, b)
    number = await a.sealed(b)
    assert await b.given() == (POOL_READY, a.id, number)
    b.write(POOL_READY, peer=a.id, request=number, value=1)
    ready = await a.raw.next(POOL_READY)
    assert (ready.peer, ready.request) == (b.id, number)
    return number


async def test_both_get_the_same_memory_and_the_reader_cannot_write(address: str) -> None:
    async with sides(address, Config(limits=Limits(pool=8192))) as (_, a, b):
        a.write(POOL, name=b"b", flags=BY_NAME)
        await b.raw.next(POOL)
        b.write(POOL, peer=a.id, value=1)
        _, _, number, writer = await a.file()
        with shared_memory.view(writer, 8192, write=True) as written:
            a.write(POOL_READY, peer=b.id, request=number, value=1)
            reader = (await b.file())[3]
            with shared_memory.view(reader, 8192) as read:
                written[:5] = b"hello"
                assert read[:5] == b"hello"
            # Nor by another descriptor of the same memory, which it can have.
            again = os.open(f"/proc/self/fd/{reader}", os.O_RDWR)
            for fd in (reader, again):
                with pytest.raises(PermissionError):
                    shared_memory.view(fd, 8192, write=True)
            with pytest.raises(PermissionError):
                os.write(again, b"x")
        for fd in (writer, reader, again):
            os.close(fd)


@pytest.mark.parametrize("what", ["says that it could not take it", "does not seal it"])
async def test_who_does_not_seal_what_it_writes_gets_no_reader(address: str, what: str) -> None:
    async with sides(address) as (bus, a, b):
        await want(a, b)
        _, _, number = await a.given()
        # It is not the reader's turn.
        b.write(POOL_READY, peer=a.id, request=number, value=1)
        assert await b.raw.is_served()
        a.write(POOL_READY, peer=b.id, request=number, value=int(what == "does not seal it"))
        for each, other, value in ((a, b, pooled.NOT_TO), (b, a, pooled.NOT_FROM)):
            closed = await each.raw.next(POOL_CLOSED)
            assert (closed.peer, closed.request, closed.value) == (other.id, number, value)
        assert len(bus.hub.shared_pools) == 0


def memories() -> int:
    """How many descriptors of such memory this process has, the broker's included."""
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sum("memfd:mainbus" in os.readlink(link) for link in links if os.path.lexists(link))


@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_who_leaves_before_it_is_sealed_leaves_nothing_open(address: str, who: str) -> None:
    async with sides(address) as (_, a, b):
        await want(a, b)
        await a.given()
        # What the receiver is to get.
        assert memories() == 1
        await (a if who == "sender" else b).raw.close()
        await until(lambda: memories() == 0)


async def test_who_has_no_more_use_for_a_pool_gives_it_back(address: str) -> None:
    async with sides(address) as (bus, a, b):
        number = await make(a, b)
        for peer, other in ((b.id, number + 1), (99, number)):
            a.write(POOL, peer=peer, request=other, value=pooled.GIVEN_BACK)
        b.write(POOL, peer=a.id, request=number, value=pooled.GIVEN_BACK)
        assert await a.raw.is_served()
        assert await b.raw.is_served()
        assert len(bus.hub.shared_pools) == 1
        a.write(POOL, peer=b.id, request=number, value=pooled.GIVEN_BACK)
        closed = await b.raw.next(POOL_CLOSED)
        assert (closed.peer, closed.request, closed.value) == (a.id, number, pooled.NOT_FROM)
        assert await make(a, b) == number + 1


async def test_a_message_in_a_pool_is_passed_on_as_it_is_and_freed_by_its_receiver(address: str) -> None:
    async with sides(address) as (_, a, b):
        number = await make(a, b)
        # By another address it is the same one.
        a.write(POOL, flags=BY_NAME, name=b"b")
        ready = await a.raw.next(POOL_READY)
        assert (ready.peer, ready.name, ready.request) == (b.id, b"b", number)
        a.write(SEND, flags=POOLED | BY_NAME, name=b"b", frame=9, channel=b"c", body=PLACE)
        got = await b.raw.next(SEND)
        assert (got.peer, got.flags, got.frame, got.body) == (a.id, POOLED | BY_NAME, 9, PLACE)
        b.write(POOL_FREE, peer=a.id, frame=9)
        free = await a.raw.next(POOL_FREE)
        assert (free.peer, free.frame) == (b.id, 9)


async def test_a_stranger_gets_none(address: str) -> None:
    async with sides(address) as (bus, a, b), side(address, "c") as c:
        c.write(POOL, peer=b.id)
        assert (await c.raw.next(POOL_CLOSED)).peer == b.id
        # Nor who asks for one to somebody who has sent it something only.
        b.write(POOL, peer=a.id)
        assert (await b.raw.next(POOL_CLOSED)).peer == a.id
        # Nor who asks for one to itself, or to nobody.
        for peer in (a.id, 99):
            a.write(POOL, peer=peer)
            closed = await a.raw.next(POOL_CLOSED)
            assert (closed.peer, closed.value) == (peer, pooled.NOT_TO)
        assert len(bus.hub.shared_pools) == 0


async def test_who_does_not_take_pools_is_not_asked(address: str) -> None:
    async with Bus(address) as bus, side(address, "a") as a, raw(address, "b") as b:
        a.write(SEND, peer=b.id, channel=b"c", body=args())
        await b.next(SEND)
        a.write(POOL, peer=b.id)
        assert (await a.raw.next(POOL_CLOSED)).peer == b.id
        assert len(bus.hub.shared_pools) == 0


@pytest.mark.parametrize("limits", [Limits(pools=1), Limits(pool_memory=64 * 1024 * 1024)])
async def test_pools_are_bounded(address: str, limits: Limits) -> None:
    async with sides(address, Config(limits=limits)) as (bus, a, b):
        most = min(limits.pools, limits.pool_memory // limits.pool)
        asked = 0
        async with side(address, "c") as c, side(address, "d") as d:
            for source, target in ((a, b), (b, a), (a, c), (a, d)):
                source.write(SEND, peer=target.id, channel=b"c", body=args())
                await target.raw.next(SEND)
                source.write(POOL, peer=target.id)
                asked += 1
            assert await a.raw.is_served()
            assert await b.raw.is_served()
            assert len(bus.hub.shared_pools) == most < asked


async def test_a_receiver_that_cannot_read_it_ends_it(address: str) -> None:
    async with sides(address) as (bus, a, b):
        await want(a, b)
        number = await a.sealed(b)
        await b.given()
        b.write(POOL_READY, peer=a.id, request=number)
        for each, other, value in ((a, b, pooled.NOT_TO), (b, a, pooled.NOT_FROM)):
            closed = await each.raw.next(POOL_CLOSED)
            assert (closed.peer, closed.value) == (other.id, value)
        assert len(bus.hub.shared_pools) == 0
        # It may be tried again.
        await make(a, b)


async def test_a_lost_connection_for_descriptors_ends_what_was_on_its_way(address: str) -> None:
    async with sides(address) as (bus, a, b):
        await want(a, b)
        number = await a.sealed(b)
        await b.given()
        b.lane.sock.shutdown(socket.SHUT_RDWR)
        closed = await a.raw.next(POOL_CLOSED)
        assert (closed.peer, closed.request) == (b.id, number)
        assert len(bus.hub.shared_pools) == 0


async def test_words_about_pools_that_are_none_do_nothing(address: str) -> None:
    async with sides(address) as (bus, a, b), side(address, "c") as c:
        number = await make(a, b)
        # Another one's pool, one that was not asked for, a second answer, a pool that goes the other way.
        c.write(POOL, peer=a.id, value=1)
        c.write(POOL_READY, peer=a.id, request=number, value=1)
        c.write(POOL_FREE, peer=a.id, frame=9)
        b.write(POOL_READY, peer=a.id, request=number, value=0)
        b.write(POOL, peer=a.id, value=1)
        a.write(POOL_FREE, peer=b.id, frame=9)
        for each in (a, b, c):
            assert await each.raw.is_served()
        assert len(bus.hub.shared_pools) == 1


@pytest.mark.contract("9.2")
@pytest.mark.parametrize(
    "second",
    [
        Packet(SEND, POOLED, frame=9, channel=b"c", body=PLACE),
        Packet(SEND, POOLED, frame=8, channel=b"c", body=pooled.pack((0, 65_537, 0, 0))),
        Packet(SEND, POOLED, frame=8, channel=b"c", body=PLACE[1:]),
        Packet(SEND, POOLED, frame=8, channel=b"c", body=pooled.pack((131_072, 10, 0, 0))),
    ],
    ids=["the same slot", "more than there is", "no place", "beyond the end"],
)
async def test_what_is_under_way_fits_into_the_pool_and_is_said_once(address: str, second: Packet) -> None:
    async with sides(address, Config(limits=Limits(pool=131_072))) as (_, a, b):
        await make(a, b)
        first = Packet(SEND, POOLED, peer=b.id, frame=9, channel=b"c", body=PLACE)
        a.raw.write(first)
        await b.raw.next(SEND)
        # Nothing is under way in that slot, nor in it a second time.
        for slot in (8, 9, 9):
            b.write(POOL_FREE, peer=a.id, frame=slot)
        assert await b.raw.is_served()
        a.raw.write(first)
        assert [(await a.raw.next(POOL_FREE)).frame] == [9]
        await b.raw.next(SEND)
        a.raw.write(second._replace(peer=b.id))
        assert b"without a place of its own" in (await a.raw.next(GOODBYE)).body
        assert await b.raw.is_served()


@pytest.mark.contract("9.2")
async def test_what_is_in_a_pool_counts_as_long_as_it_is(address: str) -> None:
    limits = Limits(pool=8 * MIB, overrun=2 * MIB)
    async with sides(address, Config(limits=limits)) as (_, a, b):
        await make(a, b)
        b.write(PAUSE, peer=a.id)
        await a.raw.next(PAUSE)
        for slot in range(4):
            a.write(SEND, flags=POOLED, peer=b.id, frame=slot, channel=b"c", body=pooled.pack((0, MIB, 0, 0)))
        assert b"pause" in (await a.raw.next(GOODBYE)).body


async def test_whoever_is_gone_its_pools_are_and_the_other_one_is_told(address: str) -> None:
    async with sides(address) as (bus, a, b):
        await make(a, b)
        a.write(SEND, flags=POOLED, peer=b.id, frame=9, channel=b"c", body=PLACE)
        await a.raw.close()
        assert (await b.raw.next(SEND)).frame == 9
        closed = await b.raw.next(POOL_CLOSED)
        assert (closed.peer, closed.value) == (a.id, pooled.NOT_FROM)
        assert len(bus.hub.shared_pools) == 0


@pytest.mark.contract("3.7")
async def test_where_there_is_no_pool_a_message_in_one_is_undeliverable(address: str) -> None:
    async with sides(address) as (_, a, b):
        a.write(SEND, flags=POOLED, peer=b.id, frame=9, channel=b"c", body=PLACE)
        assert (await a.raw.next(UNDELIVERABLE)).peer == b.id
        assert (await a.raw.next(POOL_FREE)).frame == 9
        a.write(INVOKE, flags=POOLED, peer=b.id, request=4, frame=10, channel=b"c", body=PLACE)
        assert (await a.raw.next(ERROR)).request == 4
        assert (await a.raw.next(POOL_FREE)).frame == 10
        # One that goes the other way is none either.
        b.write(SEND, peer=a.id, channel=b"c", body=args())
        await make(b, a)
        a.write(SEND, flags=POOLED, peer=b.id, frame=11, channel=b"c", body=PLACE)
        await a.raw.next(UNDELIVERABLE)
        assert (await a.raw.next(POOL_FREE)).frame == 11


@pytest.mark.contract("5.7")
async def test_an_answer_that_nobody_waits_for_gives_its_place_back(address: str) -> None:
    async with sides(address) as (_, a, b):
        await make(a, b)
        a.write(RESULT, flags=POOLED, peer=b.id, request=77, frame=5, body=PLACE)
        free = await a.raw.next(POOL_FREE)
        assert (free.peer, free.frame) == (0, 5)
        assert await b.raw.is_served()


@pytest.mark.contract("8.4")
async def test_what_a_role_does_not_grant_gives_its_place_back(address: str) -> None:
    role = Role(match=Match(), names=["*"], send_to=["c"], listen=["c"])
    async with sides(address, Config(roles={"some": role})) as (_, a, b):
        await make(a, b)
        a.write(SEND, flags=POOLED, peer=b.id, frame=9, channel=b"closed", body=PLACE)
        await a.raw.next(UNDELIVERABLE)
        assert (await a.raw.next(POOL_FREE)).frame == 9


@pytest.mark.contract("8.7")
@pytest.mark.parametrize(
    "packet",
    [
        Packet(SEND, POOLED, channel=b"c", body=PLACE),
        Packet(RESULT, POOLED, request=1, body=PLACE),
        Packet(SEND, POOLED | MORE, peer=2, channel=b"c", body=PLACE),
        Packet(SEND, POOLED | CONTINUES, peer=2, body=PLACE),
        Packet(ERROR, POOLED, peer=2, request=1, body=PLACE),
    ],
)
async def test_what_can_be_in_no_pool_is_a_fault(address: str, packet: Packet) -> None:
    async with sides(address) as (_, a, b):
        a.raw.write(packet)
        assert b"shared memory" in (await a.raw.next(GOODBYE)).body
        assert await b.raw.is_served()


@pytest.mark.parametrize("config", [Config(shared_memory=False), Config()])
async def test_the_welcome_says_whether_there_are_pools(address: str, config: Config) -> None:
    async with Bus(address, config=config), raw(address, features=FEATURES) as renderer:
        assert ("pools" in renderer.welcome["features"]) is config.shared_memory
        assert (renderer.welcome["descriptors"] is not None) is config.shared_memory


async def test_without_descriptors_there_is_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sides(address) as (bus, a, b):
        monkeypatch.setattr("mainbus_broker.shared_pools.has_files", lambda fd: False)
        await want(a, b)
        assert (await a.raw.next(POOL_CLOSED)).peer == b.id
        await until(lambda: len(bus.hub.shared_pools) == 0)
