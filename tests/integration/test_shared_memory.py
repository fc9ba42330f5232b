"""Large messages in shared memory between real processes: as all others, whoever dies, and whatever somebody says."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mainbus
import pytest
from mainbus import ConnectionLost, IpcRenderer, ReplyNeverSent, shared_memory
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, Calls, Program, until, within

pytestmark = pytest.mark.skipif(not shared_memory.AVAILABLE, reason="needs memory without a name, which Linux has")

MIB = 1024 * 1024
LARGE = bytes(range(256)) * 4096

PARTNER = """
async def main():
    async with mainbus.connect(sys.argv[1], name="there", reconnect=False) as renderer:
        renderer.handle("echo", lambda event, *values: list(values), senders="renderers")
        renderer.handle("count", lambda event: len(renderer._session.pools._sources), senders="renderers")
        renderer.on("seen", lambda event, *values: event.reply("seen", *values), senders="renderers")

        async def never(event, value):
            say("has it")
            await forever()

        renderer.handle("never", never, senders="renderers")

        def die(event, value):
            os.kill(os.getpid(), signal.SIGKILL)

        renderer.handle("die", die, senders="renderers")
        say("ready")
        await forever()

asyncio.run(main())
"""
"""A renderer that answers with what it gets."""

BROKER = """
async def main():
    async with Broker(sys.argv[1], ipc_main=IpcMain()) as broker:
        say("ready")
        await forever()

