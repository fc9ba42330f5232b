"""A renderer as the main process sees it."""

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

import mainbus
import pytest
from mainbus import (
    CloneError,
    MessageTooLarge,
    NoHandlerError,
    ObjectDestroyedError,
    PortError,
    Registration,
    RemoteError,
    Reply,
    SendQueueFull,
)
from mainbus_broker import Config, IpcMain, Limits, WebContents

from tests.support import bare
from tests.support.bus import USER, Bus, Calls, stop_reading, until, within

GONE = "^Object has been destroyed$"


# 2.12: identity.


@pytest.mark.contract("2.12")
async def test_ids_count_from_one_and_are_never_used_again(address: str) -> None:
    async with Bus(address) as bus:
        one, two = await bus.renderer(), await bus.renderer()
        assert [one.id, two.id] == [1, 2]
        await two.aclose()
        assert (await bus.renderer()).id == 3


@pytest.mark.contract("2.12")
async def test_name_role_and_process(address: str) -> None:
    async with Bus(address) as bus:
        named, nameless = bus.contents(await bus.renderer("editor")), bus.contents(await bus.renderer())
        assert (named.name, nameless.name) == ("editor", None)
        assert (named.role, named.host_web_contents) == (None, None)
        process = named.process
        assert (process.pid, process.uid, process.gid) == (
            os.getpid(),
            USER,
            os.getgid() if sys.platform != "win32" else None,
        )
        if sys.platform == "linux":
            assert process.executable == os.path.realpath(sys.executable)


@pytest.mark.contract("2.12")
async def test_data_belongs_to_the_application(address: str) -> None:
    async with Bus(address) as bus:
        one, two = bus.contents(await bus.renderer()), bus.contents(await bus.renderer())
        assert one.data == {}
        one.data["key"] = 1
        assert (one.data, two.data) == ({"key": 1}, {})


@pytest.mark.contract("2.12", "2.2")
async def test_ipc_is_an_ipc_main_of_its_own(address: str) -> None:
    async with Bus(address) as bus:
        contents = bus.contents(await bus.renderer())
        assert isinstance(contents.ipc, IpcMain)
        assert contents.ipc is contents.ipc
        assert contents.ipc.channels() == {}
        assert contents.ipc is not bus.ipc_main
        assert contents.ipc is not contents.main_frame.ipc


# 2.12: verbs.


