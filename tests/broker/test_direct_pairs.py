"""How two renderers get a socket of their own: by hand-built packets, and every way in which nothing comes of it."""

import asyncio
import gc
import os
import socket
from pathlib import Path

import cbor2
import mainbus
import pytest
from mainbus_broker import Config, Match, Role
from mainbus_broker.config import Limits

from tests.support.bus import Bus, until
from tests.support.direct import Side, sides
from tests.support.raw import (
    CONTINUES,
    FREE,
    GOODBYE,
    MORE,
    PORT_CLOSE,
    PORT_CREDIT,
    PORT_DIRECT,
    PORT_MESSAGE,
    PORT_MOVED,
    PORT_SWITCH,
    POST,
    Packet,
    args,
    fragments,
)

pytestmark = pytest.mark.contract("7.6")

WINDOW = 256 * 1024


async def given(a: Side, b: Side) -> tuple[int, socket.socket, socket.socket]:
    """Let both ask; returns the serial and both ends of the socket."""
    a.ask()
    b.ask()
    (serial, one), (same, two) = await a.given(), await b.given()
    assert serial == same
    return serial, one, two


def sockets() -> int:
    """How many sockets this process has open, the broker's included."""
    gc.collect()
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sum(os.readlink(link).startswith("socket") for link in links if os.path.lexists(link))


async def test_both_get_an_end_of_one_socket_and_are_told_when_both_have_switched(address: str) -> None:
    async with sides(address) as (bus, a, b):
        serial, one, two = await given(a, b)
        with one, two:
            one.send(b"past the broker")
            assert two.recv(100) == b"past the broker"
            a.switch(serial)
            assert await a.raw.is_served()
            assert bus.broker.stats()["direct_ports"] == 0
            b.switch(serial)
            assert await a.switched() == await b.switched() == (serial, 0)
            assert bus.broker.stats()["direct_ports"] == 1


async def test_what_was_posted_before_comes_before_the_switch(address: str) -> None:
    async with sides(address) as (_, a, b):
        serial, one, two = await given(a, b)
        with one, two:
            b.switch(serial)
            a.raw.write(Packet(PORT_MESSAGE, peer=a.port, body=args(1)))
            a.switch(serial)
            packet = await b.raw.read()
            assert packet is not None
            assert (packet.kind, packet.said) == (PORT_MESSAGE, [1])
            assert await b.switched() == (serial, 0)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_the_broker_keeps_none_of_it(address: str) -> None:
    async with sides(address) as (_, a, b):
        before = sockets()
        _, one, two = await given(a, b)
        with one, two:
            await until(lambda: sockets() == before + 2)
            one.close()
            # Both its own and the broker's are gone.
            assert two.recv(1) == b""


async def test_one_that_asks_alone_gets_nothing(address: str) -> None:
    async with sides(address) as (_, a, b):
        a.ask()
        a.ask()
        assert await a.raw.is_served()
        serial, one, two = await given(a, b)
        one.close()
        two.close()
        # It has one now.
        a.ask()
        b.ask()
        a.switch(serial)
        b.switch(serial)
        assert await a.switched() == await b.switched() == (serial, 0)


@pytest.mark.parametrize("what", ["posts", "closes", "leaves", "dies", "refuses"])
async def test_who_has_switched_is_told_if_the_other_one_does_not(address: str, what: str) -> None:
    async with sides(address) as (bus, a, b):
        serial, one, two = await given(a, b)
        with one, two:
            a.switch(serial)
            assert await a.raw.is_served()
            if what == "posts":
                # By itself that means nothing, before it has switched.
                b.raw.write(Packet(PORT_MESSAGE, peer=b.port, body=args(1)))
                b.switch(serial)
                assert await a.switched() == (serial, 0)
                return
            if what == "closes":
                b.raw.write(Packet(PORT_CLOSE, peer=b.port))
            elif what == "leaves":
                entry = b.port.to_bytes(4) + bytes(4)
                b.raw.write(Packet(POST, value=1, channel=b"nowhere", body=entry + args()))
            elif what == "dies":
                await b.raw.close()
            else:
                b.raw.write(Packet(PORT_DIRECT, peer=b.port, request=serial, value=1))
                assert await b.switched() == (0, 1)
            assert await a.switched() == (serial, 1)
            assert bus.broker.stats()["direct_ports"] == 0


