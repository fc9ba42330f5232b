"""The kit for users' own tests: a broker and renderers on one loop, without a socket."""

import asyncio
import socket
from typing import Any

import mainbus
import mainbus.blocking
import mainbus.testing
import pytest
from mainbus.arrivals import RUNNING
from mainbus_broker import Broker, Config, IpcMain
from mainbus_broker.config import Limits


@pytest.mark.contract("3.15")
async def test_broker_and_renderers_on_one_loop_without_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket.socket, "connect", no_socket)
    monkeypatch.setattr(socket.socket, "bind", no_socket)
    ipc_main = IpcMain()
    ipc_main.handle("add", lambda event, a, b: a + b)
    async with mainbus.testing.broker(ipc_main) as bus:
        assert bus.ipc_main is ipc_main
        assert isinstance(bus.broker, Broker)
        assert bus.broker.addresses == [bus.address]
        assert bus.address.startswith("memory:")
        renderer = await bus.connect(name="editor")
        other = await bus.connect("other")
        assert (renderer.name, renderer.is_connected) == ("editor", True)
        assert await renderer.invoke("add", 1, 2) == 3
        other.handle("double", lambda event, number: number * 2, senders="renderers")
        assert await renderer.invoke_to("other", "double", 4) == 8
        assert bus.broker.web_contents.from_name("editor") is not None
    assert not renderer.is_connected
    with pytest.raises(mainbus.ObjectDestroyedError):
        renderer.send("x")


@pytest.mark.contract("3.15")
async def test_each_has_an_address_and_an_ipc_main_of_its_own() -> None:
    async with mainbus.testing.broker() as first, mainbus.testing.broker() as second:
        assert first.address != second.address
        assert first.ipc_main is not second.ipc_main
        first.ipc_main.handle("who", lambda event: "first")
        second.ipc_main.handle("who", lambda event: "second")
        assert await (await first.connect()).invoke("who") == "first"
        assert await (await second.connect()).invoke("who") == "second"


@pytest.mark.contract("3.15")
async def test_config_counts() -> None:
    async with mainbus.testing.broker(config=Config(limits=Limits(message=1000))) as bus:
        renderer = await bus.connect()
        with pytest.raises(mainbus.MessageTooLarge):
            renderer.send("x", bytes(1001))


async def test_everything_ends_with_it_whatever_happened() -> None:
    renderers = []

    async def use() -> None:
        async with mainbus.testing.broker() as bus:
            renderers.append(await bus.connect())
            renderers.append(await bus.connect())
            await renderers[0].aclose()
            raise ValueError("some error")

    with pytest.raises(ValueError, match="some error"):
        await use()
    assert not any(renderer.is_connected for renderer in renderers)


@pytest.mark.contract("3.15")
async def test_settled_means_that_what_was_sent_was_dispatched() -> None:
    seen: list[object] = []
    async with mainbus.testing.broker() as bus:
        renderer, other = await bus.connect("a"), await bus.connect("b")

        @bus.ipc_main.on("item")
        async def item(event: Any, number: int) -> None:
            seen.append(number)

        renderer.on("from main", lambda event, text: seen.append(text))
        other.on("from a", lambda event, text: seen.append(text), senders="renderers")
        for number in range(3000):
            renderer.send("item", number)
        contents = bus.broker.web_contents.from_name("a")
        assert contents is not None
        contents.send("from main", "main")
        renderer.send_to("b", "from a", bytes(1_000_000))
        assert seen == []
        await bus.settle()
        assert [one for one in seen if isinstance(one, int)] == list(range(3000))
        assert len(seen) == 3002


@pytest.mark.contract("3.15")
async def test_settled_includes_what_a_message_causes() -> None:
    seen: list[int] = []
    async with mainbus.testing.broker() as bus:
        left, right = await bus.connect("left"), await bus.connect("right")

        async def hand_on(event: Any, count: int) -> None:
            assert await event.sender.invoke("half", count) == count / 2
            seen.append(count)
            if count:
                event.reply("ball", count - 1)

        bus.ipc_main.handle("half", lambda event, number: number / 2)
        left.on("ball", hand_on, senders="renderers")
        right.on("ball", hand_on, senders="renderers")
        left.send_to("right", "ball", 50)
        await bus.settle()
        assert seen == list(range(50, -1, -1))


