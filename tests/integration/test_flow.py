"""Flow and its limits: targets that do not read, credit, and everybody talking to everybody at once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mainbus
import pytest
from mainbus import IpcRenderer, outgoing
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, Calls, until, within
from tests.support.renderers import collector, go_on, stop

KIB, MIB = 1024, 1024 * 1024
SMALL = Config(limits=Limits(high=64 * KIB, low=16 * KIB, hard=4 * MIB, stall_timeout=600))
"""Limits that a socket's own buffer does not hide."""

PIECE = b"x" * (16 * KIB)


def held(renderer: IpcRenderer) -> int:
    return renderer.stats()["held"]


def paused(renderer: IpcRenderer, target: str) -> bool:
    """Whether the broker has asked the renderer to hold what goes to the target."""
    assert renderer._session is not None
    route = renderer._session.routes.get(target)
    return route is not None and route.paused


async def fill(renderer: IpcRenderer, target: str) -> int:
    """Send to a target that stands still until this is paused; returns how many were sent."""
    count = 0
    async with asyncio.timeout(10):
        while not paused(renderer, target):
            renderer.send_to(target, "item", count, PIECE)
            count += 1
            await asyncio.sleep(0)
    return count


async def until_full(send: Callable[[int], None], count: int) -> int:
    """Send with the number of each message until it is refused; returns the number of that one."""
    async with asyncio.timeout(10):
        while True:
            try:
                send(count)
            except mainbus.SendQueueFull:
                return count
            count += 1
            await asyncio.sleep(0)


# 9.2: a target that does not read pauses its senders, for itself alone.


@pytest.mark.contract("9.2", "9.1")
async def test_what_is_held_for_a_stopped_renderer_arrives_in_order_when_it_goes_on(address: str) -> None:
    async with Bus(address, config=SMALL) as bus, collector(address, "target") as target:
        source = await bus.renderer("source")
        await stop(target)
        count = await fill(source, "target")
        for number in range(count, count + 100):
            source.send_to("target", "item", number, PIECE)
        assert held(source) > 100 * len(PIECE)
        go_on(target)
        await within(source.drain("target"))
        assert await within(source.invoke_to("target", "got")) == list(range(count + 100))


@pytest.mark.contract("9.2", "3.10")
async def test_drain_waits_for_a_stopped_renderer_and_other_targets_go_on(address: str) -> None:
    async with (
        Bus(address, config=SMALL) as bus,
        collector(address, "target") as target,
        collector(address, "other") as _,
    ):
        source = await bus.renderer("source")
        await stop(target)
        await fill(source, "target")
        draining = asyncio.create_task(source.drain("target"))
        draining_all = asyncio.create_task(source.drain())
        bus.ipc_main.handle("echo", lambda event, value: value)
        for number in range(20):
            assert await within(source.invoke("echo", number)) == number
            source.send_to("other", "item", number)
        assert await within(source.invoke_to("other", "got")) == list(range(20))
        await within(source.drain("other"))
        assert not draining.done()
        assert not draining_all.done()
        go_on(target)
        await within(draining)
        await within(draining_all)
        assert not held(source)


@pytest.mark.contract("9.2")
async def test_more_than_max_unsent_is_refused_for_that_target_alone(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "MAX_UNSENT", 2 * MIB)
    async with (
        Bus(address, config=SMALL) as bus,
        collector(address, "target") as target,
        collector(address, "other") as _,
    ):
        source = await bus.renderer("source")
        await stop(target)
        count = await fill(source, "target")
        await until(lambda: not source.stats()["queued"])
        count = await until_full(lambda number: source.send_to("target", "item", number, PIECE), count)
        with pytest.raises(mainbus.SendQueueFull):
            _ = source.invoke_to("target", "got")
        source.send_to("other", "item", 0)
        assert await within(source.invoke_to("other", "got")) == [0]
        assert await source.peers()
        go_on(target)
        await within(source.drain("target"))
        assert await within(source.invoke_to("target", "got")) == list(range(count))


