"""Processes that die: whoever waits for them is told at once and by name, and nobody else notices."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import mainbus
import pytest
from mainbus import ConnectionLost, NoSuchRenderer, ReplyNeverSent

from tests.support import raw as wire
from tests.support.bus import INTERRUPTED, KILLED, PING, Bus, Calls, Program, until, within
from tests.support.raw import Packet, args, raw

NEVER = "Error invoking remote method 'x': reply was never sent"

CALLEE = """
async def main():
    renderer = mainbus.connect(sys.argv[1], name="victim", reconnect=False)

    async def wait(event):
        say("called by", event.sender_id)
        await forever()

    renderer.handle("x", wait, senders="any")
    renderer.handle("exit", lambda event: sys.exit(3), senders="any")

    def interrupt(event):
        raise KeyboardInterrupt

    renderer.handle("interrupt", interrupt, senders="any")

    async def exit_later(event):
        await asyncio.sleep(0)
        raise SystemExit(4)

    renderer.handle("exit later", exit_later, senders="any")

    async def exit_at_once(event):
        raise SystemExit(5)

    renderer.handle("exit in a task", lambda event: exit_at_once(event), senders="any")
    async with renderer:
        say("ready", renderer.id)
        await forever()

asyncio.run(main())
"""
"""A renderer that never answers."""

CALLER = """
async def main():
    async with mainbus.connect(sys.argv[1], name="victim", reconnect=False) as renderer:
        replies = [renderer.invoke("x"), renderer.invoke_to("other", "x"), renderer.invoke("x", timeout=1000)]
        say("ready", renderer.id)
        await asyncio.gather(*replies)

asyncio.run(main())
"""
"""A renderer that waits for answers of the main process and of another renderer."""

HALF = """
async def main():
    async with mainbus.connect(sys.argv[1], name="victim", reconnect=False) as renderer:
        await renderer.invoke("ready")
        transport = renderer._session.link.transport
        renderer.send("large", "x" * 3_000_000)
        renderer.send_to("other", "large", "x" * 3_000_000)
        while not transport.get_write_buffer_size():
            await asyncio.sleep(0)
        os.kill(os.getpid(), KILL)

asyncio.run(main())
"""
"""A renderer that kills itself in the middle of large messages."""

BROKER = """
async def main():
    ipc_main = IpcMain()

    async def wait(event):
        say("called")
        await forever()

    ipc_main.handle("x", wait)
    ipc_main.handle("exit", lambda event: sys.exit(3))

    def interrupt(event):
        raise KeyboardInterrupt

    ipc_main.handle("interrupt", interrupt)

    async def exit_later(event):
        await asyncio.sleep(0)
        raise SystemExit(4)

    ipc_main.handle("exit later", exit_later)

    async def exit_at_once(event):
        raise SystemExit(5)

    ipc_main.handle("exit in a task", lambda event: exit_at_once(event))
    async with Broker(sys.argv[1], ipc_main=ipc_main) as broker:
        say("ready")
        await broker.serve_forever()

