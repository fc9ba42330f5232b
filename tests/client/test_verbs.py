"""IpcRenderer: the verbs to the main process and to other renderers."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any, Final, Literal

import mainbus
import pytest
from mainbus import IpcRenderer, PeerInfo
from mainbus.target import Senders

from tests.support.bus import Bus, Calls, Program, in_thread, until

SENDERS: Final[tuple[Senders, ...]] = ("main", "renderers", "any")


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
        with pytest.raises(mainbus.PortError, match=r"^Invalid value for transfer$"):
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
            heard = Calls()
            renderer.on("meanwhile", heard)
            log.append(renderer.send_sync("sync", 21))
            assert not heard.calls
            await heard.wait(2)
            return [*log, *(number for (number,) in heard.args)]

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
            _ = renderer.invoke_to(target, "x")
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
        cases: list[tuple[int | str, str, str]] = [
            ("nobody", "x", "no such renderer"),
            (999, "x", "no such renderer"),
            ("right", "x", "nobody listens there"),
            (right.id, "x", "nobody listens there"),
            ("right", "main only", "nobody listens there"),
        ]
        for number, (target, channel, reason) in enumerate(cases):
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
        heard: dict[Senders | Literal["default"], list[int]] = {"main": [], "renderers": [], "any": [], "default": []}

        def listener(kind: Senders | Literal["default"]) -> Callable[..., None]:
            return lambda event, *_: heard[kind].append(event.sender_id)

        right.on("x", listener("default"))
        for kind in SENDERS:
            right.on("x", listener(kind), senders=kind)
            right.handle(f"handle {kind}", lambda event: event.sender_id, senders=kind)
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
