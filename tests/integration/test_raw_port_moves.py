"""Ports as docs/reference/protocol.md has them, packet by packet, spoken by renderers that are no client of ours."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cbor2
import pytest

from tests.support.bus import Bus
from tests.support.raw import (
    CONTINUES,
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

OVERHEAD = 4096


def table(*entries: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">II", *entry) for entry in entries)


def entries(packet: Packet) -> list[tuple[int, int]]:
    """The table in front of a body."""
    return list(struct.iter_unpack(">II", packet.body[: 8 * packet.value]))


def message(number: int, value: object, *ports: tuple[int, int], flags: int = 0) -> Packet:
    return Packet(PORT_MESSAGE, flags, number, value=len(ports), body=table(*ports) + cbor2.dumps(value))


def ports(target: str, *given: tuple[int, int]) -> Packet:
    """A message with ports, which the main process hands on."""
    return Packet(POST, channel=b"hand-on", value=len(given), body=table(*given) + args(target))


async def arrived(renderer: Raw) -> list[tuple[int, int]]:
    return entries(await renderer.next(POST))


async def said(renderer: Raw) -> tuple[int, object]:
    """The next message on a port, whole: the port's number and the value."""
    packet = await renderer.message(PORT_MESSAGE)
    return packet.peer, cbor2.loads(packet.body[8 * packet.value :])


@asynccontextmanager
async def three(address: str) -> AsyncIterator[tuple[Raw, Raw, Raw]]:
    """Three renderers, and a main process that hands ports on to the one that is named."""
    async with Bus(address) as bus, raw(address, "a") as a, raw(address, "b") as b, raw(address, "c") as c:

        def hand_on(event: object, target: str) -> None:
            contents = bus.broker.web_contents.from_name(target)
            assert contents is not None
            contents.post_message("ports", None, event.ports)  # type: ignore[attr-defined]

        bus.ipc_main.on("hand-on", hand_on)
        yield a, b, c


@pytest.mark.contract("7.2")
async def test_a_port_gets_what_was_posted_before_it_arrived_and_after(address: str) -> None:
    async with three(address) as (a, b, _):
        # The partner has its number from the same packet on.
        a.write(ports("b", (1, 3)), message(3, "at once"))
        moved = await a.next(PORT_MOVED)
        assert (moved.peer, moved.value) == (1, 0)
        assert await arrived(b) == [(2, 0)]
        # The former owner has still to say that it returns nothing.
        a.write(message(1, "returned"), Packet(PORT_CLOSE, peer=1), message(3, "later"))
        assert [await said(b) for _ in range(3)] == [(2, "returned"), (2, "at once"), (2, "later")]


@pytest.mark.contract("7.2")
async def test_what_returns_comes_first_from_the_latest_owner(address: str) -> None:
    async with three(address) as (a, b, c):
        a.write(ports("b", (1, 3)))
        assert (await a.next(PORT_MOVED)).peer == 1
        assert await arrived(b) == [(2, 0)]
        b.write(ports("c", (2, 0)))
        assert (await b.next(PORT_MOVED)).peer == 2
        assert await arrived(c) == [(2, 0)]
        a.write(message(3, "posted last"), message(1, "returned by a"), Packet(PORT_CLOSE, peer=1))
        b.write(message(2, "returned by b"), Packet(PORT_CLOSE, peer=2))
        expected = ["returned by b", "returned by a", "posted last"]
        assert [await said(c) for _ in expected] == [(2, text) for text in expected]


@pytest.mark.contract("7.2")
async def test_a_part_of_a_message_is_returned_and_goes_on(address: str) -> None:
    async with three(address) as (a, b, c):
        a.write(ports("b", (1, 3)), Packet(PORT_CLOSE, peer=1))
        assert await arrived(b) == [(2, 0)]
        body = cbor2.dumps("x" * 1000)
        with_port = table((5, 7)) + body
        a.write(Packet(PORT_MESSAGE, MORE, 3, value=1, body=with_port[:500]), Packet(PORT_CLOSE, peer=5))
        part = await b.next(PORT_MESSAGE)
        assert (part.flags, part.value, entries(part)) == (MORE, 1, [(4, 0)])

        b.write(ports("c", (2, 0)))
        assert (await b.next(PORT_MOVED)).peer == 2
        assert await arrived(c) == [(2, 0)]
        b.write(part._replace(body=table((4, 0)) + part.body[8:]), Packet(PORT_CLOSE, peer=2))
        assert (await b.next(PORT_MOVED)).peer == 4
        b.write(Packet(PORT_CLOSE, peer=4))
        a.write(Packet(PORT_MESSAGE, CONTINUES, 3, body=with_port[500:]), message(7, "inside"))
        whole = await c.message(PORT_MESSAGE)
        assert (whole.peer, entries(whole), whole.body[8:]) == (2, [(4, 0)], body)
        assert await said(c) == (4, "inside")


@pytest.mark.contract("7.3")
async def test_the_other_end_is_told_behind_all_and_confirms(address: str) -> None:
    async with three(address) as (a, b, c):
        a.write(ports("b", (1, 3)), Packet(PORT_CLOSE, peer=1), message(3, "last"), Packet(PORT_CLOSE, peer=3))
        assert await arrived(b) == [(2, 0)]
        assert await said(b) == (2, "last")
        assert (await b.next(PORT_CLOSE)).peer == 2
        # Not confirmed, it can still leave, with what was not taken; what is posted on it goes nowhere.
        b.write(message(2, "to nobody"), ports("c", (2, 0)))
        assert (await b.next(PORT_MOVED)).peer == 2
        b.write(message(2, "last"), Packet(PORT_CLOSE, peer=2))
        assert await arrived(c) == [(2, 0)]
        assert await said(c) == (2, "last")
        assert (await c.next(PORT_CLOSE)).peer == 2
        c.write(Packet(PORT_CLOSE, peer=2))
        assert await c.is_served()


@pytest.mark.contract("7.3")
async def test_a_message_whose_sender_dies_is_ended_by_the_close(address: str) -> None:
    async with three(address) as (a, b, _):
        a.write(ports("b", (1, 3)), Packet(PORT_CLOSE, peer=1), Packet(PORT_MESSAGE, MORE, 3, body=b"x"))
        assert (await b.next(PORT_MESSAGE)).flags == MORE
        await a.close()
        assert (await b.next(PORT_CLOSE)).peer == 2


async def test_the_credit_moves_with_the_port(address: str) -> None:
    async with three(address) as (a, b, c):
        a.write(ports("b", (1, 3)), Packet(PORT_CLOSE, peer=1), message(3, "x" * 95), message(3, None))
        assert await arrived(b) == [(2, 0)]
        assert [await said(b) for _ in range(2)] == [(2, "x" * 95), (2, None)]
        # The other port leaves: its next owner learns what is used, and may get credit for it.
        a.write(ports("c", (3, 0)), Packet(PORT_CLOSE, peer=3))
        assert await arrived(c) == [(2, 2 * OVERHEAD + 97 + 1)]
        b.write(Packet(PORT_CREDIT, peer=2, value=OVERHEAD + 97))
        credit = await c.next(PORT_CREDIT)
        assert (credit.peer, credit.value) == (2, OVERHEAD + 97)


async def test_a_number_that_is_closed_travels_as_a_closed_port(address: str) -> None:
    async with three(address) as (a, b, _):
        a.write(ports("b", (0, 0)))
        [(number, _used)] = await arrived(b)
        assert number == 0 or (await b.next(PORT_CLOSE)).peer == number
