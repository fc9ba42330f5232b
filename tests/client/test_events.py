"""What listeners and handlers of a renderer are called with."""

import asyncio
from typing import Any

import mainbus
import pytest
from mainbus_broker import Broker, IpcMain


@pytest.mark.contract("3.11")
async def test_a_message_of_the_main_process(address: str) -> None:
    got: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    replied: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    ipc_main = IpcMain()
    ipc_main.on("back", lambda event, value: replied.set_result((event.sender.id, value)))
    async with Broker(address, ipc_main=ipc_main) as broker, mainbus.connect(address) as renderer:
        renderer.on("x", lambda event, value: got.set_result((event, value)))
        broker.web_contents.get_all_web_contents()[0].send("x", 1)
        event, value = await got
        assert (event.channel, event.sender, event.ports, value) == ("x", renderer, [], 1)
        assert (event.sender_id, event.sender_name) == (0, "")
        assert event.sender_label == "the main process"
        event.reply("back", 2)
        assert await replied == (renderer.id, 2)


@pytest.mark.contract("3.11")
async def test_a_message_of_another_renderer(address: str) -> None:
    got: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    back: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    async with (
        Broker(address),
        mainbus.connect(address, name="one") as one,
        mainbus.connect(address) as two,
    ):
        two.on("x", lambda event: got.set_result(event), senders="renderers")
        one.on("y", lambda event: back.set_result(event), senders="renderers")
        one.send_to(two.id, "x")
        event = await got
        assert (event.sender_id, event.sender_name) == (one.id, "one")
        assert event.sender_label == f"renderer {one.id} (one)"
        event.reply("y")
        answer = await back
        assert (answer.sender_id, answer.sender_name) == (two.id, "")
        assert answer.sender_label == f"renderer {two.id}"


@pytest.mark.contract("3.11")
async def test_an_invoke_has_its_number_and_deadline_and_no_reply(address: str) -> None:
    events: list[Any] = []
    async with Broker(address) as broker, mainbus.connect(address) as renderer:
        renderer.handle("x", lambda event: events.append(event))
        contents = broker.web_contents.get_all_web_contents()[0]
        before = asyncio.get_running_loop().time()
        await contents.invoke("x")
        await contents.invoke("x", timeout=50)
        first, second = events
        assert (first.channel, first.sender, first.sender_id, first.sender_name) == ("x", renderer, 0, "")
        assert first.request_id != second.request_id
        assert first.deadline is None
        assert before + 50 <= second.deadline <= asyncio.get_running_loop().time() + 51
        assert first.sender_label == "the main process"
        assert not hasattr(first, "reply")
        assert not hasattr(first, "ports")
