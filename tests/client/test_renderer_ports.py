"""The ports of a renderer's connection, as packets: what stands in front of what, and what is sent after a port."""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from mainbus import MessageChannel, MessageTooLarge
from mainbus.outbox import Outbox
from mainbus.ports import MessagePort
from mainbus.renderer_ports import RendererPorts
from mainbus.wire import clone, packets, port_table
from mainbus.wire.connection import Connection
from mainbus.wire.credit import WINDOW
from mainbus.wire.packets import CONTINUES, HEADER, HEADER_SIZE, MORE, Kind, Message, build
from mainbus.wire.pieces import Packet
from mainbus.wire.port_table import pack
from mainbus.wire.states import Role

from tests.support.bus import Bus, Calls, until, within
from tests.support.cores import opened, take
from tests.support.leaving import leaving
from tests.support.port_records import heard

LIMIT = 1 << 20


class Sent(NamedTuple):
    """A packet that has left, in short."""

    kind: Kind
    number: int
    flags: int = 0
    value: int = 0
    body: bytes = b""


class Way:
    """The ports of a connection to a broker that is not there."""

    def __init__(self) -> None:
        self.wire: Connection | None = opened(Role.RENDERER, limit=LIMIT)
        self.outbox = Outbox(asyncio.get_running_loop(), 100)
        self.ports = RendererPorts(self.outbox, lambda: self.wire)
        self.ports.max_message = LIMIT

    def sent(self) -> list[Sent]:
        """Return what has left since the last time, with what only waits for its turn."""
        found = [*self.outbox.take()]
        for route in list(self.ports._routes()):
            found += leaving(route)
            found += self.outbox.take()
        return [_short(packet) for packet in found]

    def hear(self, *given: bytes) -> None:
        """Take packets of the broker in."""
        assert self.wire is not None
        handlers = self.ports.handlers()
        for message in take(self.wire, given):
            if isinstance(message, tuple):
                handlers[message[0]](message)

    def arrive(self, *entries: tuple[int, int]) -> list[MessagePort]:
        """Let ports come with a message."""
        message: Message = (Kind.POST, 0, 0, 0, 0, len(entries), b"", "c", pack(entries) + b"body")
        rest, ports = self.ports.arrive_with(message)
        assert rest == (*message[:8], b"body")
        return ports

    def leaving(self, *ports: MessagePort) -> Iterator[Packet]:
        """Let ports leave with a message to the main process, once it does."""

        def make(table: bytes) -> bytes | Iterator[Packet]:
            return packets.message(Kind.POST, 0, 0, table + b"body", channel=b"c", value=len(ports))

        return self.ports.departing([port.release() for port in ports], make)


def _short(packet: Packet) -> Sent:
    packet = bytes(packet)
    _, kind, flags, name, channel, number, _, _, value = HEADER.unpack_from(packet)
    return Sent(Kind(kind), number, flags, value, packet[HEADER_SIZE + name + channel :])


def message(number: int, value: object, *entries: tuple[int, int], flags: int = 0) -> bytes:
    body = pack(entries) + clone.encode(value)
    return build(Kind.PORT_MESSAGE, number, body=body, value=len(entries), flags=flags)


def posted(number: int, value: object) -> Sent:
    return Sent(Kind.PORT_MESSAGE, number, body=clone.encode(value))


# What leaves.


async def test_messages_credit_and_close_are_packets_with_the_ports_number() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    port.post_message("hello")
    way.ports.put_credit(2, 77)
    port.close()
    assert way.sent() == [posted(2, "hello"), Sent(Kind.PORT_CREDIT, 2, value=77), Sent(Kind.PORT_CLOSE, 2)]
    assert len(way.ports) == 0


async def test_a_large_message_leaves_in_parts_and_the_close_behind_them() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    text = "x" * 300_000
    port.post_message(text)
    port.close()
    first, second, third, close = way.sent()
    assert [first.flags, second.flags, third.flags] == [MORE, MORE | CONTINUES, CONTINUES]
    assert clone.decode(first.body + second.body + third.body) == text
    assert close == Sent(Kind.PORT_CLOSE, 2)
    # What was still to leave on closed ports is not kept for ever.
    (other,) = way.arrive((4, 0))
    other.post_message(text)
    other.close()
    assert len(way.sent()) == 4
    assert len(list(way.ports._routes())) == 1