@pytest.mark.contract("2.12", "2.19")
async def test_what_is_sent_arrives_in_order(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        contents, told = bus.contents(renderer), Calls()
        renderer.on("x", told)
        renderer.handle("x", told)
        contents.send("x", 1, [2])
        contents.post_message("x", {"three": 3})
        reply = contents.invoke("x", 4)
        contents.send("x")
        assert isinstance(reply, Reply)
        await reply
        await told.wait(4)
        assert told.args == [(1, [2]), ({"three": 3},), (4,), ()]
        assert [event.sender_id for event, *_ in told.calls] == [0, 0, 0, 0]


@pytest.mark.contract("2.12", "5.1", "5.2")
async def test_invoke_gives_the_result_or_raises(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        contents = bus.contents(renderer)

        async def divide(event: object, by: int) -> float:
            await asyncio.sleep(0)
            return 1 / by

        renderer.handle("divide", divide)
        assert await contents.invoke("divide", 2) == 0.5
        with pytest.raises(ZeroDivisionError, match=r"^Error invoking remote method 'divide': ZeroDivisionError: "):
            await contents.invoke("divide", 0)
        with pytest.raises(NoHandlerError):
            await contents.invoke("nobody")
        with pytest.raises(TypeError, match="timeout"):
            _ = contents.invoke("divide", 1, timeout="soon")  # type: ignore[arg-type]


@pytest.mark.contract("2.12", "4.5")
async def test_what_cannot_be_sent_is_not_sent(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(message=1000))) as bus:
        renderer = await bus.renderer()
        contents, told = bus.contents(renderer), Calls()
        renderer.on("x", told)
        verbs: list[Callable[..., object]] = [contents.send, contents.invoke, bus.broker.web_contents.broadcast]
        for verb in (*verbs, contents.post_message):
            with pytest.raises(CloneError, match=r"^An object could not be cloned\. \(args\[0\]\[1\]: function\)$"):
                verb("x", [0, test_what_cannot_be_sent_is_not_sent])
            with pytest.raises(MessageTooLarge):
                verb("x", "x" * 1000)
            with pytest.raises(TypeError, match="channel"):
                verb("", 1)
        with pytest.raises(PortError, match=r"^Invalid value for transfer$"):
            contents.post_message("x", 1, [object()])
        await bus.reached(renderer)
        assert told.calls == []
        assert not bus.peer(renderer).has_calls or len(bus.peer(renderer).calls) == 0


@pytest.mark.contract("2.12")
async def test_close_gives_the_reason_to_the_renderer(address: str) -> None:
    async with Bus(address) as bus:
        renderer, told, gone = await bus.renderer(reconnect=False), Calls(), Calls()
        contents = bus.contents(renderer)
        renderer.events.on("disconnected", told)
        contents.on("destroyed", gone)
        contents.close("time is up")
        assert gone.calls == [()]
        assert contents.is_destroyed()
        assert await told.wait() == ("time is up",)


@pytest.mark.contract("2.12")
async def test_ready_waits_for_the_first_dispatch(address: str) -> None:
    async with Bus(address) as bus:
        created = Calls()
        bus.broker.on("web-contents-created", created)
        renderer = mainbus.connect(address)
        opening = asyncio.ensure_future(renderer._open())
        (contents,) = await created.wait()
        first, second = (asyncio.ensure_future(contents.ready()) for _ in range(2))
        await asyncio.sleep(0)
        assert not first.done()
        second.cancel()
        _ = await opening
        await within(first)
        await within(contents.ready())
        await renderer.aclose()


@pytest.mark.contract("2.12", "2.15")
async def test_ready_of_one_that_goes_before_is_an_error(address: str) -> None:
    async with Bus(address) as bus:
        created = Calls()
        bus.broker.on("web-contents-created", created)
        _, writer = await bare.connect(address)
        writer.write(mainbus.wire.messages.pack(mainbus.wire.messages.Hello()))
        (contents,) = await created.wait()
        waiting = asyncio.ensure_future(contents.ready())
        await asyncio.sleep(0)
        writer.close()
        with pytest.raises(ObjectDestroyedError, match=GONE):
            await within(waiting)
        await writer.wait_closed()


@pytest.mark.contract("8.6", "2.12", "9.3")
async def test_drain_waits_until_all_has_left_and_send_says_when_too_much_waits(address: str) -> None:
    limits = Limits(high=20_000, low=10_000, hard=100_000)
    async with Bus(address, config=Config(limits=limits)) as bus:
        renderer = await bus.renderer()
        contents, told = bus.contents(renderer), Calls()
        renderer.on("x", told)
        transport = stop_reading(renderer)
        sent = 0
        while contents.queued < limits.hard:
            contents.send("x", "x" * 10_000)
            sent += 1
            if not sent % 8:
                await asyncio.sleep(0)
        with pytest.raises(SendQueueFull):
            contents.send("x")
        draining = asyncio.ensure_future(contents.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        transport.resume_reading()
        await within(draining)
        assert contents.queued == 0
        await bus.reached(renderer)
        assert len(told.calls) == sent
        contents.send("x", "once more")
        await within(contents.drain())


@pytest.mark.contract("9.3")
async def test_invokes_that_wait_for_an_answer_to_others_are_bounded(address: str) -> None:
    limits = Limits(high=20_000, low=10_000, hard=100_000, running=2)
    async with Bus(address, config=Config(limits=limits)) as bus:
        renderer, go_on = await bus.renderer(), asyncio.Event()
        contents = bus.contents(renderer)

        @renderer.handle("x")
        async def handle(event: object, number: int, text: str) -> int:
            await go_on.wait()
            return number

        replies: list[Reply] = []
        while contents.queued < limits.hard:
            replies.append(contents.invoke("x", len(replies), "x" * 10_000))
            if len(replies) == 2:
                await contents.drain()
        with pytest.raises(SendQueueFull):
            _ = contents.invoke("x", 0, "")
        with pytest.raises(SendQueueFull):
            contents.stream("x", 0, "")
        assert len(bus.peer(renderer).calls) == len(replies)
        go_on.set()
        assert await within(asyncio.gather(*replies)) == [*range(len(replies))]


@pytest.mark.contract("2.12", "2.15")
async def test_drain_of_one_that_goes_meanwhile_is_an_error(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer(reconnect=False)
        contents = bus.contents(renderer)
        transport = stop_reading(renderer)
        while not contents.queued:
            contents.send("x", "x" * 100_000)
            await asyncio.sleep(0)
        draining = asyncio.ensure_future(contents.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        contents.close()
        with pytest.raises(ObjectDestroyedError, match=GONE):
            await within(draining)
        # It would wait for an answer to its goodbye.
        transport.abort()


# 2.12: events.


@pytest.mark.contract("2.12", "2.3", "2.6")
async def test_its_events_have_nodes_verbs(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        contents, told, once, never = bus.contents(renderer), Calls(), Calls(), Calls()
        assert isinstance(contents.on("ipc-message", told), Registration)
        contents.once("ipc-message", once)
        assert contents.add_listener("ipc-message")(never) is never
        contents.remove_listener("ipc-message", never)
        assert contents.once("ipc-message")(never) is never
        contents.off("ipc-message", never)
        with pytest.raises(ValueError, match="no-such-event"):
            contents.on("no-such-event", never)
        renderer.send("x", 1)
        renderer.post_message("y", 2)
        await bus.served(renderer)
        assert [(event.sender, channel, value) for event, channel, value in told.calls] == [
            (contents, "x", 1),
            (contents, "y", 2),
        ]
        assert len(once.calls) == 1
        assert never.calls == []


@pytest.mark.contract("2.12", "9.5")
async def test_destroyed_comes_once_when_nothing_leads_there_any_more(address: str) -> None:
    async with Bus(address) as bus:
        renderer, seen = await bus.renderer("editor"), list[object]()
        contents, registry = bus.contents(renderer), bus.broker.web_contents

        def look() -> None:
            seen.append((registry.from_id(contents.id), registry.from_name("editor"), contents.is_destroyed()))

        contents.on("destroyed", look)
        await renderer.aclose()
        await until(lambda: seen)
        _ = await bus.renderer("editor")
        assert seen == [(None, None, True)]


# 2.15: one that is gone.

VERBS: dict[str, Callable[[WebContents], object]] = {
    "send": lambda contents: contents.send("x"),
    "send that cannot be cloned": lambda contents: contents.send("x", print),
    "send to no channel": lambda contents: contents.send(""),
    "send_to_frame": lambda contents: contents.send_to_frame(0, "x"),
    "send_to_frame, another": lambda contents: contents.send_to_frame(9, "x"),
    "post_message": lambda contents: contents.post_message("x", 1),
    "post_message with a port": lambda contents: contents.post_message("x", 1, [1]),
    "invoke": lambda contents: contents.invoke("x"),
    "drain": lambda contents: contents.drain(),
    "ready": lambda contents: contents.ready(),
    "close": lambda contents: contents.close("again"),
    "frame": lambda contents: contents.main_frame.send("x"),
}


@pytest.mark.contract("2.15")
@pytest.mark.parametrize("verb", VERBS)
async def test_a_method_on_one_that_is_gone(verb: str, address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        contents = bus.contents(renderer)
        await renderer.aclose()
        await until(contents.is_destroyed)
        with pytest.raises(ObjectDestroyedError, match=GONE):
            await within(_awaited(VERBS[verb](contents)))


async def _awaited(result: Any) -> None:
    if result is not None:
        await result


@pytest.mark.contract("2.15")
async def test_what_can_be_read_of_one_that_is_gone(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        contents = bus.contents(renderer)
        await renderer.aclose()
        await until(contents.is_destroyed)
        assert (contents.id, contents.name, contents.role) == (1, "editor", None)
        assert contents.process.pid == os.getpid()
        assert contents.data == {}
        assert contents.main_frame.is_destroyed()


@pytest.mark.contract("2.15")
async def test_a_verb_from_another_thread_is_refused(address: str) -> None:
    async with Bus(address) as bus:
        contents = bus.contents(await bus.renderer())
        for verb in (contents.send, contents.invoke, bus.broker.web_contents.broadcast):
            with pytest.raises(RuntimeError, match=r"loop\.call_soon_threadsafe"):
                await asyncio.to_thread(verb, "x")


# 5.4 the other way: what the renderer's handler returns.


@pytest.mark.contract("5.4")
async def test_a_result_of_the_renderer_that_cannot_be_cloned_rejects_the_call(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        renderer.handle("x", lambda event: stop_reading)
        with pytest.raises(RemoteError) as caught:
            await bus.contents(renderer).invoke("x")
        text = "Error invoking remote method 'x': An object could not be cloned. (result: function)"
        assert str(caught.value) == text
