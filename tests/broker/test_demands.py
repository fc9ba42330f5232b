"""Demands: credit that is given without reading what it is for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import cbor2
import pytest
from mainbus.wire.credit import OVERHEAD, WINDOW, cost
from mainbus_broker import Config, Limits
from mainbus_broker.peer import Peer

from tests.support.bus import Bus, until
from tests.support.raw import CANCEL, DEMAND, ERROR, GOODBYE, ITEM, PAUSE, RESULT, SEND, STREAM, Packet, Raw, args, raw

SMALL = Config(limits=Limits(high=256 * 1024, low=64 * 1024))
PIECE = cbor2.dumps(b"x" * 20_000)
BOUND = SMALL.limits.high + 2 * WINDOW
"""More than may ever wait for the one stream of a renderer: what was there, and twice what leaves on one credit."""


class Greedy:
    """A renderer that takes a stream, gives credit for all of it and reads nothing.

    Attributes:
        peer: The broker's end of it.
        made: Items that were made for it.
        ended: Whether their generator has ended.
    """

    def __init__(self, bus: Bus, client: Raw) -> None:
        self.bus = bus
        self.client = client
        self.peer: Peer = bus.hub.renderers.ids[client.id]
        self.made = 0
        self.ended = False
        self.used: Callable[[], int | None]

    @property
    def waiting(self) -> int:
        """Bytes that wait for it in the broker."""
        return self.peer.outbox.queued + self.peer.outbox.held

    @property
    def is_held(self) -> bool:
        """Whether credit that it has given waits."""
        return bool(len(self.bus.hub.demands))

    async def credit(self) -> None:
        """Give credit for everything, again and again, until it is not passed on any more."""
        for _ in range(1000):
            # What it may go on with, it does.
            await until(lambda: (self.used() or 0) >= WINDOW)
            assert self.waiting < BOUND
            self.client.write(Packet(DEMAND, request=1, value=self.used() or 0))
            await until(lambda: self.is_held or (self.used() or 0) < WINDOW)
            if self.is_held:
                return
        raise AssertionError("it may go on for ever")


@asynccontextmanager
async def greedy(address: str, direction: str) -> AsyncIterator[Greedy]:
    """Open a stream of pieces without an end to a renderer that does not read."""
    async with Bus(address, config=SMALL) as bus, raw(address) as client:
        made = Greedy(bus, client)

        async def items(event: Any) -> AsyncIterator[bytes]:
            try:
                while True:
                    made.made += 1
                    yield b"x" * 20_000
            finally:
                made.ended = True

        target = 0
        if direction == "main":
            bus.ipc_main.handle("items", items)
            made.used = lambda: bus.hub.main.used(made.peer, 1)
        else:
            producer = await bus.renderer()
            producer.handle("items", items, senders="any")
            target = producer.id

            def used() -> int | None:
                stream = bus.hub.replies.streams.get(made.peer, 1)
                return stream.used if stream is not None else None

            made.used = used
        client.write(Packet(STREAM, peer=target, request=1, channel=b"items", body=args()))
        await until(lambda: (made.used() or 0) >= WINDOW)
        yield made


directions = pytest.mark.parametrize("direction", ["main", "renderer"])


@pytest.mark.contract("6.1", "9.2")
@directions
async def test_credit_waits_until_what_is_there_was_read(address: str, direction: str) -> None:
    async with greedy(address, direction) as consumer:
        await consumer.credit()
        made, waiting = consumer.made, consumer.waiting
        assert waiting < BOUND
        for _ in range(3):
            await asyncio.sleep(0)
        assert (consumer.made, consumer.waiting) == (made, waiting)
        while consumer.made == made:
            assert (await consumer.client.next(ITEM)).body == PIECE
        assert not consumer.is_held


@pytest.mark.contract("6.1", "8.7")
@directions
async def test_credit_that_waits_counts(address: str, direction: str) -> None:
    async with Bus(address, config=SMALL) as bus, raw(address) as client, raw(address) as producer:

        async def items(event: Any) -> AsyncIterator[int]:
            yield 1
            await asyncio.Event().wait()

        bus.ipc_main.handle("items", items)
        target = 0 if direction == "main" else producer.id
        client.write(Packet(STREAM, peer=target, request=1, channel=b"items", body=args()))
        if target:
            await producer.next(STREAM)
            producer.write(Packet(ITEM, peer=client.id, request=1, body=b"\x01"))
        assert (await client.next(ITEM)).said == 1
        client.write(Packet(DEMAND, request=1, value=OVERHEAD), Packet(DEMAND, request=1, value=2))
        assert b"gave credit for items of request 1 that it never had" in (await client.next(GOODBYE)).body
        if target:
            assert (await producer.next(DEMAND)).value == OVERHEAD
            assert (await producer.next(CANCEL)).request == 1
            assert await producer.is_served()


@pytest.mark.contract("6.1", "8.7")
@directions
async def test_the_same_credit_twice_while_it_waits(address: str, direction: str) -> None:
    async with greedy(address, direction) as consumer:
        await consumer.credit()
        consumer.client.write(Packet(DEMAND, request=1, value=1))
        await until(lambda: consumer.peer.closing)
        assert not consumer.is_held
        await until(lambda: consumer.ended)


@pytest.mark.contract("6.2")
@directions
async def test_a_stream_that_ends_while_credit_waits_for_it(address: str, direction: str) -> None:
    async with greedy(address, direction) as consumer:
        await consumer.credit()
        consumer.client.write(Packet(CANCEL, request=1))
        assert (await consumer.client.next(ERROR)).request == 1
        assert await consumer.client.is_served()
        await until(lambda: not consumer.is_held)
        assert consumer.ended


@pytest.mark.contract("6.2", "9.5")
@directions
async def test_a_consumer_that_goes_while_credit_waits(address: str, direction: str) -> None:
    async with greedy(address, direction) as consumer:
        await consumer.credit()
        await consumer.client.close()
        await until(lambda: consumer.ended)
        assert not consumer.is_held


@pytest.mark.contract("6.1", "9.2")
async def test_items_go_on_to_who_has_paused_the_main_process(address: str) -> None:
    async with Bus(address, config=SMALL) as bus, raw(address) as client:

        async def items(event: Any) -> AsyncIterator[int]:
            for number in range(500):
                yield number

        bus.ipc_main.handle("items", items)
        contents = bus.hub.renderers.ids[client.id].contents
        client.write(Packet(PAUSE))
        assert await client.is_served()
        for _ in range(40):
            contents.send("x", b"x" * 20_000)
        client.write(Packet(STREAM, request=1, channel=b"items", body=args()))
        got = 0
        while (packet := await client.next(ITEM, RESULT, SEND)).kind == ITEM:
            assert packet.said == got
            got += 1
            client.write(Packet(DEMAND, request=1, value=cost(len(packet.body))))
        assert (packet.kind, got) == (RESULT, 500)
