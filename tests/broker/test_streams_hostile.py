"""Streams on a raw wire, where nobody plays by the rules: what it costs, and whom."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import cbor2
import pytest
from mainbus import ReplyNeverSent
from mainbus.wire.credit import OVERHEAD, WINDOW
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, until
from tests.support.raw import (
    CANCEL,
    CONTINUES,
    DEMAND,
    ERROR,
    GOODBYE,
    ITEM,
    MORE,
    RESULT,
    SEND,
    STREAM,
    Packet,
    Raw,
    args,
    fragments,
    raw,
)
from tests.support.streams import collect

LEAD = WINDOW // OVERHEAD
MOST = 0xFFFF_FFFF
LARGE = cbor2.dumps(b"x" * 300_000)


async def opened(consumer: Raw, producer: Raw, request: int = 1) -> None:
    """Open a stream between two renderers."""
    consumer.write(Packet(STREAM, peer=producer.id, request=request, channel=b"items", body=args()))
    await producer.next(STREAM)


class Counter:
    """A handler that streams for ever, and counts what it has made."""

    def __init__(self) -> None:
        self.made = 0
        self.open = 0

    async def __call__(self, event: Any) -> AsyncIterator[int]:
        self.open += 1
        try:
            while True:
                self.made += 1
                yield self.made
        finally:
            self.open -= 1


# Somebody else's stream.


@pytest.mark.contract("6.1", "6.2", "8.7")
async def test_nobody_gives_credit_to_another_ones_stream_or_cancels_it(address: str) -> None:
    async with (
        Bus(address) as bus,
        raw(address) as consumer,
        raw(address) as producer,
        raw(address) as stranger,
    ):
        counter = Counter()
        bus.ipc_main.handle("items", counter)
        await opened(consumer, producer)
        consumer.write(Packet(STREAM, request=2, channel=b"items", body=args()))
        await until(lambda: counter.made == LEAD)
        for request in (1, 2):
            for peer in (0, consumer.id, producer.id):
                stranger.write(
                    Packet(DEMAND, peer=peer, request=request, value=WINDOW),
                    Packet(CANCEL, peer=peer, request=request),
                    Packet(DEMAND, peer=peer, request=request, value=MOST),
                )
        assert await stranger.is_served()
        assert await producer.is_served()
        assert (counter.made, counter.open) == (LEAD, 1)
        stream = bus.hub.replies.streams.get(bus.hub.renderers.ids[consumer.id], 1)
        assert stream is not None
        assert stream.used == 0


@pytest.mark.contract("6.1", "8.7")
@pytest.mark.parametrize("kind", [ITEM, RESULT, ERROR])
async def test_nobody_answers_another_ones_stream(address: str, kind: int) -> None:
    async with Bus(address), raw(address) as consumer, raw(address) as producer, raw(address) as stranger:
        await opened(consumer, producer)
        stranger.write(
            Packet(kind, peer=consumer.id, request=1, body=b"\x01"),
            *fragments(Packet(kind, peer=consumer.id, request=1, body=LARGE)),
        )
        assert await stranger.is_served()
        producer.write(Packet(ITEM, peer=consumer.id, request=1, body=b"\x07"))
        item = await consumer.next(ITEM, RESULT, ERROR)
        assert (item.kind, item.peer, item.said) == (ITEM, producer.id, 7)


@pytest.mark.contract("6.1")
async def test_who_takes_a_stream_cannot_answer_it(address: str) -> None:
    async with Bus(address), raw(address) as consumer, raw(address) as producer:
        await opened(consumer, producer)
        consumer.write(
            Packet(ITEM, peer=consumer.id, request=1, body=b"\x01"),
            Packet(RESULT, peer=producer.id, request=1, body=b"\x01"),
        )
        assert await consumer.is_served()
        # And who answers it cannot give the credit.
        producer.write(Packet(DEMAND, peer=consumer.id, request=1, value=MOST))
        assert await producer.is_served()


# Items that belong nowhere.


@pytest.mark.contract("6.1")
async def test_items_without_a_request_reach_nobody(address: str) -> None:
    async with Bus(address) as bus, raw(address) as consumer, raw(address) as producer:
        for target in (0, consumer.id, producer.id, 99):
            producer.write(
                Packet(ITEM, peer=target, request=1, body=b"\x01"),
                Packet(ITEM, peer=target, request=0, body=b"not cbor \xff"),
                *fragments(Packet(ITEM, peer=target, request=MOST, body=LARGE)),
            )
        assert await producer.is_served()
        assert await consumer.is_served()
        # Also where the main process has asked for something else.
        contents = bus.hub.renderers.ids[producer.id].contents
        reply = contents.invoke("x")
        producer.write(Packet(ITEM, request=1, body=b"\x01"), Packet(RESULT, request=1, body=b"\x02"))
        assert await reply == 2


@pytest.mark.contract("6.1", "6.3")
@pytest.mark.parametrize("kind", [RESULT, ERROR])
async def test_items_behind_the_end_reach_nobody(address: str, kind: int) -> None:
    async with Bus(address) as bus, raw(address) as consumer, raw(address) as producer:
        await opened(consumer, producer)
        end = Packet(kind, peer=consumer.id, request=1, value=3, body=b"\xf6")
        late = Packet(ITEM, peer=consumer.id, request=1, body=b"\x01")
        producer.write(end, late, end, *fragments(late._replace(body=LARGE)), late)
        assert await producer.is_served()
        assert (await consumer.next(ITEM, RESULT, ERROR)).kind == kind
        consumer.write(Packet(DEMAND, request=1, value=1))
        assert await consumer.is_served()
        contents = bus.hub.renderers.ids[producer.id].contents
        stream = contents.stream("items")
        request = (await producer.next(STREAM)).request
        item = Packet(ITEM, request=request, body=b"\x01")
        producer.write(item, Packet(RESULT, request=request), item, *fragments(item._replace(body=LARGE)))
        assert [value async for value in stream] == [1]


@pytest.mark.contract("6.1", "8.7")
async def test_an_answer_inside_of_an_item_is_the_fault_of_its_sender(address: str) -> None:
    async with Bus(address), raw(address) as consumer, raw(address) as producer:
        await opened(consumer, producer)
        first, *_ = fragments(Packet(ITEM, peer=consumer.id, request=1, body=LARGE))
        producer.write(first, Packet(RESULT, peer=consumer.id, request=1, body=b"\xf6"))
        await producer.next(GOODBYE)
        assert (await consumer.next(ERROR)).value == 3
        assert await consumer.is_served()


@pytest.mark.contract("8.7")
async def test_an_item_that_does_not_decode_ends_its_sender_and_the_stream(address: str) -> None:
    async with Bus(address) as bus, raw(address) as producer:
        contents = bus.hub.renderers.ids[producer.id].contents
        stream = contents.stream("items")
        request = (await producer.next(STREAM)).request
        producer.write(Packet(ITEM, request=request, body=b"\xff\xff"))
        assert (await producer.next(CANCEL)).request == request
        assert b"does not decode" in (await producer.next(GOODBYE)).body
        with pytest.raises(Exception, match=r"^an item of 'items' does not decode"):
            await anext(stream)


# Credit.


@pytest.mark.contract("6.1")
async def test_who_never_gives_credit_gets_one_window(address: str) -> None:
    async with Bus(address) as bus, raw(address) as consumer:
        counter = Counter()
        bus.ipc_main.handle("items", counter)
        for request in range(1, 11):
            consumer.write(Packet(STREAM, request=request, channel=b"items", body=args()))
        # Items cost one byte more than their overhead: the window is full with the last of them.
        await until(lambda: counter.made == 10 * LEAD)
        consumer.write(Packet(DEMAND, request=1), Packet(DEMAND, request=11, value=WINDOW))
        for _ in range(10 * LEAD):
            await consumer.next(ITEM)
        assert await consumer.is_served()
        assert (counter.made, counter.open) == (10 * LEAD, 10)
    await until(lambda: not counter.open)


@pytest.mark.contract("6.1", "8.7")
@pytest.mark.parametrize("value", [MOST, MOST - 1, WINDOW * 2])
async def test_credit_without_end_is_the_fault_of_its_giver(address: str, value: int) -> None:
    async with Bus(address) as bus, raw(address) as consumer:
        counter = Counter()
        bus.ipc_main.handle("items", counter)
        consumer.write(Packet(STREAM, request=1, channel=b"items", body=args()))
        await until(lambda: counter.made == LEAD)
        consumer.write(Packet(DEMAND, request=1, value=value))
        assert b"gave credit for items of request 1 that it never had" in (await consumer.next(GOODBYE)).body
        await until(lambda: not counter.open)
        assert counter.made == LEAD


@pytest.mark.contract("6.1", "8.7", "9.3")
async def test_items_that_wait_for_their_turn_count(address: str) -> None:
    async with Bus(address) as bus, raw(address) as producer:
        peer = bus.hub.renderers.ids[producer.id]
        stream = peer.contents.stream("items")
        request = (await producer.next(STREAM)).request
        # As long as a handler waits for a worker thread.
        peer.inbox.hold()
        item = Packet(ITEM, request=request, body=b"\x01")
        producer.write(Packet(SEND, channel=b"x", body=args()), *[item] * LEAD)
        # Of no stream, and in front of each other.
        producer.write(*[item._replace(request=77)] * 1000, *[Packet(RESULT, request=77)] * 1000)
        producer.write(*[Packet(RESULT, request=request)] * 1000)
        await until(lambda: peer.wire.received >= LEAD + 3000)
        assert peer.inbox.count == 1 + LEAD + 1
        peer.inbox.release()
        assert [value async for value in stream] == [1] * LEAD
        again = peer.contents.stream("items")
        item = item._replace(request=(await producer.next(STREAM)).request)
        peer.inbox.hold()
        producer.write(Packet(SEND, channel=b"x", body=args()), *[item] * (LEAD + 1))
        assert b"beyond its credit" in (await producer.next(GOODBYE)).body
        peer.inbox.release()
        with pytest.raises(ReplyNeverSent):
            await collect(again)


# More streams than there may be.


@pytest.mark.contract("6.1")
async def test_a_flood_of_streams_opens_no_more_than_there_may_be(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(streams=20))) as bus, raw(address) as consumer:
        counter = Counter()
        bus.ipc_main.handle("items", counter)
        consumer.write(*[Packet(STREAM, request=n, channel=b"items", body=args()) for n in range(1, 1001)])
        refused = [await consumer.next(ERROR) for _ in range(980)]
        assert {packet.value for packet in refused} == {16}
        assert [packet.request for packet in refused] == list(range(21, 1001))
        assert counter.open == 20
        # Who cancels has room again, but only once the generator has ended.
        consumer.write(Packet(CANCEL, request=1), Packet(STREAM, request=2001, channel=b"items", body=args()))
        assert (await consumer.next(ERROR)).request in (1, 2001)
        assert await consumer.is_served()
        assert counter.open <= 20


@pytest.mark.contract("6.2", "5.7")
async def test_streams_that_do_not_end_when_they_are_cancelled_stay_charged(address: str) -> None:
    stay = asyncio.Event()

    async def items(event: Any) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await stay.wait()

    async with Bus(address, config=Config(limits=Limits(streams=3))) as bus, raw(address) as consumer:
        bus.ipc_main.handle("items", items)
        for request in range(1, 4):
            consumer.write(Packet(STREAM, request=request, channel=b"items", body=args()))
            await consumer.next(ITEM)
            consumer.write(Packet(CANCEL, request=request))
        consumer.write(Packet(STREAM, request=4, channel=b"items", body=args()))
        refused = await consumer.next(ERROR)
        assert (refused.request, refused.value) == (4, 16)
        stay.set()
        assert sorted([(await consumer.next(ERROR)).request for _ in range(3)]) == [1, 2, 3]
        consumer.write(Packet(STREAM, request=5, channel=b"items", body=args()))
        assert (await consumer.next(ITEM)).request == 5


# The request in fragments.


@pytest.mark.contract("6.1", "8.7")
@pytest.mark.parametrize("target", ["main", "renderer"])
async def test_a_request_in_fragments(address: str, target: str) -> None:
    async with Bus(address) as bus, raw(address) as consumer:
        producer = await bus.renderer()

        async def items(event: Any, data: bytes) -> AsyncIterator[int]:
            yield len(data)

        bus.ipc_main.handle("items", items)
        producer.handle("items", items, senders="any")
        peer = 0 if target == "main" else producer.id
        whole = Packet(STREAM, peer=peer, request=1, channel=b"items", body=args(b"x" * 300_000))
        consumer.write(*fragments(whole))
        assert (await consumer.next(ITEM)).said == 300_000
        assert (await consumer.next(RESULT)).request == 1
        # Cancelled before it is whole: it may not begin any more, or is ended at once.
        first, *rest = fragments(whole._replace(request=2))
        consumer.write(first, Packet(CANCEL, request=2), *rest)
        assert (await consumer.next(RESULT, ERROR)).request == 2
        assert await consumer.is_served()


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("target", ["main", "renderer"])
@pytest.mark.parametrize(
    "fault",
    [
        Packet(STREAM, flags=CONTINUES, request=1, body=b"x"),
        Packet(STREAM, flags=MORE | CONTINUES, request=1, body=b"x"),
        Packet(STREAM, request=1, body=b"x"),
        Packet(DEMAND, flags=MORE, request=1, value=1),
    ],
    ids=["continues nothing", "in the middle of nothing", "no channel", "demand in fragments"],
)
async def test_a_broken_request_is_the_fault_of_its_sender(address: str, target: str, fault: Packet) -> None:
    async with Bus(address), raw(address) as consumer, raw(address) as other:
        consumer.write(fault._replace(peer=0 if target == "main" else other.id))
        await consumer.next(GOODBYE)
        assert await other.is_served()


@pytest.mark.contract("8.7")
async def test_a_request_that_is_never_whole_ends_with_its_sender(address: str) -> None:
    async with Bus(address) as bus, raw(address) as other:
        async with raw(address) as consumer:
            for peer in (0, other.id):
                packet = Packet(STREAM, peer=peer, request=1 + peer, channel=b"items", body=args(b"x" * 300_000))
                consumer.write(fragments(packet)[0])
            await until(lambda: len(bus.hub.replies) == 1)
        await until(lambda: len(bus.hub.renderers.ids) == 1)
        assert not len(bus.hub.replies)
        assert await other.is_served()
