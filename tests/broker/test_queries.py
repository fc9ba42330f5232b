"""What a renderer may ask the broker itself."""

import os

import pytest
from mainbus import NoHandlerError, PeerInfo
from mainbus.wire.packets import MAIN, Kind

from tests.support.bus import PING, Bus, Calls


@pytest.mark.contract("3.8")
async def test_peers_lists_the_others(address: str) -> None:
    async with Bus(address) as bus:
        one, two, three = await bus.renderer("one"), await bus.renderer(), await bus.renderer("three")
        assert await one.peers() == [PeerInfo(two.id, None), PeerInfo(three.id, "three")]
        await three.aclose()
        assert await two.peers() == [PeerInfo(one.id, "one")]
        await one.aclose()
        assert await two.peers() == []


async def test_status_tells_what_mainbus_list_shows(address: str) -> None:
    async with Bus(address) as bus:
        one = await bus.renderer("one")
        _ = await bus.renderer()
        bus.ipc_main.on("heard", print)
        bus.ipc_main.on("heard", print)
        bus.ipc_main.handle("handled", print)
        status = await one.status()
        assert status["pid"] == os.getpid()
        assert status["channels"] == {
            "heard": {"listeners": 2, "handler": False},
            "handled": {"listeners": 0, "handler": True},
            PING: {"listeners": 0, "handler": True},
        }
        first, second = status["renderers"]
        uptimes = [renderer.pop("uptime") for renderer in (first, second)]
        assert all(0 <= uptime < 60 for uptime in uptimes)
        assert first == {"id": 1, "name": "one", "role": None, "pid": os.getpid(), "queued": 0}
        assert second == {"id": 2, "name": None, "role": None, "pid": os.getpid(), "queued": 0}


async def test_another_question_has_no_answer(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(NoHandlerError):
            await renderer._invoke(Kind.QUERY, MAIN, "no such question", (), None)


async def test_a_question_is_no_invoke(address: str) -> None:
    async with Bus(address) as bus:
        renderer, never = await bus.renderer(), Calls()
        bus.ipc_main.handle("peers", never)
        bus.ipc_main.on("peers", never)
        assert await renderer.peers() == []
        assert never.calls == []
        assert await renderer.invoke("peers") is None
