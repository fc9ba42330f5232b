"""Child frames: verbs and channels of their own on one connection, and what becomes of them."""

import asyncio
from typing import Any

import pytest
from mainbus import (
    InvokeTimeout,
    IpcFrame,
    LimitExceeded,
    NoHandlerError,
    ObjectDestroyedError,
    ReplyNeverSent,
)
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, Calls, in_thread, until, within
from tests.support.raw import BROADCAST, INVOKE, RESULT, SEND, Packet, args, raw

RELEASED = r"^IPC method called after context was released$"


@pytest.mark.contract("7.7", "2.11")
async def test_main_sees_which_frame_sent_and_answers_that_one(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        frame = await renderer.create_frame("toolbar")
        assert (frame.frame_id, frame.name, frame.is_closed) == (1, "toolbar", False)
        main, own, other = Calls(), Calls(), Calls()
        renderer.on("back", main)
        frame.on("back", own)
        (await renderer.create_frame("other")).on("back", other)

        @bus.ipc_main.on("x")
        def answer(event: Any, value: int) -> None:
            assert event.sender is bus.contents(renderer)
            event.reply("back", event.frame_id, event.sender_frame.name, value)
            event.sender.send("back", value)

        frame.send("x", 1)
        frame.post_message("x", 2)
        await own.wait(2)
        await bus.reached(renderer)
        assert own.args == [(1, "toolbar", 1), (1, "toolbar", 2)]
        assert main.args == [(1,), (2,)]
        assert not other.calls
        assert own.calls[0][0].sender is frame
        assert own.calls[0][0].sender_id == 0


@pytest.mark.contract("7.7", "2.11")
async def test_invoke_and_a_handler_of_a_frame(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        frame = await renderer.create_frame("toolbar")
        bus.ipc_main.handle("who", lambda event: (event.frame_id, event.sender_frame.name))
        assert await within(frame.invoke("who")) == [1, "toolbar"]
        assert await within(renderer.invoke("who")) == [0, "editor"]
        frame.handle("own", lambda event, value: ("frame", event.sender is frame, value))
        renderer.handle("own", lambda event, value: ("renderer", event.sender is renderer, value))
        web_frame = bus.contents(renderer).frames[1]
        assert await within(web_frame.invoke("own", 1)) == ["frame", True, 1]
        assert await within(bus.contents(renderer).invoke("own", 2)) == ["renderer", True, 2]
        with pytest.raises(NoHandlerError):
            await within(web_frame.invoke("other"))


@pytest.mark.contract("7.7", "3.5")
async def test_send_sync_of_a_frame(address: str) -> None:
    async with Bus(address) as bus:

        @bus.ipc_main.on("ask")
        def answer(event: Any, value: int) -> None:
            event.return_value = [event.frame_id, event.sender_frame.name, value]

        async def use(renderer: Any) -> Any:
            frame = await renderer.create_frame("toolbar")
            return [frame.send_sync("ask", 1), renderer.send_sync("ask", 2)]

        assert await in_thread(address, use, "editor") == [[1, "toolbar", 1], [0, "editor", 2]]


@pytest.mark.contract("7.7", "2.19")
async def test_frames_of_a_renderer_are_one_sender(address: str) -> None:
    async with Bus(address) as bus:
        renderer, got = await bus.renderer(), Calls()
        first, second = await renderer.create_frame("a"), await renderer.create_frame("b")
        bus.ipc_main.on("x", got)
        for number in range(30):
            (renderer, first, second)[number % 3].send("x", number, b"z" * (200_000 if number % 7 == 3 else 0))
        await got.wait(30)
        assert [args[0] for args in got.args] == list(range(30))
        assert [call[0].frame_id for call in got.calls] == [0, 1, 2] * 10


@pytest.mark.contract("7.7")
async def test_listen_and_wait_for_end_with_the_frame(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        async with await renderer.create_frame("a") as frame:
            web_frame = bus.contents(renderer).frames[1]
            messages = frame.listen("x")
            waiting = asyncio.ensure_future(frame.wait_for("y"))
            await asyncio.sleep(0)
            web_frame.send("x", 1)
            web_frame.send("y", 2)
            assert (await within(anext(messages)))[1:] == (1,)
            assert (await within(waiting))[1:] == (2,)
            with pytest.raises(InvokeTimeout):
                await frame.wait_for("y", timeout=0.001)
            waiting = asyncio.ensure_future(frame.wait_for("y"))
            await asyncio.sleep(0)
        with pytest.raises(StopAsyncIteration):
            await within(anext(messages))
        with pytest.raises(ObjectDestroyedError, match=RELEASED):
            await within(waiting)


@pytest.mark.contract("7.7")
async def test_after_aclose_every_verb_raises_and_its_invokes_are_cancelled(address: str) -> None:
    async with Bus(address) as bus:
        renderer, begun, ended = await bus.renderer(), asyncio.Event(), asyncio.Event()

        async def wait(event: Any) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        bus.ipc_main.handle("wait", wait)
        frame = await renderer.create_frame("a")
        reply = frame.invoke("wait")
        await within(begun.wait())
        await frame.aclose()
        await frame.aclose()
        assert frame.is_closed
        with pytest.raises(ObjectDestroyedError, match=RELEASED):
            await within(reply)
        await within(ended.wait())
        verbs: list[Any] = [frame.send, frame.invoke, frame.on, frame.handle, frame.post_message]
        for verb in verbs:
            with pytest.raises(ObjectDestroyedError, match=RELEASED):
                verb("x", lambda event: None)
        with pytest.raises(ObjectDestroyedError, match=RELEASED):
            await frame.create_frame("b")
        # The renderer goes on.
        await bus.served(renderer)


@pytest.mark.contract("7.7")
async def test_frames_end_with_the_renderer(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        frame = await renderer.create_frame("a")
        messages = frame.listen("x")
        await renderer.aclose()
        assert frame.is_closed
        with pytest.raises(ObjectDestroyedError, match=RELEASED):
            frame.send("x")
        with pytest.raises(StopAsyncIteration):
            await within(anext(messages))
        await frame.aclose()


@pytest.mark.contract("7.7", "2.13")
async def test_frames_in_frames_close_together(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        outer = await renderer.create_frame("outer")
        inner = await outer.create_frame("inner")
        assert isinstance(inner, IpcFrame)
        contents = bus.contents(renderer)
        main, first, second = contents.frames
        assert (first.parent, second.parent) == (main, first)
        assert (main.frames, first.frames, second.frames) == ([first], [second], [])
        await outer.aclose()
        with pytest.raises(ObjectDestroyedError, match=RELEASED):
            inner.send("x")
        await until(lambda: contents.frames == [main])
        assert first.detached
        assert second.detached
        assert main.frames == []


@pytest.mark.contract("7.7")
async def test_more_frames_than_the_broker_allows_are_a_named_error(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(frames=2))) as bus:
        renderer = await bus.renderer()
        first = await renderer.create_frame("a")
        await renderer.create_frame("b")
        with pytest.raises(LimitExceeded, match="number of frames exceeds the limit of 2"):
            await renderer.create_frame("c")
        await first.aclose()
        fourth = await renderer.create_frame("d")
        assert fourth.frame_id == 4
        assert [frame.name for frame in bus.contents(renderer).frames] == [None, "b", "d"]


async def test_a_frames_name_is_checked(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(ValueError, match="Expected a frame's name of 1 to 255 bytes"):
            await renderer.create_frame("")


@pytest.mark.contract("7.7")
async def test_a_frame_that_nobody_waits_for_any_more_is_closed(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        task = asyncio.ensure_future(renderer.create_frame("a"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await bus.served(renderer)
        assert len(bus.contents(renderer).frames) == 1
        assert renderer._session is not None
        assert not len(renderer._session.frames)


@pytest.mark.contract("7.7")
async def test_what_comes_for_a_closed_frame_reaches_nobody(address: str) -> None:
    async with Bus(address) as bus:
        renderer, got = await bus.renderer(), Calls()
        frame = await renderer.create_frame("a")
        renderer.on("x", got)
        frame.on("x", got)
        contents = bus.contents(renderer)
        web_frame = contents.frames[1]
        # Both leave before main knows that the frame is closed.
        await frame.aclose()
        web_frame.send("x", 1)
        with pytest.raises(ReplyNeverSent):
            await within(web_frame.invoke("x"))
        assert not got.calls
        await until(lambda: web_frame.is_destroyed())


@pytest.mark.contract("7.7")
async def test_to_other_renderers_a_frame_speaks_as_its_renderer(address: str) -> None:
    async with Bus(address) as bus:
        renderer, other, got = await bus.renderer("editor"), await bus.renderer("other"), Calls()
        other_frame = await other.create_frame("a")
        frame = await renderer.create_frame("a")
        other.on("x", got, senders="renderers")
        other_frame.on("x", lambda event: pytest.fail("no frame of another renderer can be reached"), senders="any")
        other.handle("y", lambda event: event.sender_id, senders="any")
        frame.send_to("other", "x")
        event = (await got.wait())[0]
        assert (event.sender, event.sender_id, event.sender_name) == (other, renderer.id, "editor")
        assert await within(frame.invoke_to("other", "y")) == renderer.id
        back = Calls()
        renderer.on("z", back, senders="renderers")
        event.reply("z", 1)
        await back.wait()


@pytest.mark.contract("7.7")
async def test_between_renderers_packets_name_no_frame(address: str) -> None:
    async with Bus(address) as bus, raw(address, "raw") as client:
        renderer, got = await bus.renderer("editor"), Calls()
        frame = await renderer.create_frame("a")
        frame.send_to("raw", "x", 1)
        frame.broadcast("x", 2)
        frame.invoke_to("raw", "x", 3).add_done_callback(lambda reply: reply.exception())
        for _ in range(3):
            assert (await client.next(SEND, BROADCAST, INVOKE)).frame == 0
        # What another client says of a frame is ignored: ours are nobody else's to address.
        frame.on("x", lambda event: pytest.fail("no frame of another renderer can be reached"), senders="any")
        frame.handle("x", lambda event: "the frame", senders="any")
        renderer.on("x", got, senders="any")
        renderer.handle("x", lambda event: "the renderer", senders="any")
        client.write(
            Packet(SEND, peer=renderer.id, frame=1, channel=b"x", body=args()),
            Packet(INVOKE, peer=renderer.id, request=1, frame=1, channel=b"x", body=args()),
        )
        assert (await client.next(RESULT)).said == "the renderer"
        assert (await got.wait())[0].sender is renderer
