"""Frames between processes: who gets what, who goes when a process is killed, and what a reconnect brings back."""

import asyncio
from typing import Any

import mainbus
import pytest
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, Calls, Program, until, within
from tests.support.renderers import Told

FRAMES = """
async def main():
    renderer = mainbus.connect(sys.argv[1], name="framed")
    async with renderer:
        frame = await renderer.create_frame("outer")
        inner = await frame.create_frame("inner")
        for one in (renderer, frame, inner):
            one.on("item", lambda event, value, one=one: one.send("item", value))
        say("ready")
        pending = frame.invoke("wait")
        await inner.wait_for("go")
        await frame.aclose()
        say("closed")
        await forever()

asyncio.run(main())
"""
"""A renderer with a frame in a frame, each of which sends back what comes on "item"; on "go" they close."""

BROKER = """
async def main():
    ipc_main = IpcMain()
    got = []

    @ipc_main.on("item")
    def item(event, value):
        frame = event.sender_frame
        got.append([frame.name, frame.parent and frame.parent.name, frame.frame_id, value])

    ipc_main.on("ask", lambda event, value: event.reply("answer", value))
    ipc_main.handle("got", lambda event: got)
    async with Broker(sys.argv[1], ipc_main=ipc_main):
        say("ready")
        await forever()

asyncio.run(main())
"""
"""A main process that notes which frame has sent what."""


@pytest.mark.contract("7.7", "2.13", "9.5")
async def test_a_killed_process_takes_its_frames_along(address: str) -> None:
    async with Bus(address) as bus, Program(FRAMES, address) as program:
        begun, ended = Calls(), asyncio.Event()

        async def wait(event: Any) -> None:
            begun(event)
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        bus.ipc_main.handle("wait", wait)
        got = Calls()
        bus.ipc_main.on("item", got)
        assert await program.line() == "ready"
        contents = bus.broker.web_contents.from_name("framed")
        assert contents is not None
        frames = contents.frames
        assert [frame.name for frame in frames] == ["framed", "outer", "inner"]
        for number, frame in enumerate(frames):
            frame.send("item", number)
        await got.wait(3)
        assert [(event.frame_id, value) for event, value in got.calls] == [(0, 0), (1, 1), (2, 2)]
        event = (await begun.wait())[0]
        program.kill()
        await until(contents.is_destroyed)
        await within(ended.wait())
        assert all(frame.is_destroyed() for frame in frames)
        assert event.sender_frame is None
        with pytest.raises(mainbus.ObjectDestroyedError):
            frames[1].send("item", 1)


@pytest.mark.contract("7.7", "5.7")
async def test_a_frame_that_closes_elsewhere_cancels_its_invokes(address: str) -> None:
    async with Bus(address) as bus, Program(FRAMES, address) as program:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def wait(event: Any) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        bus.ipc_main.handle("wait", wait)
        assert await program.line() == "ready"
        contents = bus.broker.web_contents.from_name("framed")
        assert contents is not None
        await within(begun.wait())
        contents.send_to_frame(2, "go")
        assert await program.line() == "closed"
        await within(ended.wait())
        await until(lambda: len(contents.frames) == 1)
        assert not contents.is_destroyed()


@pytest.mark.contract("9.6", "7.7")
async def test_frames_come_back_after_the_broker_was_killed(address: str) -> None:
    async with Program(BROKER, address) as first:
        assert await first.line() == "ready"
        renderer = await mainbus.connect(address, name="framed")
        told, answers = Told(renderer), Calls()
        closed = await renderer.create_frame("closed")
        outer = await renderer.create_frame("outer")
        inner = await outer.create_frame("inner")
        inner.on("answer", answers)
        await closed.aclose()
        await within(outer.invoke("got"))
        first.kill()
        await told.wait("disconnected")
    # Before anything that has waited, the new broker knows the frames.
    inner.send("item", 1)
    outer.send("item", 2)
    waiting = asyncio.ensure_future(renderer.create_frame("made meanwhile"))
    await asyncio.sleep(0)
    renderer.send("item", 3)
    async with Program(BROKER, address) as second:
        assert await second.line() == "ready"
        late = await within(waiting)
        late.send("item", 4)
        assert await within(renderer.invoke("got")) == [
            ["inner", "outer", 3, 1],
            ["outer", "framed", 2, 2],
            ["framed", None, 0, 3],
            ["made meanwhile", "framed", 4, 4],
        ]
        inner.send("ask", 5)
        await answers.wait()
        assert answers.args == [(5,)]
        await renderer.aclose()


@pytest.mark.contract("9.6", "7.7")
async def test_frames_come_back_after_a_loss_as_new_objects_of_a_new_contents(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        told, frame = Told(renderer), await renderer.create_frame("toolbar")
        before = bus.contents(renderer)
        former = before.frames[1]
        pending = frame.invoke("nobody answers")
        assert renderer._session is not None
        assert renderer._session.link is not None
        renderer._session.link.abort()
        with pytest.raises(mainbus.ConnectionLost):
            await within(pending)
        await told.wait("reconnected")
        await bus.served(renderer)
        again = bus.contents(renderer).frames[1]
        assert again is not former
        assert (former.is_destroyed(), again.is_destroyed(), again.name, again.frame_id) == (True, False, "toolbar", 1)
        got = Calls()
        frame.on("x", got)
        again.send("x", 1)
        await got.wait()
        assert (await renderer.create_frame("next")).frame_id == 2


@pytest.mark.contract("8.6", "9.6")
async def test_another_broker_may_allow_fewer_frames(address: str) -> None:
    async with Bus(address):
        renderer = await mainbus.connect(address, name="editor")
        told = Told(renderer)
        first, second = await renderer.create_frame("a"), await renderer.create_frame("b")
    async with Bus(address, config=Config(limits=Limits(frames=1))) as bus:
        await told.wait("reconnected")
        got = Calls()
        bus.ipc_main.on("x", got)
        first.send("x")
        second.send("x")
        await got.wait(2)
        assert [call[0].sender_frame and call[0].sender_frame.name for call in got.calls] == ["a", None]
        assert [call[0].frame_id for call in got.calls] == [1, 2]
        await renderer.aclose()
