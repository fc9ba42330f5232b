"""Flow and its limits: targets that do not read, credit, and everybody talking to everybody at once."""

import asyncio
import gc
import logging
from typing import Any

import pytest

import mainbus
from mainbus import IpcRenderer, session
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
    monkeypatch.setattr(session, "MAX_UNSENT", 2 * MIB)
    async with (
        Bus(address, config=SMALL) as bus,
        collector(address, "target") as target,
        collector(address, "other") as _,
    ):
        source = await bus.renderer("source")
        await stop(target)
        count = await fill(source, "target")
        await until(lambda: not source.stats()["queued"])
        with pytest.raises(mainbus.SendQueueFull):
            for _ in range(1000):
                source.send_to("target", "item", count, PIECE)
                count += 1
        with pytest.raises(mainbus.SendQueueFull):
            source.invoke_to("target", "got")
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
async def test_a_held_large_message_is_whole_when_it_arrives(address: str) -> None:
    async with Bus(address, config=SMALL) as bus, collector(address, "target") as target:
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
            assert len(got) == bus.broker.config.limits.running
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
        count = 0
        with pytest.raises(mainbus.SendQueueFull, match="target"):
            while True:
                contents.send("item", count, PIECE)
                count += 1
                await asyncio.sleep(0)
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


# 9.3: credit.


@pytest.mark.contract("9.3", "2.19")
async def test_an_invoke_beyond_the_credit_waits_and_what_follows_waits_behind_it(address: str) -> None:
    async with Bus(address) as bus:
        go, started = asyncio.Event(), []
        renderer = await bus.renderer()

        async def handler(event: Any, number: int) -> int:
            started.append(number)
            await go.wait()
            return number

        bus.ipc_main.handle("slow", handler)
        bus.ipc_main.on("item", lambda event, number: started.append(number))
        replies = [renderer.invoke("slow", number) for number in range(256)]
        renderer.send("item", 256)
        late = [renderer.invoke("slow", 257), renderer.invoke("slow", 258)]
        renderer.send("item", 259)
        await until(lambda: len(started) == 257)
        assert held(renderer)
        await bus.reached(renderer)
        assert started == list(range(257))
        go.set()
        assert await within(asyncio.gather(*replies, *late)) == [*range(256), 257, 258]
        await bus.served(renderer)
        assert started == list(range(260))


@pytest.mark.contract("9.3")
async def test_the_credit_is_per_target(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=2))) as bus:
        go = asyncio.Event()
        source = await bus.renderer("source")
        targets = [await bus.renderer(name) for name in ("one", "two")]

        async def handler(event: Any) -> str:
            await go.wait()
            return str(event.sender.name)

        for target in targets:
            target.handle("slow", handler, senders="any")
        bus.ipc_main.handle("echo", lambda event, value: value)
        replies = [source.invoke_to("one", "slow") for _ in range(5)]
        replies += [source.invoke_to("two", "slow") for _ in range(2)]
        await until(lambda: sum(target.stats()["running"] for target in targets) == 4)
        assert await within(source.invoke("echo", 1)) == 1
        assert held(source)
        go.set()
        assert await within(asyncio.gather(*replies)) == ["one"] * 5 + ["two"] * 2


@pytest.mark.contract("9.3")
async def test_a_credit_other_than_the_default_is_kept_by_both_ends(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=300))) as bus:
        source, target = await bus.renderer("source"), await bus.renderer("target")
        count, go = 0, asyncio.Event()

        async def handler(event: Any) -> None:
            nonlocal count
            count += 1
            if count == 300:
                go.set()
            await go.wait()

        target.handle("slow", handler, senders="any")
        await within(asyncio.gather(*[source.invoke_to("target", "slow") for _ in range(300)]))
        count = 0
        go.clear()
        await within(asyncio.gather(*[bus.contents(target).invoke("slow") for _ in range(300)]))


@pytest.mark.contract("9.3", "5.7")
async def test_cancelling_an_invoke_that_waits_for_credit_withdraws_it(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=1))) as bus:
        go, started = asyncio.Event(), []
        renderer = await bus.renderer()

        async def handler(event: Any, number: int) -> int:
            started.append(number)
            await go.wait()
            return number

        bus.ipc_main.handle("slow", handler)
        first, second, third = (renderer.invoke("slow", number) for number in range(3))
        await until(lambda: started)
        second.cancel()
        timed = renderer.invoke("slow", 3, timeout=0.01)
        with pytest.raises(mainbus.InvokeTimeout):
            await timed
        go.set()
        assert await within(asyncio.gather(first, third)) == [0, 2]
        with pytest.raises(asyncio.CancelledError):
            await second
        await bus.served(renderer)
        assert started == [0, 2]
        assert not held(renderer)
        assert renderer.stats()["pending"] == 0


@pytest.mark.contract("9.3")
async def test_what_was_withdrawn_frees_its_room_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_UNSENT", MIB)
    async with Bus(address, config=Config(limits=Limits(running=1))) as bus:
        renderer, go = await bus.renderer(), asyncio.Event()

        async def handler(event: Any, _: bytes = b"") -> None:
            await go.wait()

        bus.ipc_main.handle("slow", handler)
        first = renderer.invoke("slow")
        for _ in range(100):
            renderer.invoke("slow", b"x" * (100 * KIB)).cancel()
        go.set()
        await within(first)


