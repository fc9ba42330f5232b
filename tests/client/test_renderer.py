"""IpcRenderer: opening, closing, and whose thread it is."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import mainbus
import pytest
from mainbus import IpcRenderer

from tests.support.bus import Bus, Calls, until, within

RELEASED = "IPC method called after context was released"

VERBS: dict[str, Callable[[IpcRenderer], object]] = {
    "send": lambda renderer: renderer.send("x"),
    "post_message": lambda renderer: renderer.post_message("x", 1),
    "invoke": lambda renderer: renderer.invoke("x"),
    "send_sync": lambda renderer: renderer.send_sync("x"),
    "send_to": lambda renderer: renderer.send_to("other", "x"),
    "invoke_to": lambda renderer: renderer.invoke_to("other", "x"),
    "broadcast": lambda renderer: renderer.broadcast("x"),
    "drain": lambda renderer: run(renderer.drain()),
    "peers": lambda renderer: run(renderer.peers()),
    "wait_for": lambda renderer: run(renderer.wait_for("x")),
    "status": lambda renderer: run(renderer.status()),
    "granted": lambda renderer: run(renderer.granted("listen", "x")),
}
REGISTERING: dict[str, Callable[[IpcRenderer], object]] = {
    "on": lambda renderer: renderer.on("x", print),
    "once": lambda renderer: renderer.once("x", print),
    "add_listener": lambda renderer: renderer.add_listener("x", print),
    "handle": lambda renderer: renderer.handle("x", print),
    "handle_once": lambda renderer: renderer.handle_once("x", print),
    "listen": lambda renderer: renderer.listen("x"),
}

REMOVING: dict[str, Callable[[IpcRenderer], object]] = {
    "off": lambda renderer: renderer.off("x", print),
    "remove_listener": lambda renderer: renderer.remove_listener("x", print),
    "remove_all_listeners": lambda renderer: renderer.remove_all_listeners(),
    "remove_handler": lambda renderer: renderer.remove_handler("x"),
}


def run(coroutine: Any) -> object:
    """Run a coroutine that ends without ever suspending."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    finally:
        coroutine.close()
    raise AssertionError("it has suspended")


# 3.1: opening.


@pytest.mark.contract("3.1")
async def test_connect_returns_a_renderer_that_is_not_open_and_takes_registrations(address: str) -> None:
    async with Bus(address) as bus:
        renderer = mainbus.connect(address, name="editor")
        assert isinstance(renderer, IpcRenderer)
        assert not renderer.is_connected
        assert renderer.name == "editor"
        heard, once = Calls(), Calls()
        renderer.on("item", heard)
        renderer.once("item", once)
        renderer.handle("ask", lambda event: "answer")
        assert not bus.broker.web_contents.get_all_web_contents()
        async with renderer as opened:
            assert opened is renderer
            assert renderer.is_connected
            contents = bus.contents(renderer)
            contents.send("item", 1)
            contents.send("item", 2)
            assert await contents.invoke("ask") == "answer"
            assert (heard.args, once.args) == ([(1,), (2,)], [(1,)])
        assert not renderer.is_connected


@pytest.mark.contract("3.1")
async def test_await_opens_too(address: str) -> None:
    async with Bus(address) as bus:
        connected = await mainbus.connect(address)
        assert bus.broker.web_contents.from_id(connected.id) is not None
        await connected.aclose()


@pytest.mark.contract("3.1", "9.1")
@pytest.mark.parametrize("size", [10, 1000, 200_000])
async def test_nothing_is_dispatched_until_the_opening_task_suspends(address: str, size: int) -> None:
    async with Bus(address) as bus:
        count = 500 if size < 10_000 else 10
        bus.broker.on(
            "web-contents-created",
            lambda contents: [contents.send("item", number, "x" * size) for number in range(count)],
        )
        renderer = mainbus.connect(address)
        # Waits until it has all arrived: the opener has not suspended when it has.
        async with renderer:
            heard = Calls()
            time.sleep(0.01)  # noqa: ASYNC251 - the loop must not turn
            renderer.on("item", heard)
            await heard.wait(count)
            assert [number for number, _ in heard.args] == list(range(count))


@pytest.mark.contract("3.1", "2.12")
async def test_the_contents_are_ready_when_dispatch_has_begun(address: str) -> None:
    async with Bus(address) as bus, mainbus.connect(address) as renderer:
        contents = bus.contents(renderer)
        ready = asyncio.create_task(contents.ready())
        heard = Calls()
        renderer.on("item", heard)
        await within(ready)
        contents.send("item", 1)
        await heard.wait()


