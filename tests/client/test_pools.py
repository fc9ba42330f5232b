"""The pools of one session: when a message goes by one, when it goes as ever, and that a place is used again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mainbus
import mainbus.blocking
import pytest
from mainbus import IpcRenderer, shared_memory
from mainbus.pools import Pools, Written
from mainbus.wire import pooled
from mainbus.wire.packets import HEADER, MAX_FRAGMENT, Kind, build
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, Calls, until, within

pytestmark = pytest.mark.skipif(not shared_memory.AVAILABLE, reason="needs memory without a name, which Linux has")

MIB = 1024 * 1024
LARGE = bytes(MIB)


def pools_of(renderer: IpcRenderer) -> Pools:
    assert renderer._session is not None
    return renderer._session.pools


def pool_of(renderer: IpcRenderer, target: int | str = "there") -> Written:
    return pools_of(renderer)._targets[target]


@asynccontextmanager
async def two(address: str, **limits: Any) -> AsyncIterator[tuple[Bus, IpcRenderer, IpcRenderer]]:
    async with Bus(address, config=Config(limits=Limits(**limits))) as bus:
        here, there = await bus.renderer("here"), await bus.renderer("there")
        there.handle("echo", lambda event, *values: list(values), senders="renderers")
        yield bus, here, there


async def echo(here: IpcRenderer, value: object, target: int | str = "there") -> None:
    assert await within(here.invoke_to(target, "echo", value)) == [value]


async def until_pooled(here: IpcRenderer, target: int | str = "there") -> None:
    await echo(here, LARGE, target)
    await until(lambda: target in pools_of(here)._targets)


@pytest.mark.contract("8.6")
async def test_there_is_none_before_something_large_was_sent(address: str) -> None:
    async with two(address) as (bus, here, there):
        await echo(here, bytes(MAX_FRAGMENT - 100))
        await bus.served(here)
        assert len(bus.hub.shared_pools) == 0
        assert bus.peer(here).descriptors is bus.peer(there).descriptors is None
        await until_pooled(here)


async def test_a_name_and_an_id_lead_to_the_same_pool(address: str) -> None:
    async with two(address) as (bus, here, there):
        await until_pooled(here, there.id)
        assert pool_of(here, there.id) is pool_of(here, "there")
        await echo(here, LARGE)
        assert len(bus.hub.shared_pools) == 2


async def test_places_are_used_again(address: str) -> None:
    async with two(address) as (_, here, _):
        await until_pooled(here)
        for _ in range(100):
            await echo(here, LARGE)
        assert pool_of(here)._reserved < 4 * MIB
        await until(lambda: not len(pools_of(here)))
        assert pool_of(here).room.is_all_free


@pytest.mark.contract("8.6", "9.1")
async def test_what_does_not_fit_goes_as_ever(address: str) -> None:
    async with two(address, pool=2 * MIB) as (_, here, there):
        await until_pooled(here)
        got = Calls()
        there.on("item", got, senders="renderers")
        for number in range(20):
            here.send_to("there", "item", number, bytes([number]) * (number % 4 * MIB + 1))
        await got.wait(20)
        assert got.args == [(number, bytes([number]) * (number % 4 * MIB + 1)) for number in range(20)]


@pytest.mark.contract("8.6")
async def test_without_memory_it_goes_as_ever(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two(address) as (_, here, _):
        await until_pooled(here)
        monkeypatch.setattr("mainbus.shared_memory.reserve", lambda fd, size: False)
        await echo(here, bytes(2 * MIB))
        assert pool_of(here).room.is_all_free
        assert not pool_of(here)._reserved


@pytest.mark.contract("8.6")
async def test_who_cannot_map_a_pool_is_sent_to_without_and_asked_no_more_in_the_end(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(address) as (bus, here, _):
        tries = Calls()

        def fails(fd: int, size: int, *, write: bool = False) -> None:
            tries()
            raise OSError("no memory")

        monkeypatch.setattr("mainbus.shared_memory.view", fails)
        for _ in range(12):
            await echo(here, LARGE)
            await bus.served(here)
            await until(lambda: not len(bus.hub.shared_pools))
        # Either end maps, or tries to, three times each way at the most.
        assert 0 < len(tries.calls) <= 12
        assert not pools_of(here)._targets


@pytest.mark.contract("8.6")
async def test_one_way_goes_on_where_there_is_none_the_other_way(address: str) -> None:
    async with two(address, pools=1) as (bus, here, there):
        await until_pooled(here)
        here.handle("echo", lambda event, *values: list(values), senders="renderers")
        for _ in range(5):
            await echo(here, LARGE)
            await echo(there, LARGE, "here")
            await bus.served(there)
        assert not pools_of(there)._targets
        assert pool_of(here).room.size
        assert len(bus.hub.shared_pools) == 1


@pytest.mark.contract("7.8")
async def test_between_a_guest_and_its_host_there_are_none(address: str) -> None:
    async with two(address) as (bus, here, _):
        guest = await here.create_guest()
        async with mainbus.connect(address, token=guest.token) as other:
            got = Calls()
            guest.on("ipc-message", got)
            for _ in range(3):
                other.send_to_host("large", LARGE)
            await got.wait(3)
            await bus.served(here)
            assert len(bus.hub.shared_pools) == 0


@pytest.mark.contract("8.6")
async def test_only_who_reads_it_frees_a_place(address: str) -> None:
    async with two(address) as (_, here, there):
        await until_pooled(here)
        pools = pools_of(here)
        packet = pools._pooled("there", Kind.SEND, 0, 0, LARGE, {})
        assert packet is not None
        slot = HEADER.unpack_from(packet)[7]
        for peer in (here.id, 99):
            pools.freed(peer, slot)
        pools.freed(there.id, slot + 1)
        assert len(pools) == 1
        pools.freed(0, slot)
        assert len(pools) == 0


@pytest.mark.contract("9.2")
async def test_what_waits_for_a_pause_is_not_in_the_pool_yet(address: str) -> None:
    async with two(address) as (_, here, _):
        await until_pooled(here)
        assert here._session is not None
        route = here._session.routes.to("there")
        route.pause()
        reply = here.invoke_to("there", "echo", LARGE)
        await asyncio.sleep(0)
        assert pool_of(here).room.is_all_free
        assert route.size > MIB
        route.resume()
        assert await within(reply) == [LARGE]


@pytest.mark.contract("5.7")
async def test_a_late_result_gives_its_place_back(address: str) -> None:
    async with two(address) as (_, here, there):
        await until_pooled(here)
        await until_pooled_back(here, there)
        started, go_on = asyncio.Event(), asyncio.Event()

        async def late(event: Any) -> bytes:
            started.set()
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                pass
            return LARGE

        there.handle("late", late, senders="renderers")
        reply = here.invoke_to("there", "late")
        await within(started.wait())
        reply.cancel()
        await until(lambda: not len(pools_of(there)))
        await echo(here, LARGE)


async def until_pooled_back(here: IpcRenderer, there: IpcRenderer) -> None:
    while here.id not in pools_of(there)._targets:
        await echo(here, LARGE)


@pytest.mark.contract("3.14")
async def test_a_renderer_without_a_loop_has_them_too(address: str) -> None:
    async with two(address) as (bus, _, there):

        def talk() -> bool:
            with mainbus.blocking.connect(address, name="thread") as renderer:
                before = [renderer.invoke_to("there", "echo", LARGE) == [LARGE] for _ in range(20)]
                assert renderer._session is not None
                return all(before) and "there" in renderer._session.pools._targets

        assert await within(asyncio.to_thread(talk))
        assert there.id in bus.hub.renderers.ids


@pytest.mark.contract("8.6")
async def test_one_that_nobody_uses_is_given_back_at_both_ends(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainbus.pools.IDLE", 0.001)
    async with two(address) as (bus, here, there):
        pools = bus.hub.shared_pools
        for _ in range(1000):
            # As often as there is use for one, unlike those that come to nothing.
            await echo(here, LARGE)
            await until(lambda: not len(pools))
            if pools._last >= 12:
                break
        assert pools._last >= 12
        for each in (here, there):
            await until(lambda: not (pools_of(each)._targets or pools_of(each)._sources))  # noqa: B023 - awaited at once


@pytest.mark.contract("9.1")
async def test_one_with_a_message_under_way_is_kept(address: str) -> None:
    async with two(address) as (_, here, _):
        await until_pooled(here)
        await until(lambda: not len(pools_of(here)))
        pools, pool = pools_of(here), pool_of(here)
        packet = pools._pooled("there", Kind.SEND, 0, 0, LARGE, {})
        assert packet is not None
        # Whatever time has passed.
        for _ in range(3):
            pools._look()
        assert pool_of(here) is pool
        pools.freed(0, HEADER.unpack_from(packet)[7])
        pools._look()
        assert not pools._targets


class Box:
    """Packets that leave nowhere."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def put(self, packet: bytes) -> None:
        self.packets.append(packet)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("is_writer", [False, True], ids=["to read", "to write"])
