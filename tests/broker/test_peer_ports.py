"""A renderer as an owner of ports: what the broker writes to it, packet by packet, and in which order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cbor2
from mainbus import MessageChannel
from mainbus_broker import Config, WebContents
from mainbus_broker.config import Limits

from tests.support.bus import Bus, until
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

FRAGMENT = 132 * 1024
OVERHEAD = 4096


@asynccontextmanager
async def one(address: str, config: Config | None = None) -> AsyncIterator[tuple[Bus, Raw, WebContents]]:
    """A renderer, and how the main process sees it."""
    async with Bus(address, config=config) as bus, raw(address, "r") as r:
        contents = bus.broker.web_contents.from_name("r")
        assert contents is not None
        yield bus, r, contents


def table(packet: Packet) -> list[tuple[int, int]]:
    """The entries in front of a body."""
    numbers = [int.from_bytes(packet.body[start : start + 4]) for start in range(0, 8 * packet.value, 4)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def value(packet: Packet) -> object:
    found: object = cbor2.loads(packet.body[8 * packet.value :])
    return found


async def test_numbers_are_even_and_never_used_again(address: str) -> None:
    async with one(address) as (_, r, contents):
        channels = [MessageChannel() for _ in range(3)]
        contents.post_message("c", None, [each.port2 for each in channels[:2]])
        packet = await r.next(POST)
        assert (packet.value, table(packet)) == (2, [(2, 0), (4, 0)])
        r.write(Packet(PORT_CLOSE, peer=2), Packet(PORT_CLOSE, peer=4))
        assert await r.is_served()
        contents.post_message("c", None, [channels[2].port2])
        assert table(await r.next(POST)) == [(6, 0)]


async def test_a_port_is_not_written_to_before_it_has_arrived(address: str) -> None:
    async with one(address) as (_, r, contents):
        channel, inner = MessageChannel(), MessageChannel()
        channel.port1.post_message("before")
        contents.post_message("c", "x" * 2 * FRAGMENT, [channel.port2])
        channel.port1.post_message("with a port", [inner.port2])
        inner.port1.post_message("inside")
        packets = [await r.next(POST, PORT_MESSAGE) for _ in range(6)]
        assert [(each.kind, each.flags) for each in packets[:3]] == [
            (POST, MORE),
            (POST, MORE | CONTINUES),
            (POST, CONTINUES),
        ]
        assert [each.value for each in packets[:3]] == [1, 0, 0]
        assert [(each.kind, each.peer, value(each)) for each in packets[3:]] == [
            (PORT_MESSAGE, 2, "before"),
            (PORT_MESSAGE, 2, "with a port"),
            (PORT_MESSAGE, 4, "inside"),
        ]
        assert table(packets[4]) == [(4, 0)]
        channel.port1.close()
        inner.port1.close()


async def test_only_the_first_part_of_a_large_message_has_the_table_and_the_close_is_behind(address: str) -> None:
    async with one(address) as (_, r, contents):
        channel, inner = MessageChannel(), MessageChannel()
        contents.post_message("c", None, [channel.port2])
        channel.port1.post_message("y" * 2 * FRAGMENT, [inner.port2])
        inner.port1.post_message("inside")
        channel.port1.close()
        await r.next(POST)
        parts = [await r.next(PORT_MESSAGE, PORT_CLOSE) for _ in range(5)]
        assert [each.kind for each in parts] == [PORT_MESSAGE] * 4 + [PORT_CLOSE]
        assert [(each.peer, each.flags, each.value) for each in parts[:3]] == [
            (2, MORE, 1),
            (2, MORE | CONTINUES, 0),
            (2, CONTINUES, 0),
        ]
        assert cbor2.loads(b"".join(each.body for each in parts[:3])[8:]) == "y" * 2 * FRAGMENT
        assert (parts[3].peer, value(parts[3]), parts[4].peer) == (4, "inside", 2)
        inner.port1.close()


async def test_a_part_is_passed_on_as_it_came_and_its_ports_open_behind_the_last(address: str) -> None:
    async with one(address) as (bus, r, contents), raw(address, "s") as s:
        bus.ipc_main.on("hand-on", lambda event: contents.post_message("c", None, event.ports))
        s.write(Packet(POST, channel=b"hand-on", value=1, body=bytes([0, 0, 0, 1, 0, 0, 0, 3]) + args()))
        assert table(await r.next(POST)) == [(2, 0)]
        s.write(Packet(PORT_CLOSE, peer=1))
        full = bytes([0, 0, 0, 5, 0, 0, 0, 7]) + bytes(FRAGMENT - 8)
        inside = Packet(PORT_MESSAGE, peer=7, body=b"inside")
        s.write(Packet(PORT_MESSAGE, MORE, 3, value=1, body=full), Packet(PORT_CLOSE, peer=5), inside)
        part = await r.next(PORT_MESSAGE)
        assert (part.peer, part.flags, table(part), part.body[8:]) == (2, MORE, [(4, 0)], full[8:])
        s.write(Packet(PORT_MESSAGE, CONTINUES, 3, body=b"rest"))
        rest = [await r.next(PORT_MESSAGE) for _ in range(2)]
        assert [(each.peer, each.flags, each.body) for each in rest] == [(2, CONTINUES, b"rest"), (4, 0, b"inside")]


async def test_that_an_end_has_left_is_said_behind_all_that_goes_to_it(address: str) -> None:
    async with one(address) as (bus, r, contents):
        taken = bus.ipc_main.on("take", lambda event: event.ports[0].close())
        channel = MessageChannel()
        contents.post_message("c", None, [channel.port2])
        await r.next(POST)
        # Too much for the connection's buffers, so that some of it waits here.
        channel.port1.post_message(bytes(20 * FRAGMENT))
        r.write(Packet(POST, channel=b"take", value=1, body=bytes([0, 0, 0, 2, 0, 0, 0, 0]) + args()))
        kinds = []
        while (packet := await r.next(PORT_MESSAGE, PORT_MOVED)).kind == PORT_MESSAGE:
            kinds.append(packet.flags)
        assert kinds == [MORE, *[MORE | CONTINUES] * (len(kinds) - 2), CONTINUES]
        assert len(kinds) > 20
        assert (packet.peer, packet.value) == (2, 0)
        r.write(Packet(PORT_CLOSE, peer=2))
        assert await r.is_served()
        taken.cancel()


async def test_what_is_taken_is_credited(address: str) -> None:
    async with one(address) as (_, r, contents):
        channel = MessageChannel()
        contents.post_message("c", None, [channel.port2])
        await r.next(POST)
        channel.port1.start()
        r.write(*[Packet(PORT_MESSAGE, peer=2, body=cbor2.dumps(None))] * 31)
        assert await r.is_served()
        r.write(Packet(PORT_MESSAGE, peer=2, body=cbor2.dumps(None)))
        credit = await r.next(PORT_CREDIT)
        assert (credit.peer, credit.value) == (2, 32 * (OVERHEAD + 1))
        channel.port1.close()


async def test_one_with_as_many_as_it_may_have_gets_closed_ones(address: str) -> None:
    async with one(address, Config(limits=Limits(ports=2))) as (_, r, contents):
        channels = [MessageChannel() for _ in range(3)]
        closed: list[int] = []
        for number, each in enumerate(channels):
            each.port1.on("close", lambda number=number: closed.append(number))
            each.port1.start()
        contents.post_message("c", None, [each.port2 for each in channels])
        assert table(await r.next(POST)) == [(2, 0), (4, 0), (0, 0)]
        await until(lambda: closed)
        assert closed == [2]
        r.write(Packet(PORT_CLOSE, peer=2), Packet(PORT_CLOSE, peer=4))
        await until(lambda: len(closed) == 3)