asyncio.run(main())
"""


def pool_of(renderer: IpcRenderer, target: int | str = "there") -> Any:
    assert renderer._session is not None
    return renderer._session.pools._targets.get(target)


def sources(renderer: IpcRenderer) -> int:
    assert renderer._session is not None
    return len(renderer._session.pools._sources)


def under_way(renderer: IpcRenderer) -> int:
    assert renderer._session is not None
    return len(renderer._session.pools)


@asynccontextmanager
async def two(address: str, config: Config | None = None) -> AsyncIterator[tuple[Bus, IpcRenderer, Program]]:
    """Run a broker and a renderer here and another one in a process of its own, with a pool each way."""
    async with Bus(address, config=config) as bus, Program(PARTNER, address) as there:
        assert await there.line() == "ready"
        here = await bus.renderer("here", reconnect=False)
        await asked(here)
        yield bus, here, there


async def asked(here: IpcRenderer) -> None:
    """Send large messages until there is a pool."""
    assert await within(here.invoke_to("there", "echo", LARGE)) == [LARGE]
    await until(lambda: pool_of(here) is not None)
    # Its answer is the one that the other end asks for a pool with.
    while not await within(here.invoke_to("there", "count")) or not sources(here):
        assert await within(here.invoke_to("there", "echo", LARGE)) == [LARGE]


@pytest.mark.contract("9.1", "4.1")
async def test_what_is_large_arrives_as_it_was_sent(address: str) -> None:
    async with two(address) as (bus, here, _):
        before = bus.peer(here).outbox.handed
        for size in (132 * 1024 - 8, 132 * 1024, 200_000, 5 * MIB + 3):
            values = [os.urandom(size), "text" * (size // 4), {"a": [os.urandom(size), None]}]
            assert await within(here.invoke_to("there", "echo", *values)) == values
        # By name and by id, and as messages.
        seen = Calls()
        here.on("seen", seen, senders="renderers")
        here.send_to("there", "seen", LARGE, 1)
        assert (await seen.wait())[1:] == (LARGE, 1)
        assert await within(here.invoke_to(seen.calls[0][0].sender_id, "echo", LARGE)) == [LARGE]
        # None of it has passed through the broker.
        assert bus.peer(here).outbox.handed - before < 10_000
        await until(lambda: not under_way(here))
        assert here.stats()["pooled"] == 0
        await until(lambda: not bus.broker.stats()["pooled"])
        assert bus.broker.stats()["pools"] == 2


@pytest.mark.contract("2.19")
async def test_order_is_kept_between_what_is_in_the_pool_and_what_is_not(address: str) -> None:
    async with two(address, Config(limits=Limits(pool=4 * MIB))) as (_, here, _):
        seen = Calls()
        here.on("seen", seen, senders="renderers")
        sizes = [MIB, 10, 2 * MIB, 5 * MIB, 300_000, 1, MIB, MIB, MIB, 3 * MIB, 0, 6 * MIB, 200_000] * 2
        for number, size in enumerate(sizes):
            here.send_to("there", "seen", number, bytes([number]) * size)
        await seen.wait(len(sizes))
        assert seen.args == [(number, bytes([number]) * size) for number, size in enumerate(sizes)]
        await until(lambda: not under_way(here))


@pytest.mark.contract("4.1", "8.7")
async def test_what_the_sender_writes_there_later_is_not_seen(address: str) -> None:
    async with two(address) as (_, here, _):
        pool = pool_of(here)
        seen = Calls()
        here.on("seen", seen, senders="renderers")
        here.send_to("there", "seen", LARGE)
        assert (await seen.wait())[1:] == (LARGE,)
        pool._map[:] = b"\xff" * len(pool._map)
        assert seen.args == [(LARGE,)]
        assert await within(here.invoke_to("there", "echo", LARGE)) == [LARGE]


@pytest.mark.contract("8.7")
async def test_bytes_that_change_before_they_are_read_are_a_bad_message_of_their_sender_alone(address: str) -> None:
    async with two(address) as (bus, here, there):
        bystander = await bus.renderer("bystander")
        lost = Calls()
        here.events.on("disconnected", lost)
        os.kill(there.process.pid, 19)
        here.send_to("there", "seen", LARGE)
        await until(lambda: bus.broker.stats()["pooled"])
        assert here.stats()["pooled"] >= bus.broker.stats()["pooled"] > MIB
        pool = pool_of(here)
        pool._map[:] = b"\xff" * len(pool._map)
        os.kill(there.process.pid, 18)
        await lost.wait()
        assert await within(bystander.invoke_to("there", "echo", 1)) == [1]


@pytest.mark.contract("8.6", "8.7")
@pytest.mark.parametrize(
    "place", [(1 << 40, 10, 0, 1), (0, 1 << 30, 0, 1), (0, 100, 90, 20), (2**64 - 1, 2**64 - 1, 0, 0)]
)
async def test_a_place_that_is_none_closes_who_has_said_it(
    address: str, place: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(address) as (bus, here, _):
        bystander = await bus.renderer("bystander")
        lost = Calls()
        here.events.on("disconnected", lost)
        monkeypatch.setattr("mainbus.wire.pooled.pack", lambda _: b"".join(n.to_bytes(8) for n in place))
        here.send_to("there", "seen", LARGE)
        await lost.wait()
        monkeypatch.undo()
        assert await within(bystander.invoke_to("there", "echo", 1)) == [1]


@pytest.mark.contract("9.5")
async def test_a_receiver_that_is_killed_leaves_nothing(address: str) -> None:
    async with two(address) as (bus, here, there):
        waiting = here.invoke_to("there", "never", LARGE)
        assert await there.line() == "has it"
        assert len(bus.hub.shared_pools) == 2
        dying = here.invoke_to("there", "die", LARGE)
        for reply in (waiting, dying):
            with pytest.raises(ReplyNeverSent):
                await within(reply)
        await until(lambda: pool_of(here) is None)
        assert not under_way(here)
        assert len(bus.hub.shared_pools) == 0
        assert not maps()


@pytest.mark.contract("9.5")
async def test_a_sender_that_is_killed_leaves_nothing(address: str) -> None:
    async with two(address) as (bus, _, there):
        assert len(maps()) == 2
        there.kill()
        await until(lambda: not maps())
        assert len(bus.hub.shared_pools) == 0


@pytest.mark.contract("9.5", "9.6")
async def test_a_broker_that_is_killed_takes_the_pools_with_it_and_the_next_one_makes_others(address: str) -> None:
    async with Program(BROKER, address) as first:
        await first.line()
        async with mainbus.connect(address, name="here") as here, mainbus.connect(address, name="there") as there:
            there.handle("echo", lambda event, *values: list(values), senders="renderers")
            there.handle("count", lambda event: sources(there), senders="renderers")
            await asked(here)
            back = [Calls(), Calls()]
            for renderer, calls in zip((here, there), back, strict=True):
                renderer.events.on("reconnected", calls)
            reply = here.invoke_to("there", "echo", LARGE)
            first.kill()
            with pytest.raises(ConnectionLost):
                await within(reply)
            await until(lambda: not maps())
            async with Program(BROKER, address) as second:
                await second.line()
                for calls in back:
                    await calls.wait()
                await asked(here)


@pytest.mark.contract("8.6")
async def test_a_renderer_has_no_more_pools_than_the_config_allows(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(pools=1))) as bus:
        here = await bus.renderer("here", reconnect=False)
        others = [await bus.renderer(name) for name in ("a", "b")]
        for other in others:
            other.handle("echo", lambda event, value: len(value), senders="renderers")
        for _ in range(5):
            for name in ("a", "b"):
                assert await within(here.invoke_to(name, "echo", LARGE)) == len(LARGE)
            await bus.served(here)
        await until(lambda: pool_of(here, "a") is not None)
        assert pool_of(here, "b") is None
        assert len(bus.hub.shared_pools) == 1


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("config", [Config(shared_memory=False), Config(limits=Limits(pool_memory=1))])
async def test_without_shared_memory_everything_goes_on(address: str, config: Config) -> None:
    async with Bus(address, config=config) as bus:
        here, there = await bus.renderer("here"), await bus.renderer("there")
        there.handle("echo", lambda event, value: value, senders="renderers")
        for _ in range(5):
            assert await within(here.invoke_to("there", "echo", LARGE)) == LARGE
        assert pool_of(here) is None
        assert not maps()


def maps() -> list[str]:
    """Return the pools that are mapped in this process."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:mainbus" in line]