async def test_a_message_is_no_longer_than_the_broker_takes() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    with pytest.raises(MessageTooLarge):
        port.post_message(bytes(LIMIT))
    assert way.sent() == []
    port.close()


async def test_a_port_leaves_when_its_message_does_and_its_other_end_opens_behind_it() -> None:
    way, channel = Way(), MessageChannel()
    leaving = way.leaving(channel.port2)
    assert len(way.ports) == 0
    channel.port1.post_message("to one that has not left")
    first = next(leaving)
    assert _short(first) == Sent(Kind.POST, 0, value=1, body=pack([(1, 3)]) + b"body")
    assert (len(way.ports), way.sent()) == (2, [])
    channel.port1.post_message("held")
    assert way.sent() == []
    assert list(leaving) == []
    # What it had is posted by the other end, in front: coming back later, it could be lost when that is not.
    assert way.sent() == [posted(3, "to one that has not left"), posted(3, "held")]
    way.hear(build(Kind.PORT_MOVED, 1))
    assert way.sent() == [Sent(Kind.PORT_CLOSE, 1)]
    channel.port1.close()
    assert (way.sent(), len(way.ports)) == ([Sent(Kind.PORT_CLOSE, 3)], 0)


async def test_what_was_posted_on_a_port_and_its_credit_leave_in_front_of_it() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    log = heard(port)
    way.hear(message(2, "taken"))
    await until(lambda: log)
    for number in range(100):
        port.post_message(number)
    inner = MessageChannel()
    port.post_message("with a port", [inner.port1])
    await asyncio.sleep(0)
    sent = way.outbox.take()
    left = [_short(packet) for packet in [*sent, *way.leaving(port)]]
    assert left[:100] == [posted(2, number) for number in range(100)]
    assert left[100] == Sent(Kind.PORT_MESSAGE, 2, 0, 1, pack([(1, 3)]) + clone.encode("with a port"))
    assert left[101].kind == Kind.PORT_CREDIT
    assert left[101].value == 4096 + len(clone.encode("taken"))
    assert left[102] == Sent(Kind.POST, 0, value=1, body=pack([(2, 0)]) + b"body")
    assert len(left) == 103
    inner.port2.close()


async def test_what_waits_for_room_leaves_in_front_of_its_port_too() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    text = "x" * 200_000
    port.post_message(text)
    assert way.outbox.held > len(text)
    first, second, last = (_short(packet) for packet in way.leaving(port))
    assert clone.decode(first.body + second.body) == text
    assert last == Sent(Kind.POST, 0, value=1, body=pack([(2, 0)]) + b"body")
    assert way.outbox.held == 0


async def test_credit_that_comes_while_a_port_leaves_lets_nothing_overtake() -> None:
    way = Way()
    (port,) = way.arrive((2, WINDOW - 1))
    # The first fills the window, and leaves in parts; what is behind it is held.
    port.post_message(bytes(300_000))
    port.post_message("held")
    leaving = way.leaving(port)
    parts = [next(leaving)]
    way.hear(build(Kind.PORT_CREDIT, 2, value=2 * WINDOW))
    assert way.outbox.take() == []
    left = [_short(packet) for packet in [*parts, *leaving]]
    assert [(each.kind, each.flags) for each in left[:-2]] == [
        (Kind.PORT_MESSAGE, MORE),
        (Kind.PORT_MESSAGE, MORE | CONTINUES),
        (Kind.PORT_MESSAGE, CONTINUES),
    ]
    assert left[-2:] == [posted(2, "held"), Sent(Kind.POST, 0, value=1, body=pack([(2, 0)]) + b"body")]


