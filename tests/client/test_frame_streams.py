"""Frames with streams, which they ask for and answer, and with the ports that come and go with messages."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mainbus import MessageChannel, NoHandlerError, ObjectDestroyedError, ReplyNeverSent

from tests.support.bus import Bus, Calls, until, within
from tests.support.raw import ERROR, ITEM, STREAM, Packet, args, raw

RELEASED = r"^IPC method called after context was released$"


async def where(event: Any) -> AsyncIterator[Any]:
    yield event.frame_id
    yield event.sender_frame.name


@pytest.mark.contract("7.7", "6.1", "2.17")
async def test_main_sees_which_frame_asks_for_a_stream(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        frame = await renderer.create_frame("toolbar")
        bus.ipc_main.handle("where", where)
        assert [item async for item in frame.stream("where")] == [1, "toolbar"]
        assert [item async for item in renderer.stream("where")] == [0, "editor"]
        bus.contents(renderer).frames[1].ipc.handle("where", lambda event: "its own")
        assert [item async for item in frame.stream("where")] == ["its own"]
        assert [item async for item in renderer.stream("where")] == [0, "editor"]


@pytest.mark.contract("7.7", "6.1", "2.12", "2.13")
async def test_a_frame_answers_a_stream_of_the_main_process(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        frame = await renderer.create_frame("a")

        async def items(event: Any, count: int) -> AsyncIterator[Any]:
            for number in range(count):
                yield event.sender is frame, number

        frame.handle("items", items)
        contents = bus.contents(renderer)
        web_frame = contents.frames[1]
        assert [item async for item in web_frame.stream("items", 2)] == [[True, 0], [True, 1]]
        with pytest.raises(NoHandlerError):
            await within(anext(contents.stream("items", 2)))
        await frame.aclose()
        # On its way to a frame that is closed already.
        late = web_frame.stream("items", 2)
        with pytest.raises(ReplyNeverSent):
            await within(anext(late))
        await until(web_frame.is_destroyed)
        with pytest.raises(ObjectDestroyedError, match=r"^Object has been destroyed$"):
            web_frame.stream("items", 2)


@pytest.mark.contract("7.7", "6.2")
async def test_closing_a_frame_closes_its_streams(address: str) -> None:
    async with Bus(address) as bus:
        renderer, ended = await bus.renderer(), asyncio.Event()

        async def items(event: Any) -> AsyncIterator[int]:
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                ended.set()

        bus.ipc_main.handle("items", items)
        frame = await renderer.create_frame("a")
        stream = frame.stream("items")
        assert await within(anext(stream)) == 1
        await frame.aclose()
        with pytest.raises(ObjectDestroyedError, match=RELEASED):
            await within(anext(stream))
        await within(ended.wait())
        for verb in (frame.stream, lambda channel: frame.stream_to(1, channel)):
            with pytest.raises(ObjectDestroyedError, match=RELEASED):
                verb("items")


@pytest.mark.contract("7.7", "3.7")
async def test_between_renderers_a_stream_names_no_frame(address: str) -> None:
    async with Bus(address) as bus, raw(address, "raw") as client:
        renderer = await bus.renderer("editor")
        frame = await renderer.create_frame("a")
        stream = frame.stream_to("raw", "x")
        asked = await client.next(STREAM)
        assert (asked.frame, asked.peer, asked.name) == (0, renderer.id, b"editor")
        client.write(
            Packet(ITEM, peer=renderer.id, request=asked.request, body=b"\x07"),
            Packet(ERROR, peer=renderer.id, request=asked.request, value=ReplyNeverSent.wire_code),
        )
        assert await within(anext(stream)) == 7
        with pytest.raises(ReplyNeverSent):
            await within(anext(stream))
        # What another client says of a frame is ignored: ours are nobody else's to address.
        renderer.handle("x", lambda event: "the renderer", senders="any")
        frame.handle("x", lambda event: "the frame", senders="any")
        client.write(Packet(STREAM, peer=renderer.id, request=1, frame=1, channel=b"x", body=args()))
        assert (await client.next(ITEM)).said == "the renderer"


@pytest.mark.contract("7.7", "3.6")
async def test_ports_go_from_a_frame_and_to_it(address: str) -> None:
    async with Bus(address) as bus:
        renderer, main, own = await bus.renderer(), Calls(), Calls()
        frame = await renderer.create_frame("a")
        bus.ipc_main.on("port", main)
        frame.on("port", own)
        renderer.on("port", lambda event, message: pytest.fail("this one was for the frame"))
        channel = MessageChannel()
        frame.post_message("port", "here", [channel.port2])
        event, message = await main.wait()
        assert (message, event.frame_id, len(event.ports)) == ("here", 1, 1)
        # And on to the very frame: its renderer's own end.
        event.sender_frame.post_message("port", "back", event.ports)
        event, message = await own.wait()
        assert (message, event.sender, len(event.ports)) == ("back", frame, 1)
        channel.port1.post_message("hello")
        assert (await within(anext(aiter(event.ports[0])))).data == "hello"
        event.ports[0].close()


@pytest.mark.contract("7.7", "7.3")
async def test_a_port_for_a_frame_that_is_closed_is_closed(address: str) -> None:
    async with Bus(address) as bus:
        renderer, closed = await bus.renderer(), Calls()
        frame = await renderer.create_frame("a")
        web_frame = bus.contents(renderer).frames[1]
        channel = MessageChannel()
        channel.port1.on("close", closed)
        channel.port1.start()
        await frame.aclose()
        # The main process does not know yet.
        web_frame.post_message("port", None, [channel.port2])
        await closed.wait()
