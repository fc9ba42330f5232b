"""IpcRenderer: opening and closing, the verbs to main and to other renderers, and what it tells of itself."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import mainbus
from mainbus import IpcRenderer, PeerInfo
from tests.support.bus import Bus, Calls, Program, in_thread, until, within

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
}
REGISTERING: dict[str, Callable[[IpcRenderer], object]] = {
    "on": lambda renderer: renderer.on("x", print),
    "once": lambda renderer: renderer.once("x", print),
    "add_listener": lambda renderer: renderer.add_listener("x", print),
    "handle": lambda renderer: renderer.handle("x", print),
    "handle_once": lambda renderer: renderer.handle_once("x", print),
    "listen": lambda renderer: renderer.listen("x"),
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
    async with Bus(address) as bus:
        async with mainbus.connect(address) as renderer:
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
            await renderer


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_before_it_is_open_says_how_to_open_it(address: str, verb: str) -> None:
    with pytest.raises((mainbus.LocalProtocolError, mainbus.ConnectionLost), match="async with|connection"):
        VERBS[verb](mainbus.connect(address))


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128, "\ud800"])
def test_a_name_has_1_to_255_bytes(address: str, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        mainbus.connect(address, name=name)


async def test_a_name_of_255_bytes_is_fine(address: str) -> None:
    async with Bus(address) as bus:
        left, right = await bus.renderer("é" * 127 + "x"), await bus.renderer("right")
        left.handle("who", lambda event: event.sender.name, senders="any")
        assert await right.invoke_to(left.name or "", "who") == left.name


# 3.3, 3.6: to main.


@pytest.mark.contract("3.3", "3.6", "3.11")
async def test_events_of_main_tell_who_sent_them(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        item, message, back = Calls(), Calls(), Calls()
        renderer.on("item", item)
        renderer.on("message", message)
        bus.ipc_main.on("back", back)
        contents = bus.contents(renderer)
        contents.send("item", 1, "two")
        contents.post_message("message", {"three": 3})
        event, *args = await item.wait()
        assert (event.sender, event.channel, event.ports, event.sender_id, event.sender_name) == (
            renderer,
            "item",
            [],
            0,
            "",
        )
        assert args == [1, "two"]
        event, *args = await message.wait()
        assert (args, event.ports) == ([{"three": 3}], [])
        event.reply("back", "to main")
        event, value = await back.wait()
        assert (event.sender, event.ports, value) == (contents, [], "to main")
        renderer.post_message("back", [1])
        assert (await back.wait(2))[1:] == ([1],)


@pytest.mark.contract("3.6")
async def test_a_transfer_of_what_is_no_port_is_refused(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(mainbus.PortError, match="^Invalid value for transfer$"):
            renderer.post_message("x", 1, [object()])
        renderer.post_message("x", 1, [])


@pytest.mark.contract("3.11")
async def test_a_handlers_event_has_a_deadline_and_no_reply(address: str) -> None:
    async with Bus(address) as bus:
        renderer, handled = await bus.renderer(), Calls()
        renderer.handle("ask", handled)
        now = asyncio.get_running_loop().time()
        await bus.contents(renderer).invoke("ask", timeout=100)
        (event,) = await handled.wait()
        assert not hasattr(event, "reply")
        assert not hasattr(event, "ports")
        assert event.request_id > 0
        assert now < event.deadline < now + 101
        await bus.contents(renderer).invoke("ask")
        assert (await handled.wait(2))[0].deadline is None


async def test_what_cannot_be_cloned_is_refused_before_anything_is_sent(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer("one"), Calls()
        bus.ipc_main.on("x", heard)
        for verb in (
            lambda: renderer.send("x", print),
            lambda: renderer.post_message("x", print),
            lambda: renderer.invoke("x", print),
            lambda: renderer.send_to("one", "x", print),
            lambda: renderer.invoke_to("one", "x", print),
            lambda: renderer.broadcast("x", print),
        ):
            with pytest.raises(mainbus.CloneError, match=r"args\[0\]"):
                verb()
        await bus.served(renderer)
        assert not heard.calls
        assert renderer.stats()["pending"] == 0


@pytest.mark.parametrize("channel", ["", "x" * 256, "\ud800", 5, None, b"x"])
async def test_a_channel_is_a_str_of_1_to_255_bytes(address: str, channel: Any) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        for verb in (
            renderer.send,
            renderer.invoke,
            renderer.broadcast,
            lambda channel: renderer.post_message(channel, 1),
            lambda channel: renderer.send_to("x", channel),
            lambda channel: renderer.invoke_to("x", channel),
            renderer.listen,
        ):
            with pytest.raises(TypeError, match="Expected channel"):
                verb(channel)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "1", True])
async def test_a_timeout_is_a_number_of_seconds(address: str, timeout: Any) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        for verb in (renderer.invoke, renderer.send_sync):
            with pytest.raises((TypeError, ValueError), match="Expected timeout"):
                verb("x", timeout=timeout)
        with pytest.raises((TypeError, ValueError), match="Expected timeout"):
            await renderer.wait_for("x", timeout)
        assert renderer.stats()["pending"] == 0


# 3.5: send_sync.


@pytest.mark.contract("3.5")
async def test_send_sync_blocks_and_what_arrives_meanwhile_is_dispatched_after_it(address: str) -> None:
    async with Bus(address) as bus:

        def sync(event: Any, value: int) -> None:
            event.sender.send("meanwhile", 1)
            event.return_value = value * 2
            event.sender.send("meanwhile", 2)

        bus.ipc_main.on("sync", sync)

        async def use(renderer: IpcRenderer) -> list[object]:
            log: list[object] = []
            done = asyncio.Event()
            renderer.on("meanwhile", lambda event, number: (log.append(number), number == 2 and done.set()))
            log.append(renderer.send_sync("sync", 21))
            await done.wait()
            return log

        assert await in_thread(address, use) == [42, 1, 2]


@pytest.mark.contract("3.5")
async def test_send_sync_on_the_brokers_own_loop_is_refused(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(RuntimeError, match="own loop"):
            renderer.send_sync("x")
        assert await renderer.peers() == []


@pytest.mark.contract("3.5")
async def test_the_first_ctrl_c_interrupts_send_sync(address: str) -> None:
    async with Bus(address) as bus:
        called = Calls()

        async def never(event: Any) -> None:
            called()
            await asyncio.Event().wait()

        bus.ipc_main.on("never", never)
        source = """
            async def main():
                async with mainbus.connect(sys.argv[1]) as renderer:
                    try:
                        renderer.send_sync("never")
                    except KeyboardInterrupt:
                        say("interrupted")
                        say(await renderer.peers())

            asyncio.run(main())
        """
        async with Program(source, address) as program:
            await called.wait()
            program.process.send_signal(signal.SIGINT)
            assert await program.line() == "interrupted"
            assert await program.line() == "[]"
            assert await program.end() == 0


# 3.7, 3.8: to other renderers.


@pytest.mark.contract("3.7", "3.11")
async def test_send_to_and_invoke_to_reach_by_id_and_by_name(address: str) -> None:
    async with Bus(address) as bus:
        left, right = await bus.renderer("left"), await bus.renderer("right")
        heard, back = Calls(), Calls()
        right.on("item", heard, senders="renderers")
        left.on("back", back, senders="renderers")
        right.handle("double", lambda event, value: [value * 2, event.sender_id, event.sender_name], senders="any")
        left.send_to("right", "item", 1)
        left.send_to(right.id, "item", 2)
        event, number = await heard.wait(2)
        assert (event.sender_id, event.sender_name, number) == (left.id, "left", 2)
        event.reply("back", 3)
        assert (await back.wait())[1] == 3
        for target in ("right", right.id):
            assert await left.invoke_to(target, "double", 4) == [8, left.id, "left"]


async def test_target_0_is_the_main_process(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Calls()
        bus.ipc_main.on("item", heard)
        bus.ipc_main.handle("ask", lambda event: "main")
        renderer.send_to(0, "item", 1)
        assert await renderer.invoke_to(0, "ask") == "main"
        assert heard.args == [(1,)]


@pytest.mark.contract("3.7", "9.5")
async def test_a_renderer_may_send_to_itself_and_leave(address: str) -> None:
    async with Bus(address) as bus:
        async with mainbus.connect(address, name="self") as renderer:
            heard = Calls()
            renderer.on("item", heard, senders="any")
            renderer.handle("ask", lambda event: event.sender_id, senders="any")
            renderer.send_to("self", "item", 1)
            renderer.send_to(renderer.id, "item", 2)
            await heard.wait(2)
            assert await renderer.invoke_to("self", "ask") == renderer.id
        assert bus.broker.stats()["renderers"] == 0
        assert await (await bus.renderer("self")).peers() == []


@pytest.mark.contract("3.7")
@pytest.mark.parametrize("target", [True, 1.5, None, b"x"])
async def test_a_target_is_an_id_or_a_name(address: str, target: Any) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(TypeError):
            renderer.send_to(target, "x")
        with pytest.raises(TypeError):
            renderer.invoke_to(target, "x")
        for number in (-1, 2**32):
            with pytest.raises(ValueError, match="id"):
                renderer.send_to(number, "x")


@pytest.mark.contract("3.7")
@pytest.mark.parametrize("size", [1, 300_000])
async def test_what_cannot_be_delivered_is_told(address: str, size: int) -> None:
    async with Bus(address) as bus:
        left, right, told = await bus.renderer("left"), await bus.renderer("right"), Calls()
        left.events.on("undeliverable", told)
        right.on("main only", lambda event, value: None)
        body = b"x" * size
        for number, (target, channel, reason) in enumerate(
            [
                ("nobody", "x", "no such renderer"),
                (999, "x", "no such renderer"),
                ("right", "x", "nobody listens there"),
                (right.id, "x", "nobody listens there"),
                ("right", "main only", "nobody listens there"),
            ]
        ):
            left.send_to(target, channel, body)
            assert await told.wait(number + 1) == (target, channel, reason)


@pytest.mark.contract("3.7", "5.2")
async def test_invoke_to_says_why_it_cannot_be_delivered(address: str) -> None:
    async with Bus(address) as bus:
        left, right = await bus.renderer("left"), await bus.renderer("right")
        right.handle("main only", lambda event: None)
        for target in ("nobody", 999):
            with pytest.raises(mainbus.NoSuchRenderer, match=str(target)):
                await left.invoke_to(target, "x", b"x" * 300_000)
        for target in ("right", right.id):
            for channel in ("x", "main only"):
                with pytest.raises(mainbus.NoHandlerError):
                    await left.invoke_to(target, channel)


@pytest.mark.contract("3.2")
async def test_no_renderer_can_pass_for_the_main_process(address: str) -> None:
    async with Bus(address) as bus:
        left, right = await bus.renderer("left"), await bus.renderer("right")
        heard: dict[str, list[int]] = {"main": [], "renderers": [], "any": [], "default": []}

        def listener(kind: str) -> Callable[..., None]:
            return lambda event, *_: heard[kind].append(event.sender_id)

        right.on("x", listener("default"))
        for kind in ("main", "renderers", "any"):
            right.on("x", listener(kind), senders=kind)  # type: ignore[arg-type]
            right.handle(f"handle {kind}", lambda event: event.sender_id, senders=kind)  # type: ignore[arg-type]
        left.send_to("right", "x")
        left.broadcast("x")
        left.send_to("right", "x", b"x" * 300_000)
        await until(lambda: len(heard["any"]) == 3)
        bus.contents(right).send("x")
        await bus.reached(right)
        assert heard == {"main": [0], "default": [0], "renderers": [left.id] * 3, "any": [left.id] * 3 + [0]}
        contents = bus.contents(right)
        assert [await contents.invoke(f"handle {kind}") for kind in ("main", "any")] == [0, 0]
        with pytest.raises(mainbus.NoHandlerError):
            await contents.invoke("handle renderers")
        assert [await left.invoke_to("right", f"handle {kind}") for kind in ("renderers", "any")] == [left.id] * 2
        with pytest.raises(mainbus.NoHandlerError):
            await left.invoke_to("right", "handle main")


@pytest.mark.contract("3.2")
async def test_a_once_is_not_used_up_by_what_it_does_not_take(address: str) -> None:
    async with Bus(address) as bus:
        left, right, heard = await bus.renderer("left"), await bus.renderer("right"), Calls()
        right.once("x", heard)
        right.handle_once("ask", lambda event: "main's")
        left.send_to("right", "x", 1)
        with pytest.raises(mainbus.NoHandlerError):
            await left.invoke_to("right", "ask")
        bus.contents(right).send("x", 2)
        assert await bus.contents(right).invoke("ask") == "main's"
        assert heard.args == [(2,)]


@pytest.mark.contract("3.8")
async def test_broadcast_reaches_every_other_renderer_and_peers_lists_them(address: str) -> None:
    async with Bus(address) as bus:
        one, two, three = await bus.renderer("one"), await bus.renderer("two"), await bus.renderer()
        heard = {renderer: Calls() for renderer in (one, two, three)}
        main, told = Calls(), Calls()
        bus.ipc_main.on("news", main)
        one.events.on("undeliverable", told)
        for renderer, calls in heard.items():
            renderer.on("news", calls, senders="renderers")
        one.broadcast("news", 1)
        one.broadcast("nobody listens")
        one.broadcast("news", 2)
        for renderer in (two, three):
            event, _ = await heard[renderer].wait(2)
            assert event.sender_id == one.id
            assert heard[renderer].args == [(1,), (2,)]
        await bus.served(one)
        assert not heard[one].calls
        assert not main.calls
        assert not told.calls
        assert await one.peers() == [PeerInfo(two.id, "two"), PeerInfo(three.id, None)]
        assert await three.peers() == [PeerInfo(one.id, "one"), PeerInfo(two.id, "two")]


# 3.9: wait_for.


@pytest.mark.contract("3.9")
async def test_wait_for_returns_the_next_message(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        waiting = asyncio.create_task(renderer.wait_for("item"))
        await asyncio.sleep(0)
        bus.contents(renderer).send("item", 1, 2)
        bus.contents(renderer).send("item", 3, 4)
        event, *args = await within(waiting)
        assert (event.channel, event.sender_id, args) == ("item", 0, [1, 2])
        assert renderer.listener_count("item") == 0


@pytest.mark.contract("3.9")
async def test_wait_for_times_out_and_can_be_cancelled(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(mainbus.InvokeTimeout, match="item"):
            await renderer.wait_for("item", 0.001)
        waiting = asyncio.create_task(renderer.wait_for("item"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert renderer.listener_count("item") == 0


@pytest.mark.contract("3.9", "3.2")
async def test_wait_for_takes_the_senders_it_is_told(address: str) -> None:
    async with Bus(address) as bus:
        left, right = await bus.renderer("left"), await bus.renderer("right")
        waiting = asyncio.create_task(right.wait_for("item", senders="renderers"))
        await asyncio.sleep(0)
        bus.contents(right).send("item", "main")
        await bus.reached(right)
        left.send_to("right", "item", "renderer")
        assert (await within(waiting))[1:] == ("renderer",)


@pytest.mark.contract("3.9", "3.10")
async def test_wait_for_ends_with_the_renderer(address: str) -> None:
    async with Bus(address):
        async with mainbus.connect(address) as renderer:
            waiting = asyncio.create_task(renderer.wait_for("item"))
            await asyncio.sleep(0)
        with pytest.raises(mainbus.ObjectDestroyedError):
            await within(waiting)


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
            renderer.__enter__ if False else await renderer
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
        await renderer

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


# 3.12: what it is, and its events.


@pytest.mark.contract("3.12")
async def test_what_it_tells_of_itself(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        assert bus.broker.web_contents.from_id(renderer.id) is bus.broker.web_contents.from_name("editor")
        assert (renderer.name, renderer.is_connected) == ("editor", True)
        assert renderer.stats() == {"pending": 0, "queued": 0, "held": 0, "running": 0, "reconnects": 0}
        assert (await bus.renderer()).name is None


@pytest.mark.contract("3.12")
async def test_peers_that_join_and_leave_are_told_to_who_listens(address: str) -> None:
    async with Bus(address) as bus:
        joined, left = Calls(), Calls()
        watcher = mainbus.connect(address)
        watcher.events.on("peer-joined", joined)
        async with watcher:
            await bus.served(watcher) if False else await watcher.peers()
            watcher.events.on("peer-left", left)
            async with mainbus.connect(address, name="guest") as guest:
                number = guest.id
                assert await joined.wait() == (number, "guest")
            assert await left.wait() == (number, "guest")
            async with mainbus.connect(address) as guest:
                assert await joined.wait(2) == (guest.id, None)


@pytest.mark.contract("3.12")
async def test_events_are_apart_from_channels(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Calls()
        renderer.on("disconnected", heard)
        with pytest.raises(ValueError, match="no-such-event"):
            renderer.events.on("no-such-event", heard)
        bus.contents(renderer).send("disconnected", 1)
        await heard.wait()
        assert heard.args == [(1,)]


@pytest.mark.contract("3.12", "9.6")
async def test_disconnected_names_the_reason(address: str) -> None:
    async with Bus(address) as bus:
        told = Calls()
        renderer = await mainbus.connect(address, reconnect=False)
        renderer.events.on("disconnected", told)
        bus.contents(renderer).close("enough of it")
        assert await told.wait() == ("enough of it",)
        assert not renderer.is_connected
        with pytest.raises(mainbus.ConnectionLost, match="enough of it"):
            renderer.send("x")
        await renderer.aclose()
        with pytest.raises(mainbus.ObjectDestroyedError, match=RELEASED):
            renderer.send("x")


@pytest.mark.contract("3.12", "9.5")
async def test_a_gap_is_told_when_a_partner_dies_and_not_when_it_leaves(address: str) -> None:
    source = """
        async def main():
            async with mainbus.connect(sys.argv[1], name=sys.argv[2]) as renderer:
                renderer.on("item", lambda event: None, senders="any")
                renderer.send_to("watcher", "item")
                await renderer.peers()
                say("ready")
                sys.stdin.readline()

        asyncio.run(main())
    """
    async with Bus(address) as bus:
        watcher, told, left = await bus.renderer("watcher"), Calls(), Calls()
        watcher.on("item", lambda event: None, senders="any")
        watcher.events.on("gap", told)
        watcher.events.on("peer-left", left)
        async with Program(source, address, "polite") as program:
            assert await program.line() == "ready"
            assert await program.end() == 0
        await left.wait()
        assert not told.calls
        async with Program(source, address, "killed") as program:
            assert await program.line() == "ready"
            program.kill()
            await told.wait()
        assert told.calls == [()]


# 3.13: threads and forks.


@pytest.mark.contract("3.13")
@pytest.mark.parametrize("verb", {**VERBS, **REGISTERING})
async def test_a_verb_on_another_thread_names_the_remedies(address: str, verb: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        errors: list[BaseException] = []

        def use() -> None:
            try:
                (VERBS | REGISTERING)[verb](renderer)
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
        found = await asyncio.to_thread(os.read, reading, 100)
        os.close(reading)
        os.waitpid(pid, 0)
        assert list(found) == [True] * len(VERBS)
        assert await renderer.invoke("echo", 1) == 1
