"""What one renderer sends to the main process starts in the order sent, however its callables run."""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from mainbus import IpcRenderer
from mainbus_broker import Config, IpcMain, Limits

from tests.support.bus import Bus, in_thread, until, within

MESSAGES = 400
KINDS = ("plain", "coroutine", "awaitable", "worker")


def listen(ipc: IpcMain, seen: list[int]) -> None:
    """Register a listener and a handler of each kind; each notes its number in its first step."""

    def plain(event: Any, number: int) -> int:
        seen.append(number)
        if hasattr(event, "return_value"):
            event.return_value = number
        return number

    async def coroutine(event: Any, number: int) -> int:
        plain(event, number)
        await asyncio.sleep(0)
        return number

    kinds: dict[str, Callable[[Any, int], object]] = {
        "plain": plain,
        "coroutine": coroutine,
        "awaitable": lambda event, number: coroutine(event, number),
        "worker": plain,
    }
    for name, function in kinds.items():
        ipc.on(name, function, thread=name == "worker")
        ipc.handle(name, function, thread=name == "worker")


async def mix(renderer: IpcRenderer, verbs: tuple[str, ...], kinds: tuple[str, ...] = KINDS) -> list[str]:
    """Send numbers in a row by random verbs to callables of random kinds; returns the kind of each."""
    chance, replies, used = random.Random(1), list[Awaitable[int]](), list[str]()
    for number in range(MESSAGES):
        kind, verb = chance.choice(kinds), chance.choice(verbs)
        if verb == "send_sync" and kind == "worker":
            kind = "plain"  # an answer is set on the loop only
        used.append(kind)
        if verb == "invoke":
            replies.append(renderer.invoke(kind, number))
        else:
            result = getattr(renderer, verb)(kind, number)
            assert result == (number if verb == "send_sync" else None)
        if chance.random() < 0.05:
            await asyncio.sleep(0)
    answers = await asyncio.gather(*replies)
    assert answers == sorted(answers)
    return used


def check_order(seen: list[int], kinds: list[str]) -> None:
    """A worker starts after all before it; what its thread does next is beside the loop's order."""
    assert sorted(seen) == list(range(MESSAGES))
    on_loop = [number for number in seen if kinds[number] != "worker"]
    assert on_loop == sorted(on_loop)
    for place, number in enumerate(seen):
        if kinds[number] == "worker":
            assert not [later for later in seen[place:] if later < number and kinds[later] != "worker"]


@pytest.mark.contract("2.19", "2.20")
@pytest.mark.parametrize("kinds", [("plain", "coroutine"), ("plain", "coroutine", "awaitable"), KINDS])
@pytest.mark.parametrize("running", [2, 256])
async def test_verbs_and_kinds_mixed_start_in_the_order_sent(
    kinds: tuple[str, ...], running: int, address: str
) -> None:
    async with Bus(address, config=Config(limits=Limits(running=running))) as bus:
        renderer, seen = await bus.renderer(), list[int]()
        listen(bus.ipc_main, seen)
        used = await mix(renderer, ("send", "post_message", "invoke"), kinds)
        await bus.served(renderer)
        await until(lambda: len(seen) == MESSAGES)
        check_order(seen, used)


@pytest.mark.contract("2.19", "2.20")
async def test_send_sync_keeps_its_place_among_them(address: str) -> None:
    async with Bus(address) as bus:
        seen: list[int] = []
        listen(bus.ipc_main, seen)

        async def use(renderer: IpcRenderer) -> list[str]:
            return await mix(renderer, ("send", "send_sync", "invoke", "post_message"))

        used = await in_thread(address, use)
        await until(lambda: len(seen) == MESSAGES)
        check_order(seen, used)


@pytest.mark.contract("2.19")
async def test_several_senders_each_keep_their_order(address: str) -> None:
    async with Bus(address) as bus:
        renderers, seen = [await bus.renderer() for _ in range(3)], dict[int, list[int]]()

        def note(event: Any, number: int) -> None:
            seen.setdefault(event.sender.id, []).append(number)

        async def note_later(event: Any, number: int) -> None:
            note(event, number)

        bus.ipc_main.on("plain", note)
        bus.ipc_main.on("coroutine", note_later)
        await asyncio.gather(*(mix(renderer, ("send", "post_message"), KINDS[:2]) for renderer in renderers))
        for renderer in renderers:
            await bus.served(renderer)
        assert seen == {renderer.id: list(range(MESSAGES)) for renderer in renderers}


