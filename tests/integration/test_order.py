"""Order per pair of sender and receiver, over processes and loops, and who resumes before whom."""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle
from typing import Any

import anyio
import mainbus.blocking
import pytest
from mainbus import IpcRenderer
from mainbus_broker import Config, IpcMain, Limits

from tests.support.bus import Bus, Calls, Program, until, within

COUNT = 100_000 if sys.platform != "win32" else 20_000

SENDER = """
import random
import sys

async def main():
    count, chance, replies = int(sys.argv[2]), random.Random(7), []
    async with mainbus.connect(sys.argv[1], name="sender") as renderer:
        for number in range(count):
            kind, coroutine, pause = chance.random(), chance.random() < 0.5, chance.random()
            channel = "coroutine" if coroutine else "plain"
            if kind < 0.4:
                renderer.send(channel, number)
            elif kind < 0.7:
                replies.append((number, renderer.invoke(channel, number)))
            elif kind < 0.99:
                renderer.post_message(channel, number)
            else:
                assert renderer.send_sync("sync", number) == number
            if pause < 0.001:
                await asyncio.sleep(0)
        assert await asyncio.gather(*[reply for _, reply in replies]) == [number for number, _ in replies]
        await renderer.invoke("done")
        say("done")
        sys.stdin.readline()

if sys.argv[3] == "uvloop":
    import uvloop
    factory = uvloop.new_event_loop
else:
    factory = asyncio.new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""


def recording() -> tuple[IpcMain, list[int]]:
    """An IpcMain that notes the number of everything that starts, plain or coroutine."""
    started: list[int] = []
    ipc_main = IpcMain()

    def plain(event: Any, number: int) -> int:
        started.append(number)
        return number

    async def coroutine(event: Any, number: int) -> int:
        started.append(number)
        await asyncio.sleep(0)
        return number

    def sync(event: Any, number: int) -> None:
        started.append(number)
        event.return_value = number

    for channel, function in (("plain", plain), ("coroutine", coroutine)):
        ipc_main.on(channel, function)
        ipc_main.handle(channel, function)
    ipc_main.on("sync", sync)
    ipc_main.handle("done", lambda event: None)
    return ipc_main, started


@pytest.mark.contract("2.19", "2.20")
async def test_a_hundred_thousand_of_all_verbs_start_in_the_order_sent(address: str) -> None:
    ipc_main, started = recording()
    loop = "uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"
    async with Bus(address, ipc_main=ipc_main), Program(SENDER, address, str(COUNT), loop) as program:
        async with asyncio.timeout(50):
            assert (await program.process.stdout.readline()).split() == [b"done"]
        assert started == list(range(COUNT))
        program.process.stdin.write(b"\n")
        assert await program.end() == 0


def record_at(renderer: IpcRenderer) -> list[int]:
    """Register plain and coroutine callables for both senders; returns what has started."""
    started: list[int] = []

    def plain(event: Any, number: int, *_: object) -> int:
        started.append(number)
        return number

    async def coroutine(event: Any, number: int, *_: object) -> int:
        started.append(number)
        await asyncio.sleep(0)
        return number

    for channel, function in (("plain", plain), ("coroutine", coroutine)):
        renderer.on(channel, function, senders="any")
        renderer.handle(channel, function, senders="any")
    return started


@pytest.mark.contract("2.19", "2.20")
async def test_what_main_sends_and_invokes_starts_in_order(address: str) -> None:
    chance = random.Random(1)
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        started, contents, replies = record_at(renderer), bus.contents(renderer), []
        for number in range(5_000):
            channel = chance.choice(["plain", "coroutine"])
            verb = chance.choice(["send", "post", "invoke"])
            if verb == "send":
                contents.send(channel, number)
            elif verb == "post":
                contents.post_message(channel, number)
            else:
                replies.append(contents.invoke(channel, number))
            if chance.random() < 0.01:
                await asyncio.sleep(0)
        got = await asyncio.gather(*replies)
        await bus.reached(renderer)
        assert got == sorted(got)
        assert started == list(range(5_000))


@pytest.mark.contract("2.19", "9.3")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shared", [True, False])
async def test_an_id_and_a_name_are_one_pair(address: str, seed: int, shared: bool) -> None:
    chance = random.Random(seed)
    limits = Limits(running=8, high=64 * 1024, low=16 * 1024)
    async with Bus(address, config=Config(limits=limits, shared_memory=shared)) as bus:
        source, target = await bus.renderer("source"), await bus.renderer("target")
        started, replies = record_at(target), []
        addresses: list[int | str] = [target.id, "target"]
        for number in range(1_500):
            channel = chance.choice(["plain", "coroutine"])
            extra = [b"x" * chance.choice([10, 20_000, 300_000])] if chance.random() < 0.1 else []
            to = chance.choice(addresses)
            if chance.random() < 0.6:
                source.send_to(to, channel, number, *extra)
            else:
                replies.append((number, source.invoke_to(to, channel, number, *extra)))
            if chance.random() < 0.01:
                await asyncio.sleep(0)
        assert await asyncio.gather(*[reply for _, reply in replies]) == [number for number, _ in replies]
        await within(source.drain(target.id))
        await source.invoke_to(target.id, "plain", 1_500)
        assert started == list(range(1_501))


@pytest.mark.contract("2.19", "3.14")
@pytest.mark.parametrize("shared", [True, False])
async def test_an_id_and_a_name_are_one_pair_of_a_blocking_renderer_too(address: str, shared: bool) -> None:
    async with Bus(address, config=Config(shared_memory=shared)) as bus:
        target = await bus.renderer("target")
        started = record_at(target)
        addresses: Iterator[int | str] = cycle([target.id, "target"])

        def flood() -> None:
            with mainbus.blocking.connect(address) as source:
                for number in range(300):
                    extra = [b"x" * 300_000] if not number % 50 else []
                    source.send_to(next(addresses), "plain", number, *extra)
                assert source.invoke_to("target", "plain", 300) == 300

        await within(asyncio.to_thread(flood))
        assert started == list(range(301))


@pytest.mark.contract("2.19", "2.20")
@pytest.mark.parametrize("shared", [True, False])
async def test_what_a_renderer_sends_to_another_starts_in_order_small_and_large(address: str, shared: bool) -> None:
    chance = random.Random(2)
    async with Bus(address, config=Config(shared_memory=shared)) as bus:
        source, target = await bus.renderer("source"), await bus.renderer("target")
        started, replies = record_at(target), []
        for number in range(3_000):
            channel = chance.choice(["plain", "coroutine"])
            extra = [b"x" * 300_000] if chance.random() < 0.01 else []
            if chance.random() < 0.6:
                source.send_to("target", channel, number, *extra)
            else:
                replies.append(source.invoke_to("target", channel, number, *extra))
        await asyncio.gather(*replies)
        await source.invoke_to("target", "plain", 3_000)
        assert started == list(range(3_001))


@pytest.mark.contract("2.19", "3.5")
async def test_large_messages_to_main_keep_their_place_among_small_ones(address: str) -> None:
    ipc_main, _ = recording()
    seen: list[int] = []
    ipc_main.on("any", lambda event, number, *_: seen.append(number))
    async with Bus(address, ipc_main=ipc_main) as bus:
        renderer = await bus.renderer()
        for number in range(0, 30, 3):
            renderer.send("any", number, b"x" * 1_000_000)
            renderer.send("any", number + 1)
            renderer.post_message("any", number + 2)
        await bus.served(renderer)
        assert seen == list(range(30))


@pytest.mark.contract("2.19")
@pytest.mark.parametrize("shared", [True, False])
async def test_one_renderer_by_id_and_by_name_is_one_pair(address: str, shared: bool) -> None:
    async with Bus(address, config=Config(shared_memory=shared)) as bus:
        source, target = await bus.renderer("source"), await bus.renderer("target")
        started = record_at(target)
        source.send_to(target.id, "plain", 0, b"x" * 3_000_000)
        source.send_to("target", "plain", 1)
        source.send_to("target", "plain", 2, b"x" * 3_000_000)
        source.send_to(target.id, "plain", 3)
        await source.drain()
        await until(lambda: len(started) == 4)
        assert started == [0, 1, 2, 3]


@pytest.mark.contract("2.19")
@pytest.mark.parametrize("shared", [True, False])
async def test_a_reply_keeps_its_place_behind_a_large_message_to_the_caller(address: str, shared: bool) -> None:
    async with Bus(address, config=Config(shared_memory=shared)) as bus:
        caller, callee = await bus.renderer("caller"), await bus.renderer("callee")
        log: list[str] = []
        caller.on("news", lambda event, _: log.append("news"), senders="renderers")

        def handler(event: Any) -> None:
            event.sender.send_to(event.sender_id, "news", b"x" * 2_000_000)

        callee.handle("ask", handler, senders="renderers")
        await caller.invoke_to("callee", "ask")
        log.append("reply")
        assert log == ["news", "reply"]


# 3.4: who awaits a reply, in whatever way, resumes before what was sent after it is heard.


async def directly(renderer: IpcRenderer) -> None:
    await renderer.invoke("ask")


async def through_a_helper(renderer: IpcRenderer) -> None:
    async def helper() -> None:
        await renderer.invoke("ask")

    await helper()


async def with_wait_for(renderer: IpcRenderer) -> None:
    await asyncio.wait_for(renderer.invoke("ask"), 5)


async def with_timeout(renderer: IpcRenderer) -> None:
    async with asyncio.timeout(5):
        await renderer.invoke("ask")


async def with_create_task(renderer: IpcRenderer) -> None:
    await asyncio.create_task(renderer.invoke("ask"))


async def with_gather(renderer: IpcRenderer) -> None:
    await asyncio.gather(renderer.invoke("ask"), asyncio.sleep(0))


async def with_gathered_tasks(renderer: IpcRenderer) -> None:
    await asyncio.gather(asyncio.create_task(renderer.invoke("ask")), asyncio.sleep(0))


async def with_task_group(renderer: IpcRenderer) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(renderer.invoke("ask"))


async def with_anyio(renderer: IpcRenderer) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(renderer.invoke, "ask")


async def with_anyio_fail_after(renderer: IpcRenderer) -> None:
    with anyio.fail_after(5):
        await renderer.invoke("ask")


async def with_shield(renderer: IpcRenderer) -> None:
    await asyncio.shield(renderer.invoke("ask"))


WAYS = [
    directly,
    through_a_helper,
    with_wait_for,
    with_timeout,
    with_create_task,
    with_gather,
    with_gathered_tasks,
    with_task_group,
    with_anyio,
    with_anyio_fail_after,
    with_shield,
]


@pytest.mark.contract("3.4")
@pytest.mark.parametrize("asked", WAYS)
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_the_awaiter_resumes_before_a_later_message_is_heard(
    address: str, asked: Callable[[IpcRenderer], Awaitable[None]], kind: str
) -> None:
    async with Bus(address) as bus:
        log: list[str] = []
        renderer = await bus.renderer()
        contents, loop = bus.contents(renderer), asyncio.get_running_loop()

        def ask(event: Any) -> None:
            # Behind the reply, and in one write with it.
            loop.call_soon(contents.send, "later")

        async def later(event: Any) -> None:
            log.append("heard")

        bus.ipc_main.handle("ask", ask)
        renderer.on("later", later if kind == "coroutine" else lambda event: log.append("heard"))
        await asked(renderer)
        log.append("resumed")
        await bus.reached(renderer)
        assert log[0] == "resumed"
        assert "heard" in log


@pytest.mark.contract("3.4")
async def test_each_of_many_awaiters_resumes_before_what_was_sent_behind_its_reply(address: str) -> None:
    async with Bus(address) as bus:
        log: list[tuple[str, int]] = []
        renderer = await bus.renderer()
        contents, loop = bus.contents(renderer), asyncio.get_running_loop()

        def ask_number(event: Any, number: int) -> None:
            loop.call_soon(contents.send, "later", number)

        bus.ipc_main.handle("ask", ask_number)
        renderer.on("later", lambda event, number: log.append(("heard", number)))

        async def ask(number: int) -> None:
            await renderer.invoke("ask", number)
            log.append(("resumed", number))

        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(ask(number))
        await bus.reached(renderer)
        for number in range(100):
            assert log.index(("resumed", number)) < log.index(("heard", number))


@pytest.mark.contract("3.4")
async def test_in_main_the_awaiter_resumes_before_a_later_message_too(address: str) -> None:
    async with Bus(address) as bus:
        log: list[str] = []
        renderer = await bus.renderer()
        loop, heard = asyncio.get_running_loop(), Calls()

        def ask(event: Any) -> None:
            loop.call_soon(renderer.send, "later")

        renderer.handle("ask", ask)
        bus.ipc_main.on("later", lambda event: log.append("heard"))
        bus.ipc_main.on("later", heard)
        await bus.contents(renderer).invoke("ask")
        log.append("resumed")
        await within(heard.wait())
        assert log == ["resumed", "heard"]