asyncio.run(main())
"""
"""A main process that never answers."""


class Handler:
    """A handler that waits for its cancellation and counts it."""

    def __init__(self) -> None:
        self.begun = Calls()
        self.cancelled = 0

    async def __call__(self, event: Any) -> None:
        self.begun(event)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            # Cleaning up takes its time, and is not disturbed.
            await asyncio.sleep(0.001)
            raise


async def never_sent(reply: Awaitable[object]) -> None:
    with pytest.raises(ReplyNeverSent) as caught:
        await within(reply)
    assert str(caught.value) == NEVER


@pytest.mark.contract("9.5", "5.5")
async def test_a_killed_callee_fails_all_that_wait_for_it(address: str) -> None:
    async with Bus(address) as bus, Program(CALLEE, address) as victim:
        caller, bystander = await bus.renderer(), await bus.renderer()
        bystander.handle("echo", lambda event, value: value, senders="any")
        assert (await victim.line()).startswith("ready")
        contents, gone = bus.broker.web_contents.from_name("victim"), Calls()
        assert contents is not None
        assert contents.process.pid == victim.process.pid
        contents.on("destroyed", gone)
        replies = [
            contents.invoke("x"),
            contents.invoke("x", timeout=1000),
            caller.invoke_to("victim", "x"),
            caller.invoke_to(contents.id, "x", timeout=1000),
            bystander.invoke_to("victim", "x"),
        ]
        for _ in replies:
            await victim.line()
        lost = [Calls(), Calls()]
        for renderer, calls in zip((caller, bystander), lost, strict=True):
            renderer.events.on("disconnected", calls)
        victim.kill()
        for reply in replies:
            await never_sent(reply)
        await gone.wait()
        assert gone.calls == [()]
        assert bus.broker.web_contents.from_name("victim") is None
        assert bus.broker.web_contents.from_id(contents.id) is None
        assert len(bus.hub.replies) == 0
        with pytest.raises(NoSuchRenderer):
            await within(caller.invoke_to("victim", "x"))
        assert await within(caller.invoke_to(bystander.id, "echo", 1)) == 1
        assert [calls.calls for calls in lost] == [[], []]
        assert (await bus.renderer("victim")).id == max(contents.id, caller.id, bystander.id) + 1


@pytest.mark.contract("9.5", "5.7")
async def test_a_killed_caller_cancels_its_handlers_once(address: str) -> None:
    async with Bus(address) as bus:
        other, in_main, in_other = await bus.renderer("other"), Handler(), Handler()
        bus.ipc_main.handle("x", in_main)
        other.handle("x", in_other, senders="any")
        async with Program(CALLER, address) as victim:
            await victim.line()
            await in_main.begun.wait(2)
            await in_other.begun.wait()
            contents, gone = in_main.begun.calls[0][0].sender, Calls()
            contents.on("destroyed", gone)
            victim.kill()
            await gone.wait()
            await until(lambda: not bus.hub.main.dispatch.tasks)
            await until(lambda: not other.stats()["running"])
        assert (in_main.cancelled, in_other.cancelled) == (2, 1)
        assert len(bus.hub.replies) == 0
        await bus.served(other)


@pytest.mark.contract("9.5", "9.1")
async def test_one_that_dies_inside_large_messages_delivers_none_of_them(address: str) -> None:
    async with Bus(address) as bus:
        other, heard, ready, gap = await bus.renderer("other"), Calls(), Calls(), Calls()
        other.on("large", heard, senders="any")
        other.events.on("gap", gap)
        bus.ipc_main.on("large", heard)
        bus.ipc_main.handle("ready", ready)
        async with Program(HALF, address) as victim:
            (event,) = await ready.wait()
            gone = Calls()
            event.sender.on("destroyed", gone)
            await gone.wait()
            assert await victim.end() == KILLED
        await bus.reached(other)
        await bus.served(other)
        # Whatever is there is whole.
        assert all(len(text) == 3_000_000 for (text,) in heard.args)
        assert len(heard.calls) < 2
        newcomer = await bus.renderer("victim")
        newcomer.send_to("other", "large", "after")
        await until(lambda: heard.args[-1:] == [("after",)])


@pytest.mark.contract("9.5", "9.1")
async def test_a_killed_main_process_fails_all_that_wait_at_once(address: str) -> None:
    async with Program(BROKER, address) as broker:
        assert await broker.line() == "ready"
        one = await mainbus.connect(address, name="one", reconnect=False)
        two = await mainbus.connect(address, reconnect=False)
        handler = Handler()
        one.handle("x", handler, senders="any")
        replies = [one.invoke("x"), two.invoke("x", timeout=1000), two.invoke_to("one", "x")]
        for _ in range(2):
            await broker.line()
        await handler.begun.wait()
        broker.kill()
        for reply in replies:
            with pytest.raises(ConnectionLost):
                await within(reply)
        await until(lambda: handler.cancelled)
        assert handler.cancelled == 1
        for renderer in (one, two):
            with pytest.raises(ConnectionLost):
                renderer.send("x")
            await renderer.aclose()


# Ends that the program chooses itself, inside a handler.

ENDS = {"exit": 3, "exit later": 4, "exit in a task": 5, "interrupt": INTERRUPTED}


@pytest.mark.contract("5.5", "9.5")
@pytest.mark.parametrize("channel", ENDS)
async def test_a_renderer_that_exits_in_a_handler_never_replies(channel: str, address: str) -> None:
    async with Bus(address) as bus, Program(CALLEE, address) as victim:
        caller = await bus.renderer()
        assert (await victim.line()).startswith("ready")
        reply = caller.invoke_to("victim", channel)
        with pytest.raises(ReplyNeverSent, match=r"reply was never sent$"):
            await within(reply)
        assert await victim.end() == ENDS[channel]


@pytest.mark.contract("5.5", "2.1")
@pytest.mark.parametrize("channel", ENDS)
async def test_a_main_process_that_exits_in_a_handler_never_replies_and_cleans_up(channel: str, address: str) -> None:
    async with Program(BROKER, address) as broker:
        assert await broker.line() == "ready"
        renderer = await mainbus.connect(address, reconnect=False)
        try:
            with pytest.raises(ReplyNeverSent, match=r"reply was never sent$"):
                await within(renderer.invoke(channel))
            assert await broker.end() == ENDS[channel]
            assert not os.path.exists(address.removeprefix("unix:"))
        finally:
            await renderer.aclose()


@pytest.mark.contract("9.5")
@pytest.mark.parametrize("kill", [Program.kill, lambda program: program.process.terminate()])
async def test_many_that_die_at_once_leave_nothing(kill: Callable[[Program], None], address: str) -> None:
    source = CALLEE.replace('name="victim", ', "")
    async with Bus(address) as bus, Program(source, address) as one, Program(source, address) as two:
        for program in (one, two):
            await program.line()
        first, second = bus.broker.web_contents.get_all_web_contents()
        replies = [contents.invoke("x") for contents in (first, second) for _ in range(50)]
        for program in (one, two):
            for _ in range(50):
                await program.line()
            kill(program)
        for reply in replies:
            await never_sent(reply)
        await until(lambda: not bus.hub.renderers)


@pytest.mark.contract("9.5")
async def test_a_sender_that_dies_in_the_middle_of_a_message_does_not_take_its_receiver_along(address: str) -> None:
    async with Bus(address) as bus:
        receiver, gap = await bus.renderer(), Calls()
        receiver.events.on("gap", gap)
        async with raw(address) as sender:
            sender.write(Packet(wire.SEND, peer=receiver.id, flags=wire.MORE, channel=b"x", body=b"x"))
            assert await sender.is_served()
        await gap.wait()
        await receiver.invoke(PING)
        assert receiver.stats()["reconnects"] == 0


@pytest.mark.contract("9.5", "5.7")
async def test_a_cancel_may_come_in_the_middle_of_a_message(address: str) -> None:
    async with Bus(address) as bus, raw(address) as sender:
        receiver, got = await bus.renderer(), Calls()
        receiver.on("x", got, senders="any")
        begun, cancelled = Calls(), Calls()

        async def wait(event: object) -> None:
            begun()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled()

        receiver.handle("wait", wait, senders="any")
        sender.write(Packet(wire.INVOKE, peer=receiver.id, request=1, channel=b"wait", body=args()))
        await begun.wait()
        first, rest = wire.fragments(Packet(wire.SEND, peer=receiver.id, channel=b"x", body=args(bytes(100))), 80)
        sender.write(first, Packet(wire.CANCEL, request=1))
        await cancelled.wait()
        sender.write(rest)
        assert (await got.wait())[1:] == (bytes(100),)
        assert receiver.stats()["reconnects"] == 0
