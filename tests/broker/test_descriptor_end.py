"""The connection for descriptors, from the broker's side: who gets one, and what is sent at once or not at all."""

import asyncio
import socket

import pytest
from mainbus.wire.packets import Kind
from mainbus_broker import Config

from tests.support.bus import Bus, until, within
from tests.support.direct import FEATURES, Descriptors, sides
from tests.support.raw import LANE, REFUSED, raw

pytestmark = pytest.mark.contract("7.6")


async def test_it_needs_the_key_of_the_welcome(address: str) -> None:
    async with Bus(address), raw(address, features=FEATURES) as renderer:
        async with Descriptors(address, renderer, b"another" * 2) as refused:
            assert await refused.record() is not None
        async with Descriptors(address, renderer) as lane:
            assert await lane.record() == (LANE, 0, 0, None)


@pytest.mark.parametrize("config", [Config(), Config(direct_ports=False)])
async def test_where_ports_do_not_become_direct_there_is_no_key(address: str, config: Config) -> None:
    features = FEATURES if not config.direct_ports else FEATURES[:2]
    async with Bus(address, config=config), raw(address, features=features) as renderer:
        assert renderer.welcome["descriptors"] is None
        async with Descriptors(address, renderer, bytes(16)) as lane:
            record = await lane.record()
            assert record is not None
            assert record[0] == REFUSED


async def test_a_second_one_ends_the_first(address: str) -> None:
    async with Bus(address), raw(address, features=FEATURES) as renderer, Descriptors(address, renderer) as first:
        assert await first.record() is not None
        async with Descriptors(address, renderer) as second:
            assert await second.record() is not None
            assert await first.record() is None


async def test_who_writes_there_is_not_heard(address: str) -> None:
    async with sides(address) as (bus, a, b):
        a.lane.sock.send(b"?")
        assert await a.lane.record() is None
        peer = bus.broker.web_contents.from_name("a")._peer  # type: ignore[union-attr]
        await until(lambda: peer.descriptors is None)
        a.ask()
        b.ask()
        assert await a.switched() == await b.switched() == (0, 1)


async def test_it_ends_with_its_renderer(address: str) -> None:
    async with Bus(address), raw(address, features=FEATURES) as renderer, Descriptors(address, renderer) as lane:
        assert await lane.record() is not None
        await renderer.close()
        assert await lane.record() is None


async def test_who_does_not_read_gets_none(address: str) -> None:
    async with sides(address) as (bus, a, b):
        peer = bus.broker.web_contents.from_name("a")._peer  # type: ignore[union-attr]
        assert peer.descriptors is not None
        sent = 0
        while peer.descriptors.give(Kind.PORT_DIRECT, a.port, 0, a.lane.sock.fileno()):
            sent += 1
        assert sent
        a.ask()
        b.ask()
        assert await a.switched() == await b.switched() == (0, 1)


async def test_what_the_application_sets_for_its_own_sockets_holds_up_nobody(address: str) -> None:
    async with sides(address) as (bus, a, _):
        end = bus.broker.web_contents.from_name("a")._peer.descriptors  # type: ignore[union-attr]
        assert end is not None
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(3600)
        try:
            while await within(asyncio.to_thread(end.give, Kind.PORT_DIRECT, a.port, 0, a.lane.sock.fileno())):
                pass
        finally:
            socket.setdefaulttimeout(before)
            # What waits, waits no more.
            a.lane.sock.close()


async def test_what_was_lost_with_it_keeps_nobody_waiting(address: str) -> None:
    async with sides(address) as (_, a, b):
        a.ask()
        b.ask()
        serial, sock = await b.given()
        with sock:
            b.switch(serial)
            assert await b.raw.is_served()
            a.lane.sock.close()
            assert await b.switched() == (serial, 1)
            assert await a.switched() == (0, 1)
