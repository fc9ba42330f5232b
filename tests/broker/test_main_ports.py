"""The main process as an owner of ports: what arrives there and leaves again, in parts too, and what it forgets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import cbor2
import pytest
from mainbus import MessageChannel, MessageTooLarge
from mainbus.ports import MessagePort
from mainbus_broker import Config, WebContents
from mainbus_broker.config import Limits

from tests.support.bus import Bus, Calls, until, within
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
LIMIT = 1_000_000


@asynccontextmanager
async def two(address: str) -> AsyncIterator[tuple[Bus, Raw, Raw, MessagePort, WebContents]]:
    """Two renderers; of the first's channel 3 is there, and the other end here; the second as it is seen here."""
    async with Bus(address, config=Config(limits=Limits(message=LIMIT))) as bus:
        async with raw(address, "a") as a, raw(address, "b") as b:
            taken = Calls()
            bus.ipc_main.on("take", taken)
            a.write(Packet(POST, channel=b"take", value=1, body=entries((1, 3)) + args()))
            (event,) = await taken.wait()
            assert (await a.next(PORT_MOVED)).peer == 1
            a.write(Packet(PORT_CLOSE, peer=1))
            contents = bus.broker.web_contents.from_name("b")
            assert contents is not None
            yield bus, a, b, event.ports[0], contents
        await until(lambda: not bus.hub.renderers)
        # Nobody has started it, and this test has it still.
        event.ports[0].close()
        await until(lambda: not bus.hub.main_ports.ports)
        assert len(bus.hub.main_ports) == 0


def entries(*given: tuple[int, int]) -> bytes:
    return b"".join(number.to_bytes(4) for entry in given for number in entry)


def heard(port: MessagePort) -> list[Any]:
    """Start a port; returns the list to which its messages and its close are added."""
    log: list[Any] = []
    port.on("message", lambda event: log.append(event.data))
    port.on("close", lambda: log.append("closed"))
    port.start()
    return log


def message(number: int, value: object, *ports: tuple[int, int]) -> Packet:
    return Packet(PORT_MESSAGE, peer=number, value=len(ports), body=entries(*ports) + cbor2.dumps(value))


async def said(renderer: Raw) -> tuple[int, object]:
    packet = await renderer.message(PORT_MESSAGE)
    return packet.peer, cbor2.loads(packet.body[8 * packet.value :])


@pytest.mark.contract("7.2", "7.3")
async def test_a_port_is_used_here_and_closed(address: str) -> None:
    async with two(address) as (_, a, _, port, _):
        log = heard(port)
        port.post_message("from main")
        a.write(message(3, "to main"))
        assert await said(a) == (3, "from main")
        await until(lambda: log)
        port.close()
        assert (await a.next(PORT_CLOSE)).peer == 3
        await until(lambda: len(log) == 2)
        assert log == ["to main", "closed"]


@pytest.mark.contract("7.2")
async def test_a_port_goes_on_with_what_had_come_and_what_was_posted(address: str) -> None:
    async with two(address) as (_, a, b, port, contents):
        a.write(message(3, "waits in main"))
        assert await a.is_served()
        port.post_message("from main")
        contents.post_message("c", None, [port])
        a.write(message(3, "later"))
        packet = await b.next(POST)
        assert packet.body[:8] == entries((2, OVERHEAD + len(cbor2.dumps("from main"))))
        assert [await said(b), await said(b)] == [(2, "waits in main"), (2, "later")]
        assert await said(a) == (3, "from main")
        b.write(message(2, "from its new owner"))
        assert await said(a) == (3, "from its new owner")


@pytest.mark.contract("7.2")
async def test_parts_are_put_together_with_the_ports_of_the_first(address: str) -> None:
    async with two(address) as (_, a, _, port, _):
        body = cbor2.dumps("whole")
        got = Calls()
        port.on("message", got)
        port.start()
        a.write(
            Packet(PORT_MESSAGE, MORE, 3, value=1, body=entries((5, 7)) + body[:1]),
            Packet(PORT_CLOSE, peer=5),
            message(7, "inside"),
            Packet(PORT_MESSAGE, MORE | CONTINUES, 3, body=body[1:2]),
        )
        assert await a.is_served()
        assert got.calls == []
        a.write(Packet(PORT_MESSAGE, CONTINUES, 3, body=body[2:]))
        (event,) = await got.wait()
        assert event.data == "whole"
        log = heard(event.ports[0])
        await until(lambda: log)
        assert log == ["inside"]


