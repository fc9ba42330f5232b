"""What a renderer may ask the broker itself."""

import os
from dataclasses import asdict

import pytest
from mainbus import NoHandlerError, PeerInfo, ValidationError
from mainbus.wire import CODEC
from mainbus.wire.packets import MAIN, Kind
from mainbus_broker import Config, Limits, Match, Role
from mainbus_broker.versions import python_version, version_of

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
        contents = bus.broker.web_contents.get_all_web_contents()[0]
        contents.ipc.handle("heard", print)
        contents.ipc.on("heard", print)
        contents.main_frame.ipc.handle("framed", print)
        status = await one.status()
        assert status["pid"] == os.getpid()
        assert status["channels"] == [
            {"channel": "heard", "listeners": 2, "handler": False, "renderer": 0, "frame": None},
            {"channel": PING, "listeners": 0, "handler": True, "renderer": 0, "frame": None},
            {"channel": "handled", "listeners": 0, "handler": True, "renderer": 0, "frame": None},
            {"channel": "heard", "listeners": 1, "handler": True, "renderer": one.id, "frame": None},
            {"channel": "framed", "listeners": 0, "handler": True, "renderer": one.id, "frame": 0},
        ]
        assert status["version"] == version_of("mainbus")
        assert status["python"] == python_version()
        assert status["loop"].split()[0] in ("asyncio", "uvloop")
        assert status["codec"] == CODEC
        assert status["limits"] == asdict(Limits())
        assert 0 <= status["uptime"] < 60
        first, second = status["renderers"]
        uptimes = [renderer.pop("uptime") for renderer in (first, second)]
        assert all(0 <= uptime < 60 for uptime in uptimes)
        assert first == {"id": 1, "name": "one", "role": None, "pid": os.getpid(), "queued": 0}
        assert second == {"id": 2, "name": None, "role": None, "pid": os.getpid(), "queued": 0}


ROLES = {"all": Role(match=Match(), listen=["a*"], deny={"listen": ["ab"]})}


@pytest.mark.contract("8.4")
async def test_granted_tells_what_the_role_lets_it_do(address: str) -> None:
    async with Bus(address, config=Config(roles=ROLES)) as bus:
        renderer = await bus.renderer()
        asked = [("listen", "a"), ("listen", "ab"), ("listen", "b"), ("send", "a")]
        assert [await renderer.granted(*question) for question in asked] == [True, False, False, False]
        assert bus.broker.stats()["denied"] == 0
    async with Bus(address) as bus:
        assert await (await bus.renderer()).granted("listen", "b")


async def test_granted_takes_a_verb_and_a_channel(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(ValidationError, match="expected one of send, invoke"):
            await renderer.granted("names", "a")
        with pytest.raises(TypeError, match="0 bytes"):
            await renderer.granted("listen", "")
        for args in [(), ("listen",), ("listen", 1), ("listen", "x" * 256), ("listen", "a", "b"), (["listen"], "a")]:
            with pytest.raises(ValidationError):
                await renderer._request(Kind.QUERY, MAIN, "granted", args, None)


async def test_another_question_has_no_answer(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(NoHandlerError):
            await renderer._request(Kind.QUERY, MAIN, "no such question", (), None)


async def test_a_question_is_no_invoke(address: str) -> None:
    async with Bus(address) as bus:
        renderer, never = await bus.renderer(), Calls()
        bus.ipc_main.handle("peers", never)
        bus.ipc_main.on("peers", never)
        assert await renderer.peers() == []
        assert never.calls == []
        assert await renderer.invoke("peers") is None