@pytest.mark.contract("2.20")
@pytest.mark.parametrize("before", ["coroutine", "awaitable"])
async def test_a_plain_listener_waits_for_the_first_step_of_what_was_before_it(before: str, address: str) -> None:
    async with Bus(address) as bus:
        renderer, seen = await bus.renderer(), list[int]()
        listen(bus.ipc_main, seen)
        renderer.send(before, 1)
        renderer.send("plain", 2)
        reply = renderer.invoke("plain", 3)
        assert await reply == 3
        assert seen == [1, 2, 3]


@pytest.mark.contract("2.20")
async def test_the_listeners_of_one_message_start_in_order_too(address: str) -> None:
    async with Bus(address) as bus:
        renderer, seen = await bus.renderer(), list[str]()

        async def coroutine(event: object) -> None:
            seen.append("coroutine")

        bus.ipc_main.on("x", lambda event: seen.append("first"))
        bus.ipc_main.on("x", coroutine)
        bus.ipc_main.on("x", lambda event: seen.append("last"))
        renderer.send("x")
        await bus.served(renderer)
        assert seen == ["first", "coroutine", "last"]


@pytest.mark.contract("2.20", "2.10")
async def test_a_plain_listener_waits_until_a_worker_has_begun(address: str) -> None:
    loop, release = asyncio.get_running_loop(), threading.Event()
    workers = ThreadPoolExecutor(1, "asyncio_test")
    loop.set_default_executor(workers)
    try:
        async with Bus(address) as bus:
            renderer, other, seen = await bus.renderer(), await bus.renderer(), list[int]()
            listen(bus.ipc_main, seen)
            busy = loop.run_in_executor(None, release.wait)
            renderer.send("worker", 1)
            renderer.send("plain", 2)
            await until(lambda: not bus.peer(renderer).inbox.clear)
            other.send("plain", 3)
            await bus.served(other)
            assert seen == [3]
            release.set()
            await bus.served(renderer)
            await until(lambda: len(seen) == 3)
            await busy
    finally:
        release.set()
        workers.shutdown()
        loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio_test"))


@pytest.mark.contract("2.20", "2.12")
async def test_a_coroutine_of_the_contents_event_starts_before_what_comes_later(address: str) -> None:
    async with Bus(address) as bus:
        renderer, seen = await bus.renderer(), list[object]()

        async def coroutine(event: object, channel: str, number: int) -> None:
            seen.append(("event", number))

        bus.contents(renderer).on("ipc-message", coroutine)
        bus.ipc_main.on("x", lambda event, number: seen.append(("main", number)))
        renderer.send("x", 1)
        renderer.send("x", 2)
        await bus.served(renderer)
        assert seen == [("event", 1), ("main", 1), ("event", 2), ("main", 2)]


@pytest.mark.contract("2.20", "2.16")
async def test_one_level_has_started_before_the_next(address: str) -> None:
    async with Bus(address) as bus:
        renderer, seen = await bus.renderer(), list[str]()
        contents = bus.contents(renderer)

        def coroutine(name: str) -> Callable[..., Awaitable[None]]:
            async def listener(event: object, *args: object) -> None:
                seen.append(name)

            return listener

        contents.on("ipc-message", coroutine("event, coroutine"))
        contents.on("ipc-message", lambda event, channel: seen.append("event, plain"))
        contents.ipc.on("x", coroutine("contents, coroutine"))
        contents.ipc.on("x", lambda event: seen.append("contents, plain"))
        bus.ipc_main.on("x", coroutine("main, coroutine"))
        renderer.send("x")
        await bus.served(renderer)
        order = ["event, coroutine", "event, plain", "contents, coroutine", "contents, plain", "main, coroutine"]
        assert seen == order


