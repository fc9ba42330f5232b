"""Credit: what an invoke beyond it waits for, what is withdrawn, and everybody invoking everybody at once."""

import asyncio
import gc
import logging
from typing import Any

import mainbus
import pytest
from mainbus import IpcRenderer, outgoing
from mainbus_broker import Config, Limits

from tests.support.bus import PATIENCE, Bus, until, within

KIB, MIB = 1024, 1024 * 1024


def held(renderer: IpcRenderer) -> int:
    return renderer.stats()["held"]


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
        assert tuple(await within(asyncio.gather(first, third))) == (0, 2)
        with pytest.raises(asyncio.CancelledError):
            await second
        await bus.served(renderer)
        assert started == [0, 2]
        assert not held(renderer)
        assert renderer.stats()["pending"] == 0


@pytest.mark.contract("9.3")
async def test_what_was_withdrawn_frees_its_room_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "MAX_UNSENT", MIB)
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


@pytest.mark.contract("8.6", "9.3")
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
                replies.append(source.invoke_to(target.name or "", "echo", number, b"x" * (2 * KIB)))
                source.send_to(target.name or "", "item", b"x" * (2 * KIB))
        results = await asyncio.wait_for(asyncio.gather(*replies), 2 * PATIENCE)
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
        assert await asyncio.wait_for(asyncio.gather(*replies), 2 * PATIENCE) == [
            n for n in range(100) for _ in range(2)
        ]


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
            _ = renderer.invoke("echo", number)
        await until(lambda: not renderer.stats()["pending"])
        gc.collect()
        assert not any(renderer.stats().values())
        assert not caplog.records


@pytest.mark.contract("9.2", "9.3")
async def test_what_waits_for_credit_at_an_id_holds_up_no_other_name(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=2))) as bus:
        source, one, two = [await bus.renderer(name) for name in ("source", "one", "two")]
        go = asyncio.Event()

        async def slow(event: Any) -> None:
            await go.wait()

        one.handle("slow", slow, senders="any")
        two.handle("echo", lambda event, value: value, senders="any")
        replies = [source.invoke_to(one.id, "slow") for _ in range(4)]
        try:
            await until(lambda: one.stats()["running"] == 2)
            assert await within(source.invoke_to("two", "echo", 1)) == 1
        finally:
            go.set()
        await within(asyncio.gather(*replies))


@pytest.mark.contract("9.3")
async def test_the_credit_is_one_however_the_target_is_addressed(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=4))) as bus:
        source, target = await bus.renderer("source"), await bus.renderer("target")
        go = asyncio.Event()

        async def slow(event: Any) -> None:
            await go.wait()

        target.handle("slow", slow, senders="any")
        replies = [source.invoke_to(address_, "slow") for address_ in ("target", target.id) for _ in range(3)]
        await until(lambda: target.stats()["running"] == 4)
        assert held(source)
        go.set()
        await within(asyncio.gather(*replies))


@pytest.mark.contract("9.3", "9.6")
async def test_the_credit_is_one_when_a_name_has_passed_on(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=2))) as bus:
        source = await bus.renderer("source")
        go = asyncio.Event()

        async def slow(event: Any) -> str:
            await go.wait()
            return str(event.channel)

        async with mainbus.connect(address, name="target") as former:
            former.handle("slow", slow, senders="any")
            lost = [source.invoke_to(target, "slow") for target in (former.id, "target")]
            await until(lambda: former.stats()["running"] == 2)
            waits = source.invoke_to("target", "slow")
        target = await bus.renderer("target")
        target.handle("slow", slow, senders="any")
        results = await within(asyncio.gather(*lost, return_exceptions=True))
        assert [type(result) for result in results] == [mainbus.ReplyNeverSent] * 2
        with pytest.raises((mainbus.NoSuchRenderer, mainbus.NoHandlerError)):
            # It has left as soon as the credit was there.
            await within(waits)
        replies = [source.invoke_to(address_, "slow") for address_ in ("target", target.id) for _ in range(3)]
        await until(lambda: target.stats()["running"] == 2)
        go.set()
        assert await within(asyncio.gather(*replies)) == ["slow"] * 6
