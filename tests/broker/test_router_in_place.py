"""Fragments that are read in place are passed on as all others are, whatever else is due for their sender."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from itertools import count
from typing import Any

import cbor2
import pytest
from mainbus.quick import COMPILED
from mainbus_broker import Config, Limits
from mainbus_broker.debts import FREE, MOST
from mainbus_broker.listeners import Process
from mainbus_broker.turns import LEAST_PACKETS, TURN_PACKETS

from tests.support import bare
from tests.support import raw as wire
from tests.support.bus import USER, Bus, until
from tests.support.raw import Packet, Raw, args, raw

KIB, MIB = 1024, 1024 * 1024


def large(target: Raw, *sizes: int) -> list[Packet]:
    """Return a message in fragments, of which all between the first and the last have bodies of these sizes."""
    body = args(bytes(range(256)) * (sum(sizes) // 256 + 1024))
    packet = Packet(wire.SEND, peer=target.id, channel=b"x")
    ends = [wire.FRAGMENT]
    for size in sizes:
        ends.append(ends[-1] + size)
    bodies = [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]
    first = packet._replace(flags=wire.MORE, body=bodies[0])
    rest = packet._replace(flags=wire.MORE | wire.CONTINUES, channel=b"")
    between = [rest._replace(body=body) for body in bodies[1:-1]]
    return [first, *between, rest._replace(flags=wire.CONTINUES, body=bodies[-1])]


def joined(parts: list[Packet]) -> bytes:
    """Return the body of a message in fragments."""
    return b"".join(part.body for part in parts)


async def begin(bus: Bus, sender: Raw, first: Packet) -> None:
    """Send the first fragment, so that what follows is read in place, where that can be done."""
    packet = first.encode()
    sender.write(packet[:50_000])
    wire_of_it = bus.hub.renderers.ids[sender.id].wire
    if COMPILED and sys.platform != "win32":
        await until(lambda: wire_of_it.in_place)
    sender.write(packet[50_000:])


async def open_lane(address: str, owner: Raw) -> Raw:
    """Return a lane of a renderer."""
    lane = Raw(*await bare.connect(address))
    lane.write(Packet(wire.LANE, body=cbor2.dumps({"id": owner.id, "nonce": owner.welcome["lane"]})))
    await lane.next(wire.LANE)
    return lane


@pytest.mark.contract("3.5")
async def test_a_call_on_a_lane_waits_for_a_fragment_and_no_longer(address: str) -> None:
    async with Bus(address) as bus, raw(address) as sender, raw(address) as target:
        bus.ipc_main.on("sync", lambda event: setattr(event, "return_value", "answer"))
        lane = await open_lane(address, sender)
        parts = large(target, 100 * KIB)
        await begin(bus, sender, parts[0])
        await target.next(wire.SEND)
        # Behind the hello, the first fragment and the next one.
        lane.write(Packet(wire.REPEAT, value=4), Packet(wire.SYNC, request=1, channel=b"sync", body=args()))
        end: Any = bus.hub.renderers.ids[sender.id].lane
        await until(lambda: end._next == 4)
        sender.write(parts[1])
        assert (await lane.next(wire.RESULT)).said == "answer"
        sender.write(parts[2])
        await lane.close()


@pytest.mark.contract("3.5")
async def test_a_call_on_a_lane_is_not_served_before_what_was_sent_behind_a_fragment(address: str) -> None:
    async with Bus(address) as bus, raw(address) as sender, raw(address) as target:
        got: list[str] = []

        @bus.ipc_main.on("x")
        def note(event: Any) -> None:
            got.append("x")

        @bus.ipc_main.on("sync")
        def answer(event: Any) -> None:
            got.append("sync")
            event.return_value = None

        lane = await open_lane(address, sender)
        parts = large(target, 100 * KIB)
        await begin(bus, sender, parts[0])
        end: Any = bus.hub.renderers.ids[sender.id].lane
        lane.write(Packet(wire.REPEAT, value=5), Packet(wire.SYNC, request=1, channel=b"sync", body=args()))
        await until(lambda: end._next == 5)
        sender.write(parts[1])
        for _ in range(2):
            await target.next(wire.SEND)
        # Whoever would be served with that has been.
        assert await target.is_served()
        sender.write(Packet(wire.SEND, channel=b"x", body=args()))
        await lane.next(wire.RESULT)
        assert got == ["x", "sync"]
        sender.write(parts[2])
        await lane.close()


@pytest.mark.contract("3.5")
async def test_a_fragment_that_a_lane_has_brought_is_not_passed_on_again(address: str) -> None:
    async with Bus(address) as bus, raw(address) as sender, raw(address) as target:
        peer = bus.hub.renderers.ids[sender.id]
        lane = await open_lane(address, sender)
        parts = large(target, 100 * KIB, 50 * KIB)
        await begin(bus, sender, parts[0])
        got = [await target.next(wire.SEND)]
        lane.write(Packet(wire.REPEAT, value=3, request=1), parts[1])
        got.append(await target.next(wire.SEND))
        await lane.close()
        await until(lambda: peer.lane is None)
        sender.write(parts[1], *parts[2:])
        while got[-1].flags & wire.MORE:
            got.append(await target.next(wire.SEND))
        assert joined(got) == joined(parts)
        assert await sender.is_served()


@pytest.mark.contract("9.4")
async def test_fragments_of_one_that_owes_wait_behind_others(address: str) -> None:
    gate, requests = asyncio.Event(), count(1)

    async def answer(event: Any) -> bytes:
        await gate.wait()
        return bytes(256 * KIB)

    config = Config(limits=Limits(hard=MIB))
    async with Bus(address, config=config) as bus, raw(address) as hog, raw(address) as other, raw(address) as target:
        bus.ipc_main.handle("large", answer)
        peer = bus.hub.renderers.ids[hog.id]
        process = peer.process = Process(1, USER, None)
        hog.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(8):
            hog.write(Packet(wire.INVOKE, request=next(requests), channel=b"large", body=args()))
        parts = large(target, 100 * KIB)
        await begin(bus, hog, parts[0])
        await target.next(wire.SEND)
        owed = MOST / 4 if sys.platform != "win32" else MOST
        bus.hub.debts.charge(process, FREE + owed)
        # It is answered while nothing of it is served.
        gate.set()
        await until(lambda: peer.owes)
        hog.write(parts[1])
        for _ in range(3):
            other.write(Packet(wire.SEND, peer=target.id, channel=b"x", body=args()))
            assert await other.is_served()
        senders = [(await target.next(wire.SEND)).peer for _ in range(4)]
        assert senders == [other.id] * 3 + [hog.id]
        hog.writer.transport.abort()


@pytest.mark.contract("9.4")
async def test_who_floods_gets_little_while_fragments_of_another_come(address: str) -> None:
    async with Bus(address) as bus, raw(address) as flood, raw(address) as sender, raw(address) as target:
        turns, turn, seen = Counter[int](), count(), 0
        now = next(turn)

        @bus.ipc_main.on("x")
        def note(event: Any) -> None:
            nonlocal seen
            turns[now] += 1
            seen += 1

        async def tick() -> None:
            nonlocal now
            while True:
                now = next(turn)
                await asyncio.sleep(0)

        ticks = asyncio.ensure_future(tick())
        parts = large(target, *[5000] * 10)
        await begin(bus, sender, parts[0])
        await target.next(wire.SEND)
        flood.write(*[Packet(wire.SEND, channel=b"x", body=args())] * (400 * TURN_PACKETS))
        await until(lambda: seen > 20 * TURN_PACKETS)
        assert max(turns.values()) == TURN_PACKETS
        for part in parts[1:-1]:
            sender.write(part)
            await target.next(wire.SEND)
            if part is parts[1]:
                turns.clear()
        assert max(turns.values()) == LEAST_PACKETS
        ticks.cancel()
        sender.write(parts[-1])
        flood.writer.transport.abort()
        await until(lambda: flood.id not in bus.hub.renderers.ids)


@pytest.mark.contract("8.6")
async def test_fragments_for_the_main_process_count_among_what_all_hold(address: str) -> None:
    config = Config(limits=Limits(total=4 * MIB, high=32 * MIB))
    async with Bus(address, config=config) as bus, raw(address) as hog:
        peer = bus.hub.renderers.ids[hog.id]
        body = args(bytes(20 * MIB))
        await begin(bus, hog, Packet(wire.SEND, flags=wire.MORE, channel=b"x", body=body[: wire.FRAGMENT]))
        # One by one: they are read alone.
        for number in range(3, 200):
            hog.write(Packet(wire.SEND, flags=wire.MORE | wire.CONTINUES, body=bytes(64 * KIB)))
            await until(lambda number=number: peer.wire.received == number or peer.closing)  # type: ignore[misc]
            if peer.closing:
                break
        assert bus.broker.stats()["over_total"] == 1
        assert number * 64 * KIB < 4 * MIB