async def test_a_new_port_has_its_numbers_behind_all_that_leaves_in_front_of_it() -> None:
    way = Way()
    (carrier,) = way.arrive((2, WINDOW))
    fresh = MessageChannel()
    carrier.post_message("carries the partner", [fresh.port2])
    left = [_short(packet) for packet in way.leaving(fresh.port1, carrier)]
    assert [each.body[: 8 * each.value] for each in left] == [pack([(1, 3)]), pack([(3, 0), (2, 0)])]


async def test_a_port_travels_on_a_port_with_the_table_in_front_of_the_message() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    channel = MessageChannel()
    channel.port1.post_message("was there")
    port.post_message("m", [channel.port2])
    assert len(way.ports) == 1
    assert way.sent() == [
        Sent(Kind.PORT_MESSAGE, 2, 0, 1, pack([(1, 3)]) + clone.encode("m")),
        posted(3, "was there"),
    ]
    assert len(way.ports) == 3
    port.close()
    channel.port1.close()
    way.hear(build(Kind.PORT_MOVED, 1))
    assert way.sent() == [Sent(Kind.PORT_CLOSE, 2), Sent(Kind.PORT_CLOSE, 3), Sent(Kind.PORT_CLOSE, 1)]
    assert len(way.ports) == 0


@pytest.mark.contract("7.1")
async def test_drain_waits_until_what_was_posted_has_left(address: str) -> None:
    async with Bus(address) as bus:
        renderer, channel = await bus.renderer(), MessageChannel()
        got = Calls()
        bus.ipc_main.on("port", got)
        renderer.post_message("port", None, [channel.port2])
        await got.wait()
        # The answer to the question for what had come to that port has left, too.
        await bus.served(renderer)
        await renderer.drain()
        session = renderer._session
        assert session is not None
        for text in ("small", "x" * 150_000):
            channel.port1.post_message(text)
            assert not session.outbox.idle
            await within(channel.port1.drain())
            assert session.outbox.idle
        channel.port1.close()