async def test_who_posts_here_after_the_switch_has_gone_back(address: str) -> None:
    async with sides(address) as (bus, a, b):
        serial, one, two = await given(a, b)
        with one, two:
            a.switch(serial)
            a.raw.write(Packet(PORT_MESSAGE, peer=a.port, body=args(1)))
            assert await a.switched() == (serial, 1)
            b.switch(serial)
            assert await b.switched() == (serial, 1)
        serial, one, two = await given(a, b)
        with one, two:
            a.switch(serial)
            b.switch(serial)
            assert await a.switched() == await b.switched() == (serial, 0)
            a.raw.write(Packet(PORT_MESSAGE, peer=a.port, body=args(2)))
            assert (await b.raw.next(PORT_MESSAGE)).said == [2]
            assert bus.broker.stats()["direct_ports"] == 0


async def test_a_switch_of_another_socket_comes_to_nothing(address: str) -> None:
    async with sides(address) as (_, a, b):
        serial, one, two = await given(a, b)
        with one, two:
            a.switch(serial + 1)
            assert await a.switched() == (serial + 1, 1)
            a.switch(serial)
            a.switch(serial)
            b.switch(serial)
            assert await b.switched() == (serial, 0)


@pytest.mark.contract("8.7")
async def test_who_has_taken_its_end_cannot_say_that_it_cannot(address: str) -> None:
    async with sides(address) as (bus, a, b):
        serial, one, two = await given(a, b)
        with one, two:
            a.switch(serial)
            b.switch(serial)
            assert await a.switched() == await b.switched() == (serial, 0)
            b.raw.write(Packet(PORT_DIRECT, peer=b.port, request=serial, value=1))
            assert (await b.raw.rest())[-1].kind == GOODBYE
            assert await a.raw.is_served()
            assert bus.broker.stats()["direct_ports"] == 0


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("kind", [PORT_SWITCH, PORT_DIRECT])
async def test_who_does_not_read_what_comes_of_its_own_words_is_closed(address: str, kind: int) -> None:
    limits = Limits(direct_after=1, low=1024, high=2048, hard=16 * 1024)
    async with sides(address, config=Config(limits=limits)) as (bus, a, _):
        contents = bus.broker.web_contents.from_name("a")
        assert contents is not None
        a.raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        words = Packet(kind, peer=a.port, request=99, value=1).encode() * 1000
        while not contents.is_destroyed():
            assert contents.queued < 64 * 1024
            a.raw.write(words)
            try:
                await a.raw.writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)
        await until(contents.is_destroyed)


async def test_without_a_connection_for_descriptors_both_are_told(address: str) -> None:
    async with sides(address, lanes=False) as (_, a, b):
        a.ask()
        b.ask()
        assert await a.switched() == await b.switched() == (0, 1)


async def test_no_more_than_the_limit_are_direct(address: str) -> None:
    config = Config(limits=Limits(direct_after=1, direct=1))
    async with sides(address, config=config) as (bus, a, b):
        _, one, two = await given(a, b)
        with one, two:
            peers = [bus.broker.web_contents.from_name(name)._peer.ports for name in "ab"]  # type: ignore[union-attr]
            assert [ports.directs for ports in peers if ports is not None] == [1, 1]
            body = bytes((0, 0, 0, 5, 0, 0, 0, 7)) + args("b")
            a.raw.write(Packet(POST, value=1, channel=b"to", body=body))
            number = int.from_bytes((await b.raw.next(POST)).body[:4])
            a.raw.write(Packet(PORT_CLOSE, peer=5))
            more = a._replace(port=7), b._replace(port=number)
            for side in more:
                side.ask()
            assert [await side.switched() for side in more] == [(0, 1), (0, 1)]