def test_a_descriptor_that_comes_after_its_pool_was_closed_is_closed(is_writer: bool) -> None:
    box: Any = Box()
    pools = Pools(box)
    handlers = pools.handlers()
    before = descriptors()
    for number in range(1, 20):
        value = pooled.NOT_TO if is_writer else pooled.NOT_FROM
        handlers[Kind.POOL_CLOSED]((Kind.POOL_CLOSED, 0, 7, number, 0, value, b"", "", b""))
        fd = shared_memory.make(MIB)
        if is_writer:
            pools._take_to_write(7, number, MIB, fd)
        else:
            with shared_memory.view(fd, MIB, write=True):
                pools._take_to_read(7, number, MIB, shared_memory.to_read(fd))
            os.close(fd)
        assert box.packets.pop() == build(Kind.POOL_READY, 7, number)
        assert descriptors() == before
    assert not pools._late
    pools.close()


@pytest.mark.contract("8.6")
def test_the_end_of_one_pool_is_not_that_of_the_next() -> None:
    box: Any = Box()
    pools = Pools(box)
    close = pools.handlers()[Kind.POOL_CLOSED]
    for number in (1, 2):
        fd = shared_memory.make(MIB)
        with shared_memory.view(fd, MIB, write=True):
            pools._take_to_read(7, number, MIB, shared_memory.to_read(fd))
        os.close(fd)
    close((Kind.POOL_CLOSED, 0, 7, 1, 0, pooled.NOT_FROM, b"", "", b""))
    assert pools._sources[7].number == 2
    close((Kind.POOL_CLOSED, 0, 7, 2, 0, pooled.NOT_FROM, b"", "", b""))
    assert not pools._sources
    assert not pools._late


def test_a_message_of_a_pool_that_is_not_there_does_not_decode() -> None:
    box: Any = Box()
    message = Pools(box).arrive((Kind.SEND, 32, 7, 0, 5, 0, b"", "c", bytes(32)))
    assert message == (Kind.SEND, 0, 7, 0, 0, 0, b"", "c", b"")
    assert box.packets == [build(Kind.POOL_FREE, 7, frame=5)]


async def test_a_place_is_taken_as_a_message_leaves_and_not_while_it_has_to_wait(address: str) -> None:
    async with two(address) as (_, here, there):
        await until_pooled(here)
        await until(lambda: not len(pools_of(here)))
        came: list[int] = []
        there.on("x", lambda event, value: came.append(len(value)), senders="renderers")
        here.send_to("there", "x", LARGE)
        assert len(pools_of(here)) == 1
        assert here._session is not None
        route = here._session.routes.to("there")
        route.pause()
        here.send_to("there", "x", LARGE)
        assert len(pools_of(here)) == 1
        route.resume()
        await until(lambda: came == [MIB, MIB])
        await until(lambda: not len(pools_of(here)))
