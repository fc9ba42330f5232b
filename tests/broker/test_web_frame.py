"""A frame of a renderer as the main process sees it."""

import os

import pytest
from mainbus import ObjectDestroyedError
from mainbus_broker import WebFrameMain

from tests.support.bus import Bus, Calls, until


@pytest.mark.contract("2.13")
async def test_the_main_frame(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        contents, told = bus.contents(renderer), Calls()
        renderer.on("x", told)
        frame = contents.main_frame
        assert isinstance(frame, WebFrameMain)
        assert frame is contents.main_frame
        assert contents.frames == [frame]
        assert (frame.frame_id, frame.name, frame.process_id) == (0, "editor", os.getpid())
        assert (frame.parent, frame.frames) == (None, [])
        assert frame.ipc is frame.ipc
        assert not frame.is_destroyed()
        assert not frame.detached
        frame.send("x", 1)
        frame.post_message("x", 2)
        contents.send_to_frame(0, "x", 3)
        await told.wait(3)
        assert told.args == [(1,), (2,), (3,)]
        with pytest.raises(ObjectDestroyedError):
            contents.send_to_frame(1, "x")
        await renderer.aclose()
        await until(frame.is_destroyed)
        assert frame.detached
        for verb in (frame.send, frame.post_message):
            with pytest.raises(ObjectDestroyedError, match=r"^Object has been destroyed$"):
                verb("x", 1)


@pytest.mark.contract("2.13", "7.7")
async def test_a_child_frame_is_one_object_until_it_closes(address: str) -> None:
    async with Bus(address) as bus:
        renderer, events = await bus.renderer("editor"), Calls()
        bus.ipc_main.on("x", events)
        child = await renderer.create_frame("toolbar")
        contents, told = bus.contents(renderer), Calls()
        frame = contents.frames[1]
        assert contents.frames == [contents.main_frame, frame]
        assert (frame.frame_id, frame.name, frame.process_id) == (1, "toolbar", os.getpid())
        child.on("y", told)
        frame.send("y", 1)
        frame.post_message("y", 2)
        contents.send_to_frame(1, "y", 3)
        await told.wait(3)
        assert told.args == [(1,), (2,), (3,)]
        child.send("x")
        event = (await events.wait())[0]
        assert event.sender_frame is frame
        await child.aclose()
        await bus.served(renderer)
        assert frame.detached
        assert frame.is_destroyed()
        assert event.sender_frame is None
        assert event.frame_id == 1
        for verb in (frame.send, frame.post_message, frame.invoke, event.reply):
            with pytest.raises(ObjectDestroyedError, match=r"^Object has been destroyed$"):
                verb("y", 1)


@pytest.mark.contract("2.16")
async def test_messages_of_a_frame_reach_every_level_in_order(address: str) -> None:
    async with Bus(address) as bus:
        renderer, order = await bus.renderer(), list[str]()
        child, other = await renderer.create_frame("a"), await renderer.create_frame("b")
        contents = bus.contents(renderer)
        bus.ipc_main.on("x", lambda event: order.append("ipc_main"))
        contents.ipc.on("x", lambda event: order.append("contents"))
        contents.frames[1].ipc.on("x", lambda event: order.append("frame"))
        contents.main_frame.ipc.on("x", lambda event: order.append("main frame"))
        contents.on("ipc-message", lambda event, channel: order.append(f"ipc-message {event.frame_id}"))
        for sender in (child, other, renderer):
            sender.send("x")
        await bus.served(renderer)
        assert order == [
            *("ipc-message 1", "frame", "contents", "ipc_main"),
            *("ipc-message 2", "contents", "ipc_main"),
            *("ipc-message 0", "main frame", "contents", "ipc_main"),
        ]


@pytest.mark.contract("2.17")
async def test_an_invoke_of_a_frame_asks_the_narrowest_first(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        child = await renderer.create_frame("a")
        contents = bus.contents(renderer)
        bus.ipc_main.handle("x", lambda event: "ipc_main")
        contents.ipc.handle("x", lambda event: "contents")
        contents.frames[1].ipc.handle("x", lambda event: "frame")
        assert [await child.invoke("x"), await renderer.invoke("x")] == ["frame", "contents"]
        contents.frames[1].ipc.remove_handler("x")
        assert await child.invoke("x") == "contents"