@pytest.mark.contract("8.4")
@pytest.mark.parametrize(("granted", "expected"), [(["to", "port"], True), (["to"], False), (["p*"], False)])
async def test_a_role_grants_direct_by_the_channel_that_the_port_came_by(
    address: str, granted: list[str], expected: bool
) -> None:
    every = ["*"]
    role = Role(match=Match(), names=every, send=every, listen=every, direct=granted)
    config = Config(limits=Limits(direct_after=1), roles={"some": role})
    async with sides(address, config=config) as (_, a, b):
        a.ask()
        b.ask()
        if expected:
            for side in (a, b):
                (await side.given())[1].close()
        else:
            assert await a.switched() == await b.switched() == (0, 1)


async def test_a_role_without_direct_is_not_told_of_it(address: str) -> None:
    every = ["*"]
    role = Role(match=Match(), names=every, send=every, listen=every)
    async with Bus(address, config=Config(roles={"tied": role}, shared_memory=False)) as bus:
        renderer = await bus.renderer("a")
        assert bus.peer(renderer).key is None


async def test_a_port_of_the_main_process_stays_as_it_is(address: str) -> None:
    async with sides(address) as (bus, a, _):
        kept: list[object] = []
        bus.ipc_main.on("mine", lambda event, _: kept.append(event.ports[0]))
        a.raw.write(Packet(POST, value=1, channel=b"mine", body=bytes((0, 0, 0, 5, 0, 0, 0, 7)) + args(None)))
        a.raw.write(Packet(PORT_DIRECT, peer=7))
        assert await a.raw.is_served()
        assert kept


async def test_what_is_posted_costs_credit_whatever_is_said_of_it(address: str) -> None:
    async with sides(address) as (bus, a, b):
        a.raw.write(Packet(PORT_MESSAGE, flags=FREE, peer=a.port, body=args(1)))
        packet = await b.raw.next(PORT_MESSAGE)
        assert packet.flags == 0
        b.raw.write(Packet(PORT_CREDIT, peer=b.port, value=WINDOW))
        assert (await a.raw.next(PORT_CREDIT)).value == 4096 + len(packet.body)
        assert bus.broker.stats()["direct_ports"] == 0


async def test_ports_of_a_renderer_at_a_memory_address_stay_as_they_are() -> None:
    async with Bus("memory:direct") as bus:
        renderer = await bus.renderer("a")
        assert isinstance(renderer, mainbus.IpcRenderer)
        assert bus.peer(renderer).key is None


@pytest.mark.contract("9.2")
async def test_what_comes_back_after_a_direct_port_is_marked_and_costs_nothing(address: str) -> None:
    async with sides(address) as (_, a, b):
        entry = b.port.to_bytes(4) + bytes(4)
        b.raw.write(Packet(POST, value=1, channel=b"to", body=entry + args("b")))
        await b.raw.next(PORT_MOVED)
        number = int.from_bytes((await b.raw.next(POST)).body[:4])
        large = Packet(PORT_MESSAGE, flags=FREE, peer=b.port, body=cbor2.dumps(bytes(200_000)))
        b.raw.write(*fragments(large), large._replace(body=args("small")), Packet(PORT_CLOSE, peer=b.port))
        packets = [await b.raw.next(PORT_MESSAGE) for _ in range(3)]
        assert [packet.flags for packet in packets] == [FREE | MORE, FREE | CONTINUES, FREE]
        assert {packet.peer for packet in packets} == {number}
        a.raw.write(Packet(PORT_MESSAGE, peer=a.port, body=args(1)))
        body = (await b.raw.next(PORT_MESSAGE)).body
        b.raw.write(Packet(PORT_CREDIT, peer=number, value=WINDOW))
        # For what was posted by the relay, and nothing else.
        assert (await a.raw.next(PORT_CREDIT)).value == 4096 + len(body)