@pytest.mark.contract("2.20")
async def test_only_the_start_is_waited_for_not_the_end(address: str) -> None:
    async with Bus(address) as bus:
        renderer, release, seen = await bus.renderer(), asyncio.Event(), list[str]()

        async def waits(event: object) -> str:
            await release.wait()
            seen.append("end")
            return "late"

        bus.ipc_main.handle("waits", waits)
        bus.ipc_main.on("waits", waits)
        bus.ipc_main.handle("quick", lambda event: "quick")
        renderer.send("waits")
        slow = renderer.invoke("waits")
        assert await within(renderer.invoke("quick")) == "quick"
        assert seen == []
        release.set()
        assert await within(slow) == "late"
        assert seen == ["end", "end"]


@pytest.mark.contract("2.20", "2.10")
async def test_a_worker_that_runs_does_not_keep_the_loop_waiting(address: str) -> None:
    async with Bus(address) as bus:
        renderer, release = await bus.renderer(), threading.Event()
        bus.ipc_main.handle("worker", lambda event: release.wait(10), thread=True)
        bus.ipc_main.handle("quick", lambda event: "quick")
        slow = renderer.invoke("worker")
        assert await within(renderer.invoke("quick")) == "quick"
        release.set()
        assert await within(slow) is True


@pytest.mark.contract("2.19", "2.16")
async def test_what_the_main_process_sends_and_replies_keeps_its_order(address: str) -> None:
    async with Bus(address) as bus:
        renderer, seen = await bus.renderer(), list[object]()
        contents = bus.contents(renderer)
        renderer.on("x", lambda event, value: seen.append(value))
        renderer.handle("x", lambda event, value: seen.append(value))

        def handler(event: Any) -> str:
            contents.send("x", 1)
            contents.post_message("x", 2)
            replies.append(contents.invoke("x", 3))
            event.sender.send("x", "y" * 300_000)
            return "answer"

        replies: list[Awaitable[object]] = []
        bus.ipc_main.handle("go", handler)

        async def ask() -> None:
            seen.append(await renderer.invoke("go"))

        await ask()
        await within(replies[0])
        await bus.reached(renderer)
        assert seen == [1, 2, 3, "y" * 300_000, "answer"]


@pytest.mark.contract("2.19")
async def test_who_awaits_a_reply_goes_on_before_listeners_of_what_was_sent_after_it(address: str) -> None:
    async with Bus(address) as bus:
        renderer, seen = await bus.renderer(), list[str]()

        def handler(event: object) -> None:
            # Leaves in one write with the reply, behind it.
            asyncio.get_running_loop().call_soon(renderer.send, "later")

        async def ask() -> None:
            await bus.contents(renderer).invoke("ask")
            seen.append("reply")

        renderer.handle("ask", handler)
        bus.ipc_main.on("later", lambda event: seen.append("later"))
        await asyncio.create_task(ask())
        await bus.served(renderer)
        assert seen == ["reply", "later"]


@pytest.mark.contract("2.19")
async def test_a_large_message_keeps_its_place(address: str) -> None:
    async with Bus(address) as bus:
        renderer, seen = await bus.renderer(), list[object]()
        bus.ipc_main.on("x", lambda event, value: seen.append(len(value)))
        bus.ipc_main.handle("x", lambda event, value: seen.append(len(value)))
        replies = []
        for size in (1, 1_000_000, 2, 300_000, 3):
            renderer.send("x", "x" * size)
            replies.append(renderer.invoke("x", "x" * (size + 10)))
        await asyncio.gather(*replies)
        assert seen == [1, 11, 1_000_000, 1_000_010, 2, 12, 300_000, 300_010, 3, 13]


@pytest.mark.contract("2.19")
async def test_an_answer_behind_what_waits_passes_it_once_as_many_listeners_run_as_may(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=2))) as bus:
        renderer, answered = await bus.renderer(), asyncio.Event()

        @bus.ipc_main.on("job")
        async def job(event: Any) -> None:
            await answered.wait()

        # What comes behind it waits until its thread has begun, the answer too; and then it is the jobs that run.
        bus.ipc_main.on("thread", lambda event: None, thread=True)

        @renderer.handle("ask")
        def ask(event: Any) -> str:
            renderer.send("thread")
            for _ in range(3):
                renderer.send("job")
            return "answer"

        assert await within(bus.contents(renderer).invoke("ask")) == "answer"
        answered.set()