@pytest.mark.contract("3.1")
async def test_it_is_opened_once(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(mainbus.LocalProtocolError, match="opened already"):
            _ = await renderer


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_before_it_is_open_says_how_to_open_it(address: str, verb: str) -> None:
    with pytest.raises((mainbus.LocalProtocolError, mainbus.ConnectionLost), match=r"async with|connection"):
        VERBS[verb](mainbus.connect(address))


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128, "\ud800"])
def test_a_name_has_1_to_255_bytes(address: str, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        _ = mainbus.connect(address, name=name)


async def test_a_name_of_255_bytes_is_fine(address: str) -> None:
    async with Bus(address) as bus:
        left, right = await bus.renderer("é" * 127 + "x"), await bus.renderer("right")
        left.handle("who", lambda event: event.sender.name, senders="any")
        assert await right.invoke_to(left.name or "", "who") == left.name


# 3.10: drain and aclose.


@pytest.mark.contract("3.10")
async def test_drain_waits_until_what_was_sent_has_left(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Calls()
        bus.ipc_main.on("item", heard)
        renderer.send("item", b"x" * 8_000_000)
        await within(renderer.drain())
        stats = renderer.stats()
        assert (stats["queued"], stats["held"]) == (0, 0)
        await heard.wait()


@pytest.mark.contract("3.10", "9.1")
async def test_aclose_lets_what_was_sent_leave(address: str) -> None:
    async with Bus(address) as bus:
        heard = Calls()
        bus.ipc_main.on("item", heard)
        async with mainbus.connect(address) as renderer:
            for number in range(200):
                renderer.send("item", number)
            renderer.send("item", b"x" * 3_000_000)
        await heard.wait(201)
        assert [number for (number,) in heard.args[:200]] == list(range(200))


async def closed_after_open(address: str) -> IpcRenderer:
    renderer = await mainbus.connect(address)
    await renderer.aclose()
    return renderer


async def closed_before_open(address: str) -> IpcRenderer:
    renderer = mainbus.connect(address)
    await renderer.aclose()
    return renderer


async def closed_twice_at_once(address: str) -> IpcRenderer:
    renderer = await mainbus.connect(address)
    await within(asyncio.gather(renderer.aclose(), renderer.aclose()))
    return renderer


@pytest.mark.contract("3.10")
@pytest.mark.parametrize("close", [closed_after_open, closed_before_open, closed_twice_at_once])
async def test_after_aclose_every_verb_says_that_it_was_released(address: str, close: Any) -> None:
    async with Bus(address):
        renderer = await close(address)
        for name, verb in (VERBS | REGISTERING).items():
            with pytest.raises(mainbus.ObjectDestroyedError) as caught:
                verb(renderer)
            assert str(caught.value) == RELEASED, name
        with pytest.raises(mainbus.ObjectDestroyedError):
            _ = await renderer
        assert not renderer.is_connected
        await renderer.aclose()


@pytest.mark.contract("3.10", "9.1")
async def test_aclose_ends_what_awaits_a_reply(address: str) -> None:
    async with Bus(address) as bus:

        async def never(event: Any) -> None:
            await asyncio.Event().wait()

        bus.ipc_main.handle("never", never)
        async with mainbus.connect(address) as renderer:
            reply = renderer.invoke("never")
            await bus.served(renderer)
        with pytest.raises(mainbus.ConnectionLost):
            await within(reply)
        await until(lambda: not bus.broker.stats()["running"])


@pytest.mark.contract("3.10")
async def test_aclose_while_opening_ends_the_attempt(address: str) -> None:
    renderer = mainbus.connect(address, connect_timeout=10)

    async def open_it() -> None:
        _ = await renderer

    opening = asyncio.create_task(open_it())
    await asyncio.sleep(0)
    await within(renderer.aclose())
    async with Bus(address) as bus:
        await within(asyncio.wait([opening]))
        assert isinstance(opening.exception(), mainbus.ObjectDestroyedError)
        assert not renderer.is_connected
        assert bus.broker.stats()["connections"] == 0


@pytest.mark.contract("3.10")
async def test_a_listener_may_close_its_renderer(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await mainbus.connect(address)
        closing = asyncio.get_running_loop().create_future()

        async def close(event: Any) -> None:
            await renderer.aclose()
            closing.set_result(None)

        renderer.on("close", close)
        await bus.contents(renderer).ready()
        bus.contents(renderer).send("close")
        await within(closing)
        assert not renderer.is_connected


@pytest.mark.contract("3.10", "5.5")
async def test_aclose_answers_what_runs_here(address: str) -> None:
    async with Bus(address) as bus:
        cancelled = Calls()

        async def handler(event: Any) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled()
                raise

        async with mainbus.connect(address) as renderer:
            renderer.handle("wait", handler)
            contents = bus.contents(renderer)
            reply = contents.invoke("wait")
            await until(lambda: renderer.stats()["running"])
        with pytest.raises(mainbus.ReplyNeverSent):
            await within(reply)
        await cancelled.wait()
        assert contents.is_destroyed()


# 3.13: threads and forks.


@pytest.mark.contract("3.13")
@pytest.mark.parametrize("verb", [*VERBS, *REGISTERING, *REMOVING])
async def test_a_verb_on_another_thread_names_the_remedies(address: str, verb: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        errors: list[BaseException] = []

        def use() -> None:
            try:
                (VERBS | REGISTERING | REMOVING)[verb](renderer)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        (error,) = errors
        assert type(error) is RuntimeError
        assert "loop.call_soon_threadsafe" in str(error)
        assert "mainbus.blocking" in str(error)
        assert renderer.is_connected


@pytest.mark.contract("3.13")
async def test_a_registration_is_cancelled_in_its_thread_only(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        for registration in (renderer.on("x", print), renderer.handle("x", print)):
            before = renderer.channels()["x"]
            with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                await asyncio.to_thread(registration.cancel)
            assert renderer.channels()["x"] == before
            registration.cancel()
            assert renderer.channels().get("x") != before


@pytest.mark.contract("3.13")
async def test_aclose_on_another_thread_is_refused_too(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            await asyncio.to_thread(asyncio.run, renderer.aclose())
        assert await renderer.peers() == []


@pytest.mark.contract("3.13")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
async def test_a_verb_after_a_fork_names_the_remedies(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("echo", lambda event, value: value)
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            found = []
            for verb in VERBS.values():
                try:
                    verb(renderer)
                except BaseException as error:
                    found.append(type(error) is RuntimeError and "mainbus.blocking" in str(error))
                else:
                    found.append(False)
            os.write(writing, bytes(found))
            os._exit(0)
        os.close(writing)
        answer = await asyncio.to_thread(os.read, reading, 100)
        os.close(reading)
        await asyncio.to_thread(os.waitpid, pid, 0)
        assert list(answer) == [True] * len(VERBS)
        assert await renderer.invoke("echo", 1) == 1
