"""Outgoing: bounds are checked before anything leaves, frames are named to the main process only."""

import asyncio
from collections.abc import Callable
from typing import Any

import mainbus
import pytest
from mainbus import IpcFrame, MessageChannel, outgoing
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, within
from tests.support.raw import BROADCAST, INVOKE, POST, SEND, STREAM, raw

VERBS: dict[str, Callable[[IpcFrame, Any], object]] = {
    "send": lambda frame, value: frame.send("x", value),
    "post_message": lambda frame, value: frame.post_message("x", value),
    "invoke": lambda frame, value: frame.invoke("x", value),
    "stream": lambda frame, value: frame.stream("x", value),
    "send_to": lambda frame, value: frame.send_to("other", "x", value),
    "invoke_to": lambda frame, value: frame.invoke_to("other", "x", value),
    "stream_to": lambda frame, value: frame.stream_to("other", "x", value),
    "broadcast": lambda frame, value: frame.broadcast("x", value),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
async def test_a_message_that_is_too_large_is_refused_and_leaves_nothing(
    address: str, verb: Callable[[IpcFrame, Any], object]
) -> None:
    async with Bus(address, config=Config(limits=Limits(message=100_000))) as bus:
        renderer = await bus.renderer()
        frame = await renderer.create_frame("a")
        before = renderer.stats()
        with pytest.raises(mainbus.MessageTooLarge):
            verb(frame, b"x" * 200_000)
        assert renderer.stats() == before
        await bus.served(renderer)


@pytest.mark.contract("9.2")
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
async def test_more_than_max_unsent_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch, verb: Callable[[IpcFrame, Any], object]
) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        frame = await renderer.create_frame("a")
        assert renderer._session is not None
        # Nothing waits for room where it may leave at once.
        renderer._session.main.pause()
        monkeypatch.setattr(outgoing, "MAX_UNSENT", 0)
        with pytest.raises(mainbus.SendQueueFull):
            verb(frame, 1)
        monkeypatch.undo()
        renderer._session.main.resume()
        await bus.served(renderer)


@pytest.mark.contract("7.7", "3.6")
async def test_ports_stay_where_they_are_if_there_is_no_room(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        channel = MessageChannel()
        with monkeypatch.context() as patch:
            patch.setattr(outgoing, "MAX_UNSENT", 0)
            with pytest.raises(mainbus.SendQueueFull):
                renderer.post_message("x", None, [channel.port2])
        channel.port1.post_message(1)
        assert (await within(anext(aiter(channel.port2)))).data == 1
        channel.port1.close()


@pytest.mark.contract("7.7")
async def test_only_the_main_process_gets_to_know_the_frame(address: str) -> None:
    async with Bus(address) as bus, raw(address, "other") as other:
        renderer, seen = await bus.renderer(), asyncio.Queue[int]()
        frame = await renderer.create_frame("a")
        bus.ipc_main.on("x", lambda event, value: seen.put_nowait(event.frame_id))
        bus.ipc_main.handle("x", lambda event, value: seen.put_nowait(event.frame_id))
        kept = [verb(frame, 1) for verb in VERBS.values()]
        assert [await within(seen.get()) for _ in range(4)] == [1] * 4
        for kind in (SEND, INVOKE, STREAM, BROADCAST):
            assert (await other.next(kind, POST)).frame == 0
        for one in kept:
            if isinstance(one, mainbus.Stream):
                await one.aclose()
            elif isinstance(one, mainbus.Reply) and not one.done():
                one.cancel()