@pytest.mark.contract("7.1")
async def test_drain_ends_with_the_connection() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    port.post_message("never leaves")
    draining = [asyncio.ensure_future(port.drain()) for _ in range(2)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(each.done() for each in draining)
    draining[0].cancel()
    way.wire = None
    way.ports.close_all()
    await within(draining[1])
    await within(port.drain())


# What arrives.


async def test_what_comes_for_a_port_is_taken_and_credited_and_its_close_confirmed() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    log = heard(port)
    way.hear(*[message(2, number) for number in range(32)], build(Kind.PORT_CLOSE, 2))
    await until(lambda: len(log) == 33)
    assert log == [*range(32), "closed"]
    sizes = sum(4096 + len(clone.encode(number)) for number in range(32))
    assert way.sent() == [Sent(Kind.PORT_CREDIT, 2, value=sizes), Sent(Kind.PORT_CLOSE, 2)]


async def test_credit_lets_the_next_messages_leave() -> None:
    way = Way()
    (port,) = way.arrive((2, 256 * 1024))
    port.post_message("waits")
    assert way.sent() == []
    way.hear(build(Kind.PORT_CREDIT, 2, value=1))
    assert way.sent() == [posted(2, "waits")]
    port.close()


async def test_a_port_comes_on_a_port() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    way.hear(message(2, "m", (4, 0)), message(4, "inside"))
    async for event in port:
        assert event.data == "m"
        log = heard(event.ports[0])
        break
    await until(lambda: log)
    assert log == ["inside"]
    port.close()
    way.hear(build(Kind.PORT_CLOSE, 4))
    await until(lambda: not len(way.ports))


@pytest.mark.contract("8.7")
async def test_a_table_that_is_cut_short_ends_the_connection() -> None:
    way = Way()
    way.arrive((2, 0))
    way.hear(build(Kind.PORT_MESSAGE, 2, body=bytes(15), value=2))
    assert way.wire is not None
    assert str(way.wire.failure) == "a message that is too short for its 2 ports"
    # Without a connection there is nothing to end.
    way.wire = None
    rest, ports = way.ports.arrive_with((Kind.POST, 0, 0, 0, 0, 1, b"", "c", b"short"))
    assert (rest[8], ports) == (b"", [])


async def test_parts_of_a_message_go_after_a_port_that_has_left() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    way.hear(message(2, "whole"))
    body = clone.encode("in parts")
    way.hear(
        build(Kind.PORT_MESSAGE, 2, body=pack([(4, 9)]) + body[:3], value=1, flags=MORE),
        build(Kind.PORT_MESSAGE, 2, body=body[3:5], flags=MORE | CONTINUES),
    )
    assert len(list(way.leaving(port))) == 1
    way.hear(build(Kind.PORT_MOVED, 2))
    assert way.sent() == [
        posted(2, "whole"),
        # Tiny ones as one.
        Sent(Kind.PORT_MESSAGE, 2, MORE, 1, pack([(4, 0)]) + body[:5]),
        Sent(Kind.PORT_CLOSE, 2),
    ]
    # The port of that message has gone with it, and is asked for, too.
    way.hear(build(Kind.PORT_MOVED, 4))
    assert way.sent() == [Sent(Kind.PORT_CLOSE, 4)]
    assert len(way.ports) == 0


async def test_a_close_ends_the_message_before_it() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    log = heard(port)
    way.hear(build(Kind.PORT_MESSAGE, 2, body=b"x", flags=MORE), build(Kind.PORT_CLOSE, 2))
    await until(lambda: log)
    assert log == ["closed"]
    assert way.wire is not None
    assert way.wire.take_unfinished(2) is None


# Connections that go.


async def closes(*ends: MessagePort) -> list[list[object]]:
    """Start ports; returns what they hear."""
    logs = [heard(end) for end in ends]
    await until(lambda: all(logs))
    return logs


@pytest.mark.contract("7.3", "9.6")
async def test_without_its_connection_a_port_is_closed_and_one_that_waits_to_leave_by_the_next_is_not() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    inner, waiting = MessageChannel(), MessageChannel()
    port.post_message("goes nowhere", [inner.port1])
    later = way.leaving(waiting.port1)
    assert way.outbox.held > 0
    way.ports.close_all()
    assert way.outbox.held == 0
    assert await closes(port, inner.port2) == [["closed"], ["closed"]]
    assert (way.sent(), len(way.ports)) == ([], 0)
    # By the next connection.
    assert [_short(packet) for packet in later] == [Sent(Kind.POST, 0, value=1, body=pack([(1, 3)]) + b"body")]
    waiting.port2.close()
    assert way.sent() == [Sent(Kind.PORT_CLOSE, 3)]


@pytest.mark.contract("7.3")
async def test_with_no_connection_to_come_what_waits_to_leave_is_closed() -> None:
    way, waiting = Way(), MessageChannel()
    later = way.leaving(waiting.port1)
    way.ports.close_all()
    way.ports.end()
    way.ports.end()
    assert await closes(waiting.port2) == [["closed"]]
    del later


@pytest.mark.contract("7.3")
async def test_ports_behind_one_that_was_leaving_when_the_connection_went_are_closed() -> None:
    way = Way()
    (port,) = way.arrive((2, 0))
    port.post_message("in front")
    held = [MessageChannel() for _ in range(2)]
    way.outbox.take()
    for _ in range(70):
        port.post_message("waits for credit")
    way.outbox.take()
    leaving = way.leaving(port, *(each.port1 for each in held))
    # It says what was posted first, and gets no further.
    next(leaving)
    leaving.close()  # type: ignore[attr-defined]
    assert await closes(*(each.port2 for each in held)) == [["closed"]] * 2


async def test_in_a_message_that_waits_for_another_connection_ports_are_closed_ones() -> None:
    way, channel = Way(), MessageChannel()
    (packet,) = way.leaving(channel.port1)
    assert _short(port_table.without_ports(bytes(packet))).body == pack([port_table.CLOSED]) + b"body"
    channel.port2.close()


def test_every_kind_of_packet_for_ports_has_a_handler() -> None:
    async def kinds() -> set[int]:
        return set(Way().ports.handlers())

    assert asyncio.run(kinds()) == {Kind.PORT_MESSAGE, Kind.PORT_CREDIT, Kind.PORT_CLOSE, Kind.PORT_MOVED}
