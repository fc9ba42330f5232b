"""Pauses and lanes on the raw wire, kept and broken."""

import os

import cbor2
import mainbus
import pytest
from mainbus_broker import Config
from mainbus_broker.config import Limits

from tests.support import bare
from tests.support import raw as wire
from tests.support.bus import Bus
from tests.support.bystanders import bystanders, warnings
from tests.support.raw import Packet, Raw, args, raw

# Pauses.


@pytest.mark.contract("8.6", "9.2", "8.7")
@pytest.mark.parametrize("acknowledges", [True, False])
async def test_who_overruns_a_pause_is_closed_and_not_its_target(
    address: str, caplog: pytest.LogCaptureFixture, acknowledges: bool
) -> None:
    config = Config(limits=Limits(high=1000, low=100, overrun=5_000_000))
    async with (
        Bus(address, config=config) as bus,
        bystanders(bus),
        raw(address, "fast") as fast,
        raw(address, "slow") as slow,
    ):
        message = Packet(wire.SEND, peer=slow.id, channel=b"c", body=bytes(100_000))
        # Until the kernel takes no more for a reader that does not read.
        while not ((pausing := bus.hub.renderers.ids[slow.id].pausing) and pausing[fast.id].reasons):
            fast.write(message)
            assert await fast.is_served()
        caplog.clear()
        if acknowledges:
            # An earlier pause that was over at once is still to be acknowledged, before there is another one.
            while not pausing[fast.id].acknowledged:
                fast.write(Packet(wire.PAUSED, peer=slow.id, request=pausing[fast.id].serial))
                assert await fast.is_served()
            fast.write(message)
        else:
            fast.write(*[message] * 60)
        goodbye = await fast.next(wire.GOODBYE)
        assert (
            goodbye.body.decode()
            == f"sent to renderer {slow.id} (slow) pid {os.getpid()} although it was asked to pause"
        )
        assert len(warnings(caplog)) == 1
        assert bus.broker.stats()["overruns"] == 1
        assert slow.id in bus.hub.renderers.ids
        while (packet := await slow.read()) is not None and packet.kind != wire.GAP:
            pass
        assert await slow.is_served()


# Lanes.


async def open_lane(address: str, owner: Raw, nonce: bytes | None = None, id: int | None = None) -> tuple[Raw, Packet]:
    """Open a connection, ask for a lane of `owner`, and return both with the answer."""
    lane = Raw(*await bare.connect(address))
    said = {"id": owner.id if id is None else id, "nonce": owner.welcome["lane"] if nonce is None else nonce}
    lane.write(Packet(wire.LANE, body=cbor2.dumps(said)))
    answer = await lane.read()
    assert answer is not None
    return lane, answer


@pytest.mark.contract("3.5")
@pytest.mark.parametrize("wrong", ["nonce", "empty nonce", "id", "replay"])
async def test_a_lane_is_opened_with_its_own_nonce_and_once(address: str, wrong: str) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address, "owner") as owner:
        nonce, id = owner.welcome["lane"], owner.id
        if wrong == "replay":
            lane, answer = await open_lane(address, owner)
            assert answer.kind == wire.LANE
            # From its first packet on the lane has shown that it knows the next nonce.
            lane.write(Packet(wire.REPEAT, value=1), Packet(wire.SYNC, request=1, channel=b"c", body=args()))
            assert (await lane.read() or Packet(0)).request == 1
            await lane.close()
        elif wrong == "id":
            id = bus.hub.renderers.names["other"].id
        else:
            nonce = b"" if wrong == "empty nonce" else bytes(len(nonce))
        lane, answer = await open_lane(address, owner, nonce, id)
        assert (answer.kind, answer.value) == (wire.REFUSED, mainbus.ConnectRefused.wire_code)
        assert answer.said == "Could not connect to this broker: no renderer of this process has that lane"
        assert await lane.rest() == []
        await lane.close()
        assert await owner.is_served()


@pytest.mark.contract("3.5")
async def test_a_lane_that_was_given_up_while_it_opened_can_be_opened_again(address: str) -> None:
    async with Bus(address), raw(address, "owner") as owner:
        for _ in range(3):
            # It closes as if it had never read the answer.
            lane, answer = await open_lane(address, owner)
            assert answer.kind == wire.LANE
            await lane.close()
        lane, answer = await open_lane(address, owner, answer.said["nonce"])
        assert answer.kind == wire.LANE
        await lane.close()


@pytest.mark.contract("3.5", "8.7")
@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([Packet(99)], "unexpected packet of kind 99 while lane"),
        ([Packet(wire.REPEAT, value=1), Packet(wire.SYNC, flags=wire.CONTINUES)], "SYNC without its first"),
        ([Packet(wire.LANE)], "unexpected packet of kind LANE while lane"),
    ],
)
async def test_a_fault_on_a_lane_closes_its_renderer(
    address: str, caplog: pytest.LogCaptureFixture, said: list[Packet], text: str
) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address, "owner") as owner:
        lane, _ = await open_lane(address, owner)
        caplog.clear()
        lane.write(*said)
        goodbye = await owner.next(wire.GOODBYE)
        assert goodbye.body.decode().startswith("on its lane: ")
        assert text in goodbye.body.decode()
        assert len(warnings(caplog)) == 1
        assert await lane.rest() == []
        await lane.close()