@pytest.mark.contract("9.2")
async def test_answers_to_a_caller_overtake_what_is_held_for_it(address: str) -> None:
    async with Bus(address, config=SMALL) as bus:
        source, target = await bus.renderer("source"), await bus.renderer("target")
        source.handle("echo", lambda event, value: value, senders="any")
        go = asyncio.Event()

        async def slow(event: Any, *_: object) -> None:
            await go.wait()

        target.on("slow", slow, senders="any")
        try:
            for number in range(1000):
                source.send_to("target", "slow", number, PIECE)
            await until(lambda: paused(source, "target"))
            for value in (1, 2, b"x" * (300 * KIB), b"y" * (300 * KIB)):
                assert await within(target.invoke_to("source", "echo", value)) == value
            assert held(source)
        finally:
            go.set()
        await within(source.drain("target"))


@pytest.mark.contract("9.2", "9.1")
@pytest.mark.parametrize("shared", [True, False])
async def test_a_held_large_message_is_whole_when_it_arrives(address: str, shared: bool) -> None:
    async with Bus(address, config=replace(SMALL, shared_memory=shared)) as bus, collector(address, "target") as target:
        source = await bus.renderer("source")
        await stop(target)
        for number in range(5):
            source.send_to("target", "item", [number, b"x" * (2 * MIB)])
        await until(lambda: paused(source, "target"))
        go_on(target)
        got = await within(source.invoke_to("target", "got"))
        assert [(number, len(data)) for number, data in got] == [(number, 2 * MIB) for number in range(5)]


@pytest.mark.contract("9.2", "9.5")
async def test_a_stopped_renderer_that_dies_frees_those_who_held_for_it(address: str) -> None:
    async with Bus(address, config=SMALL) as bus, collector(address, "target") as target:
        source = await bus.renderer("source")
        undeliverable, gap = Calls(), Calls()
        source.events.on("undeliverable", undeliverable)
        source.events.on("gap", gap)
        await stop(target)
        await fill(source, "target")
        source.send_to("target", "item", -1)
        waiting = source.invoke_to("target", "got")
        target.kill()
        await undeliverable.wait()
        with pytest.raises(mainbus.NoSuchRenderer):
            await within(waiting)
        await within(source.drain())
        assert gap.calls
        assert undeliverable.calls[0] == ("target", "item", "no such renderer")


@pytest.mark.contract("9.2")
async def test_a_broadcast_is_held_while_one_target_stands_still_and_loses_nothing(address: str) -> None:
    async with (
        Bus(address, config=SMALL) as bus,
        collector(address, "target") as target,
        collector(address, "other") as _,
    ):
        source = await bus.renderer("source")
        await stop(target)
        count = 0
        async with asyncio.timeout(10):
            while not paused(source, "target"):
                source.broadcast("item", count, PIECE)
                count += 1
                await asyncio.sleep(0)
        # What is held for the broadcast holds up nothing else.
        source.send_to("other", "item", -1)
        assert (await within(source.invoke_to("other", "got")))[-1] == -1
        go_on(target)
        await within(source.drain())
        assert await within(source.invoke_to("target", "got")) == list(range(count))


@pytest.mark.contract("9.2")
async def test_main_that_is_slow_pauses_its_sender(address: str) -> None:
    async with Bus(address, config=SMALL) as bus:
        go, got = asyncio.Event(), []
        source, other = await bus.renderer("source"), await bus.renderer("other")

        async def slow(event: Any, number: int, _: bytes) -> None:
            got.append(number)
            await go.wait()

        bus.ipc_main.on("slow", slow)
        bus.ipc_main.handle("echo", lambda event, value: value)
        for number in range(1000):
            source.send("slow", number, PIECE)
        try:
            await until(lambda: source._session is not None and source._session.main.paused)
            assert await within(other.invoke("echo", 1)) == 1
            await until(lambda: len(got) == bus.broker.config.limits.running)
        finally:
            go.set()
        await within(source.drain(0))
        await bus.served(source)
        assert got == list(range(1000))


# 9.3: main towards a renderer that does not read.


