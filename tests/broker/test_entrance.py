"""A connection before its handshake: who may come in, as what, and how it is told."""

import asyncio
import logging

import cbor2
import mainbus
import pytest
from mainbus import transports
from mainbus.address import parse
from mainbus_broker import Broker, Config, IpcMain
from mainbus_broker.config import Limits
from mainbus_broker.entrance import Entrance
from mainbus_broker.listeners import listen

from tests.support import raw as wire
from tests.support.bus import USER, Bus, until, within
from tests.support.memory_ends import Recorder
from tests.support.raw import Packet, raw

HELLO = Packet(wire.HELLO, body=cbor2.dumps({"version": 1}))


@pytest.mark.contract("8.1")
async def test_another_user_is_refused_before_it_speaks(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Only root could be another user here.
    monkeypatch.setattr("mainbus_broker.entrance.same_user", lambda process: False)
    caplog.set_level(logging.INFO)
    async with Bus(address) as bus, raw(address, hello=False) as stranger:
        stranger.write(HELLO)
        [refused] = await stranger.rest()
        assert (refused.kind, refused.value) == (wire.REFUSED, mainbus.ConnectRefused.wire_code)
        assert refused.said == f"Could not connect to this broker: it serves its own user only, not uid {USER}"
        assert bus.broker.stats()["refused"] == 1
        assert len(bus.hub.renderers) == 0
        assert [record.levelno for record in caplog.records if "refused" in record.getMessage()] == [logging.INFO]
        with pytest.raises(mainbus.ConnectRefused, match="serves its own user only"):
            async with mainbus.connect(address):
                pass


@pytest.mark.contract("9.6")
async def test_a_taken_name_is_refused_by_name(address: str) -> None:
    async with Bus(address), raw(address, "editor"), raw(address, hello=False) as second:
        answer = await second.hello("editor")
        assert (answer.kind, answer.value) == (wire.REFUSED, mainbus.NameTaken.wire_code)
        assert answer.said == "The name 'editor' is taken by another renderer"
        assert await second.rest() == []


@pytest.mark.parametrize("name", ["", "é" * 128])
async def test_a_name_that_is_none_is_refused(address: str, name: str) -> None:
    async with Bus(address), raw(address, hello=False) as renderer:
        answer = await renderer.hello(name)
        assert (answer.kind, answer.value) == (wire.REFUSED, mainbus.ConnectRefused.wire_code)
        assert "1 to 255 bytes" in answer.said


async def test_an_unknown_token_is_refused(address: str) -> None:
    async with Bus(address), raw(address, hello=False) as renderer:
        answer = await renderer.hello(token="guessed")
        assert (answer.kind, answer.value) == (wire.REFUSED, mainbus.ConnectRefused.wire_code)
        assert "token" in answer.said
        assert "guessed" not in answer.said


async def test_whoever_is_in_is_not_refused_for_being_late(address: str) -> None:
    config = Config(limits=Limits(handshake_timeout=0.3))
    async with Bus(address, config=config) as bus, raw(address) as renderer, raw(address, hello=False) as late:
        assert (await late.rest())[0].kind == wire.REFUSED
        # The other one's time would have come before.
        assert await renderer.is_served()
        assert not bus.hub.entering


async def test_a_hello_in_pieces_is_a_hello(address: str) -> None:
    async with Bus(address) as bus, raw(address, hello=False) as renderer:
        data = HELLO.encode()
        for at in range(len(data)):
            renderer.write(data[at : at + 1])
            await renderer.writer.drain()
            await asyncio.sleep(0)
        assert (await renderer.next(wire.WELCOME)).said["id"] == 1
        assert len(bus.hub.renderers) == 1


async def test_nothing_is_read_behind_a_refusal(address: str) -> None:
    async with Bus(address) as bus, raw(address, hello=False) as stranger:
        stranger.write(Packet(99), HELLO, HELLO)
        assert [packet.kind for packet in await stranger.rest()] == [wire.REFUSED]
        assert len(bus.hub.renderers) == 0
        assert bus.broker.stats()["refused"] == 1


async def test_a_broker_that_stops_ends_who_has_not_come_in(address: str) -> None:
    broker = Broker(address)
    await broker.start()
    async with raw(address, hello=False) as half:
        half.write(HELLO.encode()[:-1])
        assert broker._hub is not None
        hub = broker._hub
        await until(lambda: hub.entering)
        await broker.stop()
        assert await half.rest() == []
        assert not hub.entering


@pytest.mark.contract("9.8")
async def test_a_broker_that_is_stopping_lets_nobody_in(address: str) -> None:
    release = asyncio.Event()
    ipc_main = IpcMain()

    async def hold(event: object) -> None:
        await release.wait()

    ipc_main.handle("hold", hold)
    broker = Broker(address, ipc_main=ipc_main)
    await broker.start()
    async with raw(address) as inside, raw(address, hello=False) as outside:
        inside.write(Packet(wire.INVOKE, request=1, channel=b"hold", body=wire.args()))
        assert await inside.is_served()
        stopping = asyncio.ensure_future(broker.stop())
        await inside.next(wire.CREDIT)
        answer = await outside.hello()
        assert (answer.kind, answer.value) == (wire.REFUSED, mainbus.ConnectionLost.wire_code)
        assert "stopping" in answer.said
        release.set()
        await stopping


@pytest.mark.contract("9.8")
async def test_whoever_was_accepted_just_before_the_end_is_refused_and_not_kept(address: str) -> None:
    async with Bus(address) as bus:
        hub = bus.hub
    # The loop says so only now, as it does a turn or two after it has accepted somebody.
    listener = await listen(parse("memory:late"), lambda: Entrance(hub, address))
    late = Recorder()
    await transports.connect(parse("memory:late"), lambda: late)
    await within(late.until_lost())
    assert b"the broker is stopping" in late.received
    assert not hub.entering
    await listener.aclose()


@pytest.mark.contract("3.5")
async def test_a_lane_belongs_to_the_process_of_its_renderer(address: str) -> None:
    async with Bus(address) as bus, raw(address) as owner, raw(address, hello=False) as lane:
        # Its process is another one than it was: only another process could be that.
        peer = bus.hub.renderers.ids[owner.id]
        peer.process = type(peer.process)(peer.process.pid + 1, peer.process.uid, peer.process.gid)
        lane.write(Packet(wire.LANE, body=cbor2.dumps({"id": owner.id, "nonce": owner.welcome["lane"]})))
        [refused] = await lane.rest()
        assert (refused.kind, refused.value) == (wire.REFUSED, mainbus.ConnectRefused.wire_code)
        assert peer.lane is None
        # It can still be opened by whom it belongs to.
        assert peer.lane_nonces == (owner.welcome["lane"],)