@pytest.mark.contract("7.2")
async def test_a_part_that_has_come_goes_on_with_its_port(address: str) -> None:
    async with two(address) as (_, a, b, port, contents):
        body = cbor2.dumps("whole")
        a.write(
            Packet(PORT_MESSAGE, MORE, 3, value=1, body=entries((5, 7)) + body[:1]),
            Packet(PORT_CLOSE, peer=5),
            message(7, "inside"),
            Packet(PORT_MESSAGE, MORE | CONTINUES, 3, body=body[1:2]),
        )
        assert await a.is_served()
        contents.post_message("c", None, [port])
        a.write(Packet(PORT_MESSAGE, CONTINUES, 3, body=body[2:]))
        assert (await b.next(POST)).body[:8] == entries((2, 0))
        whole = await b.message(PORT_MESSAGE)
        assert (whole.peer, whole.body) == (2, entries((4, 0)) + body)
        assert await said(b) == (4, "inside")


@pytest.mark.contract("7.3", "9.5")
@pytest.mark.parametrize("dies", [False, True])
async def test_a_message_that_never_ends_is_none_and_closes_what_it_carries(dies: bool, address: str) -> None:
    async with two(address) as (_, a, _, port, _):
        log = heard(port)
        part = Packet(PORT_MESSAGE, MORE, 3, value=1, body=entries((5, 7)) + b"x")
        a.write(message(3, "whole"), part, Packet(PORT_CLOSE, peer=5))
        if dies:
            await a.close()
        else:
            a.write(Packet(PORT_CLOSE, peer=3))
            assert (await a.next(PORT_CLOSE)).peer == 7
        await until(lambda: len(log) == 2)
        assert log == ["whole", "closed"]


@pytest.mark.contract("7.2")
async def test_what_was_posted_leaves_before_its_port_although_it_had_no_credit(address: str) -> None:
    async with two(address) as (_, a, _, port, contents):
        for number in range(100):
            port.post_message(number)
        contents.post_message("c", None, [port])
        assert [await said(a) for _ in range(100)] == [(3, number) for number in range(100)]


@pytest.mark.contract("9.2")
async def test_credit_for_what_was_taken_here_does_not_leave_with_the_port(address: str) -> None:
    async with two(address) as (_, a, _, port, contents):
        log = heard(port)
        a.write(*[message(3, None)] * 5)
        await until(lambda: len(log) == 5)
        contents.post_message("c", None, [port])
        credit = await a.next(PORT_CREDIT)
        assert (credit.peer, credit.value) == (3, 5 * (OVERHEAD + 1))


@pytest.mark.contract("7.2")
async def test_the_other_end_of_a_new_channel_can_be_posted_on_at_once(address: str) -> None:
    async with two(address) as (_, _, b, _, contents):
        channel = MessageChannel()
        contents.post_message("c", None, [channel.port2])
        channel.port1.post_message("right behind it")
        assert await said(b) == (2, "right behind it")
        b.write(Packet(PORT_CLOSE, peer=2))
        log = heard(channel.port1)
        await until(lambda: log)


@pytest.mark.contract("7.1", "9.2")
async def test_what_is_posted_waits_for_credit(address: str) -> None:
    async with two(address) as (_, a, _, port, _):
        for number in range(100):
            port.post_message(number)
        assert [await said(a) for _ in range(64)] == [(3, number) for number in range(64)]
        a.write(Packet(PORT_CREDIT, peer=3, value=2 * OVERHEAD))
        assert [await said(a) for _ in range(2)] == [(3, 64), (3, 65)]
        a.write(Packet(PORT_CREDIT, peer=3, value=200 * OVERHEAD))
        await within(port.drain())
        assert [await said(a) for _ in range(34)] == [(3, number) for number in range(66, 100)]


async def test_no_message_is_longer_than_the_limit(address: str) -> None:
    async with two(address) as (_, a, _, port, _):
        inner = MessageChannel()
        with pytest.raises(MessageTooLarge):
            port.post_message(bytes(LIMIT), [inner.port1])
        log = heard(inner.port2)
        inner.port1.post_message("has not left")
        await until(lambda: log)
        inner.port1.close()
        size = LIMIT - len(cbor2.dumps(bytes(LIMIT))) + LIMIT
        port.post_message(bytes(size))
        packet = await a.message(PORT_MESSAGE)
        assert len(packet.body) == LIMIT


@pytest.mark.contract("7.2")
async def test_both_ends_may_pass_through_the_main_process(address: str) -> None:
    async with two(address) as (_, _, b, port, contents):
        channel = MessageChannel()
        port.close()
        contents.post_message("c", None, [channel.port1, channel.port2])
        packet = await b.next(POST)
        assert packet.body[:16] == entries((2, 0), (4, 0))
        b.write(message(2, "round"))
        assert await said(b) == (4, "round")


@pytest.mark.contract("7.3")
async def test_a_broker_that_stops_closes_the_ports_of_its_main_process(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        channel = MessageChannel()
        log = heard(channel.port1)
        bus.contents(renderer).post_message("nobody listens yet", None, [channel.port2])
        renderer.on("nobody listens yet", lambda event: event.ports[0].start())
        await bus.broker.stop(drain=0)
        await until(lambda: log == ["closed"])