@pytest.mark.contract("9.3", "2.12")
async def test_main_gets_send_queue_full_at_the_hard_limit_and_drain_waits(address: str) -> None:
    async with Bus(address, config=SMALL) as bus, collector(address, "target") as target:
        contents = bus.broker.web_contents.from_name("target")
        assert contents is not None
        await stop(target)
        count = await until_full(lambda number: contents.send("item", number, PIECE), 0)
        with pytest.raises(mainbus.SendQueueFull, match="target"):
            contents.send("item", count, PIECE)
        assert contents.queued >= SMALL.limits.hard
        draining = asyncio.create_task(contents.drain())
        other = await bus.renderer("other")
        await bus.served(other)
        assert not draining.done()
        go_on(target)
        await within(draining)
        assert await within(contents.invoke("got")) == list(range(count))


@pytest.mark.contract("9.3", "2.14")
async def test_a_broadcast_of_main_closes_a_target_at_the_hard_limit(address: str) -> None:
    async with Bus(address, config=SMALL) as bus, collector(address, "target") as target:
        other, got, slow = await bus.renderer("other"), Calls(), Calls()
        other.on("item", got)
        bus.broker.on("slow-consumer", slow)
        contents = bus.broker.web_contents.from_name("target")
        assert contents is not None
        await stop(target)
        count = 0
        async with asyncio.timeout(10):
            while not slow.calls:
                bus.broker.web_contents.broadcast("item", count, PIECE)
                count += 1
                await asyncio.sleep(0)
        assert slow.calls == [(contents,)]
        assert contents.is_destroyed()
        assert bus.broker.stats()["slow_consumers"] == 1
        await bus.reached(other)
        assert [number for number, _ in got.args] == list(range(count))
        go_on(target)


@pytest.mark.contract("9.3")
async def test_a_renderer_that_reads_nothing_for_stall_timeout_is_closed(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(high=64 * KIB, low=16 * KIB, hard=4 * MIB, stall_timeout=0.2)
    async with Bus(address, config=Config(limits=limits)) as bus, collector(address, "target") as target:
        slow = Calls()
        bus.broker.on("slow-consumer", slow)
        contents = bus.broker.web_contents.from_name("target")
        assert contents is not None
        await stop(target)
        while contents.queued <= limits.low:
            contents.send("item", 0, PIECE)
            await asyncio.sleep(0)
        with pytest.raises(mainbus.ObjectDestroyedError):
            await within(contents.drain())
        assert slow.calls == [(contents,)]
        assert "slow consumer" in caplog.text
        go_on(target)


@pytest.mark.contract("9.3")
async def test_a_renderer_that_stands_still_with_little_waiting_is_not_closed(address: str) -> None:
    limits = Limits(stall_timeout=0.01)
    async with Bus(address, config=Config(limits=limits)) as bus, collector(address, "target") as target:
        contents, slow = bus.broker.web_contents.from_name("target"), Calls()
        assert contents is not None
        bus.broker.on("slow-consumer", slow)
        await stop(target)
        contents.send("item", 1)
        # The watch has come round some times.
        loop = asyncio.get_running_loop()
        until_then = loop.time() + 10 * limits.stall_timeout
        await until(lambda: loop.time() > until_then)
        assert not slow.calls
        go_on(target)
        assert await within(contents.invoke("got")) == [1]


@pytest.mark.contract("9.2", "2.19")
async def test_what_is_held_for_an_id_and_its_name_goes_on_in_the_order_sent(address: str) -> None:
    async with Bus(address, config=SMALL) as bus, collector(address, "target") as target:
        source = await bus.renderer("source")
        contents = bus.broker.web_contents.from_name("target")
        assert contents is not None
        addresses: list[int | str] = ["target", contents.id]
        for address_ in addresses:
            await within(source.invoke_to(address_, "got"))
        await stop(target)
        count = await fill(source, "target")
        for number in range(count, count + 50):
            source.send_to(addresses[number % 2], "item", number, PIECE)
        go_on(target)
        await within(source.drain())
        assert await within(source.invoke_to("target", "got")) == list(range(count + 50))