async def test_settled_awaits_the_answers_that_are_under_way() -> None:
    async with mainbus.testing.broker() as bus:

        @bus.ipc_main.handle("slow")
        async def slow(event: Any) -> str:
            for _ in range(3):
                await asyncio.sleep(0)
            return "done"

        renderer = await bus.connect()
        reply = renderer.invoke("slow")
        await bus.settle()
        assert reply.done()
        assert await reply == "done"


async def test_settling_does_not_wait_for_a_handler_of_its_own_mind() -> None:
    async with mainbus.testing.broker() as bus:
        go_on = asyncio.Event()

        @bus.ipc_main.handle("wait")
        async def wait(event: Any) -> None:
            await go_on.wait()

        renderer = await bus.connect()
        reply = renderer.invoke("wait")
        await bus.settle()
        assert not reply.done()
        go_on.set()
        await bus.settle()
        assert reply.done()


@pytest.mark.parametrize("slow", ["renderer", "main"])
async def test_settling_waits_for_what_is_not_taken(slow: str) -> None:
    async with mainbus.testing.broker() as bus:
        renderer = await bus.connect("a")
        contents = bus.broker.web_contents.from_name("a")
        assert contents is not None
        sender, receiver = (contents, renderer) if slow == "renderer" else (renderer, bus.ipc_main)
        go_on = asyncio.Event()
        started: list[int] = []

        async def item(event: Any, number: int) -> None:
            started.append(number)
            await go_on.wait()

        receiver.on("item", item)
        for number in range(RUNNING + 10):
            sender.send("item", number)
        settled = asyncio.ensure_future(bus.settle())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(settled), 0.05)
        assert len(started) == RUNNING
        go_on.set()
        await settled
        assert started == list(range(RUNNING + 10))


async def test_settling_when_renderers_or_the_broker_are_gone() -> None:
    async with mainbus.testing.broker() as bus:
        lost = await bus.connect(reconnect=False)
        closed = await bus.connect()
        await closed.aclose()
        await bus.settle()
        await bus.broker.stop()
        await bus.settle()
        assert not lost.is_connected


async def test_threads_connect_by_its_address() -> None:
    async with mainbus.testing.broker() as bus:
        bus.ipc_main.handle("echo", lambda event, value: value)
        bus.ipc_main.on("sync", lambda event, value: setattr(event, "return_value", value))

        def work() -> object:
            with mainbus.blocking.connect(bus.address) as renderer:
                return renderer.invoke("echo", 1), renderer.send_sync("sync", 2)

        assert await asyncio.to_thread(work) == (1, 2)


async def test_send_sync_on_the_brokers_loop_says_that_it_would_wait_for_itself() -> None:
    async with mainbus.testing.broker() as bus:
        renderer = await bus.connect()
        with pytest.raises(RuntimeError, match="wait for itself"):
            renderer.send_sync("x")


@pytest.mark.contract("3.15", "7.7", "7.8")
async def test_frames_and_guests_need_no_socket_either() -> None:
    async with mainbus.testing.broker() as bus:
        host = await bus.connect("host")
        frame, guest = await host.create_frame("f"), await host.create_guest("guest")
        renderer = await bus.connect(token=guest.token)
        got: list[Any] = []
        bus.ipc_main.on("x", lambda event: got.append(event.sender_frame.name))
        guest.on("ipc-message", lambda event: got.append(event.channel))
        renderer.on("y", lambda event: got.append(event.sender_id))
        frame.send("x")
        await bus.settle()
        renderer.send_to_host("z")
        guest.send("y")
        await bus.settle()
        assert got[0] == "f"
        assert sorted(map(str, got[1:])) == [str(host.id), "z"]
