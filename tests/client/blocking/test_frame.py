"""Child frames of a blocking renderer: the same as on a loop, from any thread."""

import asyncio
from collections.abc import Callable
from typing import Any

import mainbus
import mainbus.blocking
import pytest
from mainbus import InvokeTimeout, LimitExceeded, ObjectDestroyedError
from mainbus.blocking import BlockingFrame, MessageChannel
from mainbus_broker import Config, Limits

from tests.support.threads import Box, BrokerThread, in_thread

RELEASED = r"^IPC method called after context was released$"
VERBS: dict[str, Callable[[BlockingFrame], object]] = {
    "send": lambda frame: frame.send("x"),
    "post_message": lambda frame: frame.post_message("x", 1),
    "invoke": lambda frame: frame.invoke("x"),
    "stream": lambda frame: frame.stream("x"),
    "stream_to": lambda frame: frame.stream_to("b", "x"),
    "send_sync": lambda frame: frame.send_sync("x"),
    "send_to": lambda frame: frame.send_to(1, "x"),
    "invoke_to": lambda frame: frame.invoke_to("b", "x"),
    "broadcast": lambda frame: frame.broadcast("x"),
    "drain": lambda frame: frame.drain(),
    "wait_for": lambda frame: frame.wait_for("x"),
    "create_frame": lambda frame: frame.create_frame("x"),
}


@pytest.mark.contract("7.7", "3.14", "2.11")
def test_each_verb_to_main_says_which_frame_it_is(broker: BrokerThread) -> None:
    ipc_main = broker.ipc_main

    @ipc_main.on("x")
    def answer(event: Any, value: int) -> None:
        event.reply("back", event.frame_id, event.sender_frame.name, value)
        event.sender.send("back", value)

    @ipc_main.on("sync")
    def sync(event: Any) -> None:
        event.return_value = [event.frame_id, event.sender_frame.name]

    ipc_main.handle("who", lambda event: [event.frame_id, event.sender_frame.name])
    with mainbus.blocking.connect(broker.address, name="host") as renderer:
        with renderer.create_frame("toolbar") as frame:
            own, main = Box(), Box()
            frame.on("back", own)
            renderer.on("back", main)
            frame.send("x", 1)
            frame.post_message("x", 2)
            event, *args = own.get()
            assert (event.sender, args) == (frame, [1, "toolbar", 1])
            assert own.get()[1:] == (1, "toolbar", 2)
            assert main.args(2) == [1, 2]
            assert frame.invoke("who") == [1, "toolbar"]
            assert list(frame.stream("who")) == [[1, "toolbar"]]
            assert frame.send_sync("sync") == [1, "toolbar"]
            assert renderer.send_sync("sync") == [0, "host"]
            inner = frame.create_frame("inner")
            assert inner.invoke("who") == [2, "inner"]
            assert (frame.frame_id, frame.name, frame.is_closed) == (1, "toolbar", False)
        assert frame.is_closed
        # Once the reader thread has closed the frame, it has closed what was in it.
        assert renderer.invoke("who") == [0, "host"]
        assert inner.is_closed


@pytest.mark.contract("7.7", "3.14")
def test_main_reaches_the_very_frame(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address, name="a") as renderer, renderer.create_frame("f") as frame:
        web_frame = broker.contents("a").frames[1]
        got = Box()
        frame.on("x", got)
        renderer.on("x", lambda event: pytest.fail("this one was for the frame"))
        broker.call(web_frame.send, "x", 1)
        assert got.get()[1:] == (1,)
        frame.handle("h", lambda event, value: [event.sender is frame, value])

        async def invoke() -> object:
            return await web_frame.invoke("h", 5)

        assert broker.run(invoke()) == [True, 5]

        async def stream() -> list[object]:
            return [item async for item in web_frame.stream("h", 6)]

        assert broker.run(stream()) == [[True, 6]]
        messages = frame.listen("y")
        broker.call(web_frame.send, "y", 1)
        assert next(messages)[1:] == (1,)
        with pytest.raises(InvokeTimeout):
            frame.wait_for("z", timeout=0.001)


@pytest.mark.contract("7.7", "3.14")
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_after_close_every_verb_raises(broker: BrokerThread, verb: Callable[[BlockingFrame], object]) -> None:
    with mainbus.blocking.connect(broker.address) as renderer:
        frame = renderer.create_frame("f")
        frame.close()
        frame.close()
        with pytest.raises(ObjectDestroyedError, match=RELEASED):
            verb(frame)
        assert renderer.invoke("echo", 1) == [1]
    frame.close()


@pytest.mark.contract("7.7", "3.14")
def test_what_waits_ends_with_the_frame(broker: BrokerThread) -> None:
    begun = Box()

    async def wait(event: Any) -> None:
        begun(event)
        await asyncio.Event().wait()

    broker.ipc_main.handle("wait", wait)
    with mainbus.blocking.connect(broker.address) as renderer:
        frame = renderer.create_frame("f")
        messages = frame.listen("x")
        taken = in_thread(lambda: list(messages))
        called = in_thread(lambda: frame.invoke("wait"))
        waited = in_thread(lambda: frame.wait_for("x"))
        streamed = in_thread(lambda: next(frame.stream("wait")))
        begun.get()
        begun.get()
        frame.close()
        assert taken() == []
        for result in (called, waited, streamed):
            with pytest.raises(ObjectDestroyedError, match=RELEASED):
                result()


@pytest.mark.contract("7.7")
def test_too_many_frames(address: str) -> None:
    with (
        BrokerThread(address, config=Config(limits=Limits(frames=1))),
        mainbus.blocking.connect(address) as renderer,
    ):
        renderer.create_frame("a")
        with pytest.raises(LimitExceeded, match="number of frames"):
            renderer.create_frame("b")
        with pytest.raises(ValueError, match="a frame's name"):
            renderer.create_frame("")


@pytest.mark.contract("7.7")
@pytest.mark.contract("7.1")
def test_a_frame_sends_ports_and_gets_some(broker: BrokerThread) -> None:
    def swap(event: Any, message: object) -> None:
        answer = mainbus.MessageChannel()
        answer.port1.post_message([message, event.frame_id])
        answer.port1.close()
        event.sender_frame.post_message("port", None, [*event.ports, answer.port2])

    broker.ipc_main.on("swap", swap)
    with mainbus.blocking.connect(broker.address) as renderer, renderer.create_frame("toolbar") as frame:
        channel, got = MessageChannel(), Box()
        frame.on("port", got)
        frame.post_message("swap", "hello", [channel.port2])
        event, _ = got.get()
        back, answer = event.ports
        assert [each.data for each in answer] == [["hello", 1]]
        channel.port1.post_message("there and back")
        channel.port1.close()
        assert [each.data for each in back] == ["there and back"]
        # What nobody in the frame listens to, or what comes behind its close, closes its ports.
        late = MessageChannel()
        frame.off("port", got)
        frame.post_message("swap", "again", [late.port2])
        assert list(late.port1) == []
