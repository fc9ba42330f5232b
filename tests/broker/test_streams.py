"""Streams between renderers as the broker keeps them: who has which open, and that nobody exceeds the credit."""

import cbor2
import pytest
from mainbus.wire.credit import OVERHEAD, WINDOW
from mainbus_broker import Config, Limits
from mainbus_broker.streams import Streams

from tests.support import raw as wire
from tests.support.bus import Bus, until
from tests.support.raw import CANCEL, DEMAND, ERROR, GOODBYE, INVOKE, ITEM, RESULT, STREAM, Packet, Raw, fragments, raw

NOTHING = cbor2.dumps([])
LEAD = WINDOW // OVERHEAD


async def test_a_registry_of_open_streams(address: str) -> None:
    async with Bus(address) as bus:
        one, two = bus.peer(await bus.renderer()), bus.peer(await bus.renderer())
        streams = Streams()
        streams.add(one, 1)
        streams.add(one, 2)
        streams.add(two, 1)
        assert (len(streams), streams.count(one), streams.count(two)) == (3, 2, 1)
        assert streams.get(one, 1) is not streams.get(one, 2)
        assert streams.get(two, 2) is None
        streams.end(one, 1)
        streams.end(one, 1)
        assert (len(streams), streams.get(one, 1)) == (2, None)
        streams.forget(one)
        streams.end(two, 1)
        assert not len(streams)
        assert not streams._open


async def opened(consumer: Raw, producer: Raw, request: int = 1) -> Packet:
    """Open a stream; returns the request as the producer gets it."""
    consumer.write(Packet(STREAM, peer=producer.id, request=request, channel=b"items", body=NOTHING))
    return await producer.next(STREAM)


def item(consumer: Raw, body: bytes = b"\x01", request: int = 1) -> Packet:
    return Packet(ITEM, peer=consumer.id, request=request, body=body)


@pytest.mark.contract("6.1")
async def test_items_credit_and_the_end_are_forwarded(address: str) -> None:
    async with Bus(address) as bus, raw(address, "consumer") as consumer, raw(address, "producer") as producer:
        asked = await opened(consumer, producer)
        assert (asked.peer, asked.request, asked.name, asked.channel) == (consumer.id, 1, b"consumer", b"items")
        assert bus.broker.stats()["streams"] == 1
        producer.write(item(consumer, b"\x01"), *fragments(item(consumer, cbor2.dumps(b"x" * 300_000))))
        assert (await consumer.message(ITEM)).said == 1
        got = await consumer.message(ITEM)
        assert (got.peer, got.request, got.said) == (producer.id, 1, b"x" * 300_000)
        consumer.write(Packet(DEMAND, request=1, value=OVERHEAD + 1))
        told = await producer.next(DEMAND)
        assert (told.peer, told.request, told.value) == (consumer.id, 1, OVERHEAD + 1)
        producer.write(Packet(RESULT, peer=consumer.id, request=1, body=b"\xf6"))
        assert (await consumer.next(RESULT)).request == 1
        await until(lambda: not bus.broker.stats()["streams"])


@pytest.mark.contract("6.1", "8.7")
@pytest.mark.parametrize("large", [False, True])
async def test_items_beyond_the_credit_are_the_fault_of_their_sender(address: str, large: bool) -> None:
    async with Bus(address), raw(address) as consumer, raw(address) as producer:
        await opened(consumer, producer)
        body = cbor2.dumps(b"x" * WINDOW) if large else b"\x01"
        count = 1 if large else LEAD
        for _ in range(count):
            producer.write(*fragments(item(consumer, body)))
        assert await consumer.is_served()
        assert await producer.is_served()
        producer.write(item(consumer), item(consumer))
        said = await producer.next(GOODBYE)
        assert b"beyond its credit" in said.body
        assert (await consumer.next(ERROR)).value == 3


@pytest.mark.contract("6.1", "8.7")
async def test_main_takes_no_items_beyond_the_credit_either(address: str) -> None:
    async with Bus(address) as bus, raw(address, "producer") as producer:
        contents = bus.broker.web_contents.from_name("producer")
        assert contents is not None
        stream = contents.stream("items")
        asked = await producer.next(STREAM)
        for _ in range(LEAD):
            producer.write(Packet(ITEM, request=asked.request, body=b"\x01"))
        assert await producer.is_served()
        producer.write(*[Packet(ITEM, request=asked.request, body=b"\x01")] * 2)
        said = await producer.next(GOODBYE)
        assert b"beyond its credit" in said.body
        got = []
        with pytest.raises(Exception, match="reply was never sent"):  # noqa: PT012 - the loop is what raises
            async for value in stream:
                got.append(value)
        assert got == [1] * LEAD


