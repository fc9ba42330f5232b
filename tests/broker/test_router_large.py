"""Large packets of one piece go where small ones go, with the same words, whichever way the broker forwards them."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from mainbus_broker import Config, Limits

from tests.support import raw as wire
from tests.support.bus import Bus
from tests.support.raw import PATIENCE, Packet, Raw, args, raw

KIB, MIB = 1024, 1024 * 1024
# Below and above what is passed on as it lies in what was read, and as long as a packet can be.
SIZES = [32 * KIB - 100, 32 * KIB, 40 * KIB, 100 * KIB, wire.FRAGMENT - 10]


def to(target: Raw, named: bool) -> Packet:
    """Return what is addressed to a renderer, which has the name "target", by its id or its name."""
    return Packet(wire.SEND, flags=wire.BY_NAME, name=b"target") if named else Packet(wire.SEND, peer=target.id)


@pytest.mark.contract("3.7")
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("size", SIZES)
async def test_all_messages_of_a_pair_arrive_like_the_first(size: int, named: bool, address: str) -> None:
    async with Bus(address), raw(address, "source") as source, raw(address, "target") as target:
        packet = to(target, named)._replace(channel=b"x", frame=7, body=args(bytes(range(256)) * (size // 256)))
        expected = packet._replace(peer=source.id, name=b"source")
        # The first is noted, and takes the long way.
        for _ in range(3):
            source.write(packet)
            assert await target.next(wire.SEND) == expected
        source.write(packet, packet._replace(body=args(1)), packet)
        bodies = [(await target.next(wire.SEND)).body for _ in range(3)]
        assert bodies == [packet.body, args(1), packet.body]


@pytest.mark.contract("3.7")
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("size", SIZES)
async def test_all_invokes_and_results_of_a_pair_arrive_like_the_first(size: int, named: bool, address: str) -> None:
    async with Bus(address) as bus, raw(address, "source") as source, raw(address, "target") as target:
        body = args(bytes(range(256)) * (size // 256))
        for request in range(1, 4):
            packet = to(target, named)._replace(kind=wire.INVOKE, request=request, channel=b"x", body=body)
            source.write(packet)
            assert await target.next(wire.INVOKE) == packet._replace(peer=source.id, name=b"source")
            result = Packet(wire.RESULT, peer=source.id, request=request, body=body)
            target.write(result)
            assert await source.next(wire.RESULT) == result._replace(peer=target.id, name=b"target")
        assert len(bus.hub.replies) == 0


@pytest.mark.contract("9.3")
async def test_large_invokes_count_among_those_that_are_pending(address: str) -> None:
    config = Config(limits=Limits(pending=2))
    async with Bus(address, config=config), raw(address) as source, raw(address) as target:
        body = args(bytes(40 * KIB))
        invoke = Packet(wire.INVOKE, peer=target.id, channel=b"x", body=body)
        source.write(*[invoke._replace(request=request) for request in (1, 2, 3)])
        refused = await source.next(wire.ERROR, wire.RESULT)
        assert (refused.kind, refused.request) == (wire.ERROR, 3)
        for _ in range(2):
            await target.next(wire.INVOKE)
        target.write(Packet(wire.RESULT, peer=source.id, request=1, body=body))
        assert (await source.next(wire.RESULT)).body == body
        source.write(invoke._replace(request=4))
        assert (await target.next(wire.INVOKE)).request == 4


@pytest.mark.contract("9.2")
@pytest.mark.parametrize("size", [40 * KIB, 100 * KIB])
async def test_who_fills_a_queue_with_large_messages_is_paused_and_goes_on(size: int, address: str) -> None:
    config = Config(limits=Limits(high=512 * KIB, low=64 * KIB))
    async with Bus(address, config=config) as bus, raw(address) as source, raw(address) as target:
        target.writer.transport.pause_reading()  # type: ignore[attr-defined]
        pause = asyncio.ensure_future(source.next(wire.PAUSE))
        sent = 0
        async with asyncio.timeout(PATIENCE):
            while not pause.done():
                source.write(Packet(wire.SEND, peer=target.id, channel=b"x", body=args(sent, bytes(size))))
                sent += 1
                await asyncio.sleep(0)
        told = pause.result()
        source.write(Packet(wire.PAUSED, peer=target.id, request=told.request))
        assert await source.is_served()
        target.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for number in range(sent):
            assert (await target.next(wire.SEND)).body == args(number, bytes(size))
        assert (await source.next(wire.RESUME)).peer == target.id
        assert bus.broker.stats()["overruns"] == 0


@pytest.mark.contract("9.2")
@pytest.mark.parametrize("size", [1, 40 * KIB])
async def test_who_sends_large_messages_in_spite_of_a_pause_is_closed(size: int, address: str) -> None:
    config = Config(limits=Limits(high=512 * KIB, low=64 * KIB))
    async with Bus(address, config=config) as bus, raw(address) as source, raw(address) as target:
        target.writer.transport.pause_reading()  # type: ignore[attr-defined]
        pause = asyncio.ensure_future(source.next(wire.PAUSE))
        async with asyncio.timeout(PATIENCE):
            while not pause.done():
                source.write(Packet(wire.SEND, peer=target.id, channel=b"x", body=args(bytes(40 * KIB))))
                await asyncio.sleep(0)
        source.write(Packet(wire.PAUSED, peer=target.id, request=pause.result().request))
        assert await source.is_served()
        source.write(Packet(wire.SEND, peer=target.id, channel=b"x", body=args(bytes(size))))
        await source.rest()
        assert bus.broker.stats()["overruns"] == 1
        target.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await target.is_served()


@pytest.mark.contract("8.6")
async def test_a_small_message_that_waits_keeps_nothing_of_what_was_read_with_it(address: str) -> None:
    config = Config(limits=Limits(high=32 * MIB))
    async with Bus(address, config=config) as bus, raw(address) as source, raw(address) as target:
        small = Packet(wire.SEND, peer=target.id, channel=b"x", body=args())
        outbox = bus.hub.renderers.ids[target.id].outbox
        target.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE):
            while not outbox.size:
                source.write(small._replace(body=bytes(20 * KIB)))
                assert await source.is_served()
        beside = Packet(wire.SEND, channel=b"nobody", body=args(bytes(28 * KIB)))
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(40):
                source.write(small, beside, beside)
                assert await source.is_served()
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert held < 40 * 28 * KIB
        target.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await target.is_served()