@pytest.mark.contract("9.3")
async def test_pending_invokes_are_bounded_over_all_targets(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(pending=4))) as bus:
        go = asyncio.Event()
        source = await bus.renderer("source")
        targets = [await bus.renderer(f"target {number}") for number in range(6)]

        async def handler(event: Any) -> str:
            await go.wait()
            return str(event.sender.name)

        for target in targets:
            target.handle("slow", handler, senders="any")
        replies = [source.invoke_to(target.id, "slow") for target in targets for _ in range(2)]
        await until(lambda: sum(target.stats()["running"] for target in targets) == 4)
        assert bus.broker.stats()["pending_replies"] == 4
        go.set()
        names = await within(asyncio.gather(*replies))
        assert names == [target.name for target in targets for _ in range(2)]


@pytest.mark.contract("9.3")
async def test_a_withdrawn_invoke_leaves_its_turn_to_the_next_target(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(pending=1))) as bus:
        go = asyncio.Event()
        source = await bus.renderer("source")
        targets = [await bus.renderer(name) for name in ("one", "two", "three")]

        async def handler(event: Any) -> str:
            await go.wait()
            return str(event.sender.name)

        for target in targets:
            target.handle("slow", handler, senders="any")
        first, second, third = (source.invoke_to(target.id, "slow") for target in targets)
        await until(lambda: targets[0].stats()["running"])
        second.cancel()
        go.set()
        assert await within(first) == "one"
        assert await within(third) == "three"


# Everybody at once: no deadlock.


@pytest.mark.contract("9.2", "9.3")
async def test_handlers_in_main_that_invoke_their_caller_never_deadlock(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        renderer.handle("back", lambda event, number: number)

        async def there(event: Any, number: int) -> object:
            return await event.sender.invoke("back", number)

        bus.ipc_main.handle("there", there)
        replies = [renderer.invoke("there", number) for number in range(1000)]
        assert await within(asyncio.gather(*replies)) == list(range(1000))


@pytest.mark.contract("9.2", "9.3")
async def test_two_renderers_that_flood_each_other_never_deadlock(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(high=64 * KIB, low=16 * KIB))) as bus:
        pair = await bus.renderer("left"), await bus.renderer("right")
        counts = {"left": 0, "right": 0}
        for renderer in pair:

            async def echo(event: Any, number: int, _: bytes) -> int:
                await asyncio.sleep(0)
                return number

            def item(event: Any, _: bytes) -> None:
                counts[event.sender.name] += 1

            renderer.handle("echo", echo, senders="any")
            renderer.on("item", item, senders="any")
        replies = []
        for number in range(1500):
            for source, target in (pair, pair[::-1]):
                replies.append(source.invoke_to(target.name or "", "echo", number, PIECE[:2048]))
                source.send_to(target.name or "", "item", PIECE[:2048])
        results = await asyncio.wait_for(asyncio.gather(*replies), 20)
        assert results == [number for number in range(1500) for _ in range(2)]
        for source, target in (pair, pair[::-1]):
            await within(source.drain())
            await within(source.invoke_to(target.name or "", "echo", 0, b""))
        assert counts == {"left": 1500, "right": 1500}


@pytest.mark.contract("9.2", "9.3")
async def test_handlers_that_invoke_each_other_back_never_deadlock(address: str) -> None:
    async with Bus(address) as bus:
        left, right = await bus.renderer("left"), await bus.renderer("right")

        async def through(event: Any, number: int) -> object:
            return await event.sender.invoke_to(event.sender_id, "back", number)

        for renderer in (left, right):
            renderer.handle("through", through, senders="any")
            renderer.handle("back", lambda event, number: number, senders="any")
        replies = [
            source.invoke_to(target, "through", number)
            for number in range(100)
            for source, target in ((left, "right"), (right, "left"))
        ]
        assert await asyncio.wait_for(asyncio.gather(*replies), 20) == [n for n in range(100) for _ in range(2)]


@pytest.mark.contract("9.3", "3.3")
async def test_listeners_that_await_their_sender_do_not_hold_up_its_answers(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=4))) as bus:
        renderer, done = await bus.renderer(), []
        renderer.handle("back", lambda event, number: number)

        async def ask(event: Any, number: int) -> None:
            done.append(await event.sender.invoke("back", number))

        bus.ipc_main.on("ask", ask)
        for number in range(50):
            renderer.send("ask", number)
        await until(lambda: len(done) == 50)
        assert sorted(done) == list(range(50))


@pytest.mark.contract("9.1")
async def test_nothing_that_was_dropped_unretrieved_is_left_in_any_table(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("echo", lambda event, value: value)
        for number in range(500):
            renderer.invoke("echo", number)
        await until(lambda: not renderer.stats()["pending"])
        gc.collect()
        assert renderer.stats() == {"pending": 0, "queued": 0, "held": 0, "running": 0, "reconnects": 0}
        assert not caplog.records
