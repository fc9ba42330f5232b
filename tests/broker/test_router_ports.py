"""Packets for ports as no client of ours would write them: only who wrote them is closed, by name."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cbor2
import pytest
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, until
from tests.support.raw import (
    CONTINUES,
    GOODBYE,
    MORE,
    PORT_CLOSE,
    PORT_CREDIT,
    PORT_MESSAGE,
    PORT_MOVED,
    POST,
    Packet,
    Raw,
    args,
    raw,
)

BAD = b"\xff"
BAD_MESSAGE = 20
FRAGMENT = 132 * 1024


def table(*entries: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">II", *entry) for entry in entries)


def message(number: int, value: object, *ports: tuple[int, int], flags: int = 0) -> Packet:
    return Packet(PORT_MESSAGE, flags, number, value=len(ports), body=table(*ports) + cbor2.dumps(value))


def ports(target: str, *given: tuple[int, int]) -> Packet:
    """A message with ports, which the main process hands on."""
    return Packet(POST, channel=b"hand-on", value=len(given), body=table(*given) + args(target))


def close(number: int, code: int = 0) -> Packet:
    return Packet(PORT_CLOSE, peer=number, value=code)


@asynccontextmanager
async def two(address: str, config: Config | None = None) -> AsyncIterator[tuple[Bus, Raw, Raw]]:
    """Two renderers with a channel between them: 3 of the one is entangled with 2 of the other."""
    async with Bus(address, config=config) as bus, raw(address, "a") as a, raw(address, "b") as b:

        def hand_on(event: object, target: str) -> None:
            contents = bus.broker.web_contents.from_name(target)
            assert contents is not None
            contents.post_message("ports", None, event.ports)  # type: ignore[attr-defined]

        bus.ipc_main.on("hand-on", hand_on)
        a.write(ports("b", (1, 3)), close(1))
        assert (await a.next(PORT_MOVED)).peer == 1
        assert (await b.next(POST)).body[:8] == table((2, 0))
        yield bus, a, b


async def works(a: Raw, b: Raw) -> None:
    """Check that the channel does."""
    a.write(message(3, "to b"))
    assert (await b.next(PORT_MESSAGE)).said == "to b"
    b.write(message(2, "to a"))
    assert (await a.next(PORT_MESSAGE)).said == "to a"


# Numbers.


@pytest.mark.contract("8.7")
@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([(2, 4)], "a new channel whose numbers are not two odd ones"),
        ([(1, 2)], "a new channel whose numbers are not two odd ones"),
        ([(2, 1)], "a new channel whose numbers are not two odd ones"),
        ([(0, 1)], "a new channel whose numbers are not two odd ones"),
        ([(5, 5)], "a new channel whose numbers are not two odd ones"),
        ([(1, 3), (1, 3)], "a new channel with the numbers 1 and 3, which are not above those before"),
        ([(1, 3), (5, 3)], "a new channel with the numbers 5 and 3, which are not above those before"),
        ([(1, 3), (3, 5)], "a new channel with the numbers 3 and 5, which are not above those before"),
        ([(5, 7), (1, 3)], "a new channel with the numbers 1 and 3, which are not above those before"),
        ([(2, 0)], "port 2 was never a port of this connection"),
        ([(3, 0)], "port 3 was never a port of this connection"),
        ([(1, 3), (5, 0)], "port 5 was never a port of this connection"),
        ([(0xFFFF_FFFE, 0)], "port 4294967294 was never a port of this connection"),
    ],
)
@pytest.mark.parametrize("way", ["post", "port"])
async def test_nobody_claims_numbers_that_are_not_its_own(
    entries: list[tuple[int, int]], fault: str, way: str, address: str
) -> None:
    async with two(address) as (bus, a, b), raw(address, "stranger") as stranger:
        if way == "port":
            # By a port of its own, whose numbers come first.
            stranger.write(ports("b", (1, 3)), close(1))
            shift = {number: number + 4 for number in (1, 3, 5, 7)}
            entries = [(shift.get(number, number), shift.get(partner, partner)) for number, partner in entries]
            for number in (7, 5, 3, 1):
                fault = fault.replace(f"numbers {number} ", f"numbers {number + 4} ")
                fault = fault.replace(f"and {number},", f"and {number + 4},")
                fault = fault.replace(f"port {number} ", f"port {number + 4} ")
            stranger.write(message(3, None, *entries))
        else:
            stranger.write(ports("b", *entries))
        assert (await stranger.next(GOODBYE)).body.decode() == fault
        await works(a, b)
        assert bus.broker.web_contents.from_name("stranger") is None


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("kind", [PORT_MESSAGE, PORT_CREDIT, PORT_CLOSE])
@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 0xFFFF_FFFF])
async def test_nobody_uses_numbers_that_were_never_given(kind: int, number: int, address: str) -> None:
    async with two(address) as (_, a, b), raw(address) as stranger:
        stranger.write(Packet(kind, peer=number, value=0 if kind == PORT_MESSAGE else BAD_MESSAGE, body=b"\xf6"))
        assert (await stranger.next(GOODBYE)).body.decode() == f"port {number} was never a port of this connection"
        await works(a, b)


@pytest.mark.contract("7.4")
async def test_packets_for_a_number_that_is_gone_are_ignored(address: str) -> None:
    async with two(address) as (_, a, b):
        a.write(ports("b", (5, 7)), close(5), close(7))
        assert (await b.next(POST)).body[:8] == table((4, 0))
        for number in (5, 7):
            a.write(message(number, "x"), Packet(PORT_CREDIT, peer=number, value=1), close(number), close(number, 20))
        # What comes with it is closed, and a number that is gone stands for a closed port.
        a.write(message(7, "x", (9, 11)), close(9), ports("b", (7, 0), (11, 0)), close(11))
        both = (await b.next(POST)).body
        assert both[:16] == table((6, 0), (8, 0))
        await works(a, b)


@pytest.mark.contract("8.7")
async def test_a_port_leaves_with_no_message_that_is_posted_on_it(address: str) -> None:
    async with two(address) as (_, a, b):
        a.write(message(3, None, (3, 0)))
        assert (await a.next(GOODBYE)).body == b"port 3 leaves with a message that is posted on it"
        assert (await b.next(PORT_CLOSE)).peer == 2
        b.write(close(2))
        assert await b.is_served()


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("count", [1, 2, 1025, 0xFFFF_FFFF])
async def test_a_table_is_as_long_as_it_says(count: int, address: str) -> None:
    async with two(address) as (_, a, b), raw(address) as stranger:
        stranger.write(Packet(POST, channel=b"hand-on", value=count, body=bytes(8 * min(count, 1025) - 1)))
        assert (await stranger.next(GOODBYE)).body.decode() == f"a message that is too short for its {count} ports"
        await works(a, b)


# How much.


async def test_too_many_ports_close_who_makes_them(address: str) -> None:
    async with two(address, Config(limits=Limits(ports=16))) as (_, a, b), raw(address, "greedy") as greedy:
        for first in range(1, 4 * 600, 4):
            greedy.write(ports("b", (first, first + 2)))
        assert (await greedy.next(GOODBYE)).body == b"has more than 16 ports"
        # Who was to get them has no more than it may; the others have arrived closed.
        assert await b.is_served()
        await works(a, b)


async def test_a_message_that_is_too_long_ends_its_channel(address: str) -> None:
    async with two(address, Config(limits=Limits(message=2 * FRAGMENT))) as (_, a, b):
        a.write(ports("b", (5, 7)), close(5))
        assert (await b.next(POST)).body[:8] == table((4, 0))
        parts = [Packet(PORT_MESSAGE, MORE | (CONTINUES if part else 0), 7, body=bytes(FRAGMENT)) for part in range(3)]
        a.write(*parts)
        assert (await b.next(PORT_CLOSE)).peer == 4
        assert (await a.next(PORT_CLOSE)).peer == 7
        b.write(close(4))
        a.write(close(7))
        await works(a, b)


async def test_what_is_posted_beyond_all_credit_ends_its_channel(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with two(address, Config(limits=Limits(message=FRAGMENT))) as (bus, a, b):
        a.write(ports("b", (5, 7)))
        assert (await a.next(PORT_MOVED)).peer == 5
        # It does not say that it returns nothing, so the broker keeps what is posted.
        body = bytes(FRAGMENT)
        for _ in range(2 * 64 * 8 + 1):
            a.write(Packet(PORT_MESSAGE, peer=7, body=body))
            await a.writer.drain()
        assert (await a.next(PORT_CLOSE)).peer == 7
        assert (await b.next(PORT_CLOSE)).peer == 4
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        a.write(close(7), close(5))
        b.write(close(4))
        await works(a, b)
        assert bus.hub.ports.poster(bus.hub.renderers.names["a"].port_owner, 3) is not None


# What waits for room.


@pytest.mark.contract("7.2", "7.3")
@pytest.mark.parametrize("ending", ["closed", "moved"])
async def test_close_and_moved_stay_behind_what_waits_for_room(ending: str, address: str) -> None:
    async with two(address) as (bus, a, b):
        # Nobody reads there, and this is more than the connection takes.
        many = 64
        for number in range(many):
            a.write(Packet(PORT_MESSAGE, 0, 3, body=cbor2.dumps([number, bytes(FRAGMENT - 100)])))
        await a.writer.drain()
        peer = bus.hub.renderers.names["b"]
        assert await a.is_served()
        await until(lambda: peer.outbox.held)
        if ending == "closed":
            a.write(close(3))
        else:
            b.write(ports("a", (2, 0)))
        assert await a.is_served()
        heard = []
        while True:
            packet = await b.next(PORT_MESSAGE, PORT_CLOSE, PORT_MOVED)
            if packet.kind != PORT_MESSAGE:
                break
            heard.append(packet.said[0])
        assert heard == list(range(many))
        assert (packet.kind, packet.peer) == (PORT_CLOSE if ending == "closed" else PORT_MOVED, 2)


# Who is to blame.


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("how", ["then lives", "closes at once"])
async def test_who_alone_can_have_posted_a_bad_body_is_blamed(how: str, address: str) -> None:
    async with two(address) as (bus, a, b):
        a.write(Packet(PORT_MESSAGE, peer=3, body=BAD))
        if how == "closes at once":
            a.write(close(3))
            assert (await b.next(PORT_MESSAGE)).body == BAD
        b.write(close(2, BAD_MESSAGE))
        assert (await a.next(GOODBYE)).body == b"sent a body on channel 'a port' that does not decode"
        assert await b.is_served()
        assert bus.broker.web_contents.from_name("a") is None


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("other", ["main", "renderer"])
async def test_nobody_is_blamed_when_two_can_have_posted(other: str, address: str) -> None:
    async with two(address) as (bus, a, b), raw(address, "c") as c:
        a.write(message(3, "by a"))
        if other == "main":
            bus.ipc_main.on("keep", lambda event: event.ports[0].post_message("by main"))
            a.write(Packet(POST, channel=b"keep", value=1, body=table((3, 0)) + args()), close(3))
            assert [(await b.next(PORT_MESSAGE)).said for _ in range(2)] == ["by a", "by main"]
        else:
            a.write(ports("c", (3, 0)), close(3))
            assert (await c.next(POST)).body[:4] == table((2, 0))[:4]
            c.write(Packet(PORT_MESSAGE, peer=2, body=BAD))
            assert [(await b.next(PORT_MESSAGE)).body for _ in range(2)] == [cbor2.dumps("by a"), BAD]
        b.write(close(2, BAD_MESSAGE))
        assert await b.is_served()
        assert await a.is_served()
        assert await c.is_served()