@pytest.mark.contract("6.1", "8.7")
async def test_credit_for_what_was_never_sent_is_the_fault_of_its_giver(address: str) -> None:
    async with Bus(address), raw(address) as consumer, raw(address) as producer:
        await opened(consumer, producer)
        producer.write(item(consumer))
        await consumer.next(ITEM)
        consumer.write(Packet(DEMAND, request=1, value=OVERHEAD + 2))
        assert b"gave credit" in (await consumer.next(GOODBYE)).body
        assert (await producer.next(CANCEL)).request == 1
        assert await producer.is_served()


async def test_what_belongs_to_no_open_stream_is_ignored(address: str) -> None:
    async with Bus(address), raw(address) as consumer, raw(address) as producer:
        consumer.write(Packet(INVOKE, peer=producer.id, request=1, channel=b"c", body=NOTHING))
        await producer.next(INVOKE)
        large = cbor2.dumps(b"x" * 300_000)
        for request in (1, 2):
            # Of an invoke, and of nobody.
            producer.write(item(consumer, request=request), *fragments(item(consumer, large, request=request)))
            consumer.write(Packet(DEMAND, request=request, value=1))
        producer.write(Packet(ITEM, request=5, body=b"\x01"))
        assert await producer.is_served()
        producer.write(Packet(RESULT, peer=consumer.id, request=1, body=b"\x07"))
        # Nothing came before the answer.
        packet = await consumer.read()
        assert packet is not None
        assert (packet.kind, packet.said) == (RESULT, 7)


@pytest.mark.contract("6.2", "9.5")
async def test_an_answer_in_place_of_a_dead_producer_comes_behind_the_end_of_its_fragments(address: str) -> None:
    async with Bus(address), raw(address) as consumer, raw(address) as producer:
        await opened(consumer, producer)
        first, *_ = fragments(item(consumer, cbor2.dumps(b"x" * 300_000)))
        producer.write(first)
        await consumer.next(ITEM)
        await producer.close()
        abort = await consumer.next(wire.ABORT, ERROR)
        assert (abort.kind, abort.peer) == (wire.ABORT, producer.id)
        error = await consumer.next(ERROR)
        assert (error.peer, error.request, error.value) == (producer.id, 1, 3)


@pytest.mark.contract("8.6", "6.1")
async def test_a_bound_for_each_consumer(address: str) -> None:
    config = Config(limits=Limits(streams=2))
    async with Bus(address, config=config) as bus, raw(address) as consumer, raw(address) as producer:
        for request in (1, 2):
            await opened(consumer, producer, request)
        consumer.write(*fragments(Packet(STREAM, peer=producer.id, request=3, channel=b"c", body=b"x" * 300_000)))
        refused = await consumer.next(ERROR)
        assert (refused.request, refused.value) == (3, 16)
        consumer.write(Packet(STREAM, request=4, channel=b"c", body=NOTHING))
        refused = await consumer.next(ERROR)
        # Those that go to the main process count too; first it looks for a handler.
        assert (refused.request, refused.value) == (4, 2)
        bus.ipc_main.handle("c", lambda event: None)
        consumer.write(Packet(STREAM, request=5, channel=b"c", body=NOTHING))
        refused = await consumer.next(ERROR)
        assert (refused.request, refused.value) == (5, 16)
        producer.write(Packet(STREAM, peer=consumer.id, request=1, channel=b"c", body=NOTHING))
        assert (await consumer.next(STREAM)).request == 1


async def test_no_such_renderer_and_a_number_twice(address: str) -> None:
    async with Bus(address), raw(address) as consumer, raw(address) as producer:
        consumer.write(Packet(STREAM, peer=99, request=1, channel=b"c", body=NOTHING))
        assert (await consumer.next(ERROR)).value == 11
        await opened(consumer, producer)
        consumer.write(Packet(STREAM, peer=producer.id, request=1, channel=b"c", body=NOTHING))
        assert b"pending already" in (await consumer.next(GOODBYE)).body
