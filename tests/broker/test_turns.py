"""Who is served when: turns are shared, who floods gets no more than those who do not, who owes waits."""

import asyncio
import os
import struct
import sys
from collections import Counter
from collections.abc import Callable
from itertools import count, groupby
from typing import Any

import pytest
from mainbus_broker import Config, Limits
from mainbus_broker.debts import FREE, MOST
from mainbus_broker.listeners import Process
from mainbus_broker.turns import LEAST_PACKETS, LONG_WAY, MOST_SHARES, TURN_PACKETS

from tests.support import bare
from tests.support import raw as wire
from tests.support.bus import PATIENCE, USER, Bus, until, within
from tests.support.raw import Packet, Raw, args, raw

pytestmark = pytest.mark.contract("9.4")

ITEM = Packet(wire.SEND, channel=b"x", body=args())
OTHER_PROCESS = Process(1, USER, None)


def served(bus: Bus) -> list[int]:
    """Return where the main process notes who has sent it what it is served."""
    seen: list[int] = []
    bus.ipc_main.on("x", lambda event: seen.append(event.sender.id))
    return seen


def is_of_another_process(bus: Bus, renderer: Raw) -> Process:
    """Let the broker take a renderer for one of a process of its own, which all others here are not."""
    bus.hub.renderers.ids[renderer.id].process = OTHER_PROCESS
    return OTHER_PROCESS


# Turns.


async def test_several_that_flood_share_a_turn_and_have_theirs_in_turn(address: str) -> None:
    each = 8 * TURN_PACKETS
    async with Bus(address) as bus, raw(address) as a, raw(address) as b, raw(address) as c, raw(address) as d:
        seen = served(bus)
        floods = [a, b, c, d]
        for flood in floods:
            flood.write(*[ITEM] * each)
        await until(lambda: len(seen) == len(floods) * each)
        runs = [(one, len(list(run))) for one, run in groupby(seen)]
        # The first comes before it is known that there are others.
        rounds = [run for run in runs[len(floods) :] if run[1] == TURN_PACKETS // MOST_SHARES]
        assert all(size <= TURN_PACKETS // MOST_SHARES for _, size in runs[len(floods) : len(floods) * 8])
        assert len(rounds) > len(floods) * 16
        order = [one for one, _ in rounds[: len(floods)]]
        assert len(set(order)) == len(floods)
        assert [one for one, _ in rounds[: 8 * len(floods)]] == order * 8


async def test_who_floods_gets_little_while_others_talk_and_all_when_they_are_silent(address: str) -> None:
    async with Bus(address) as bus, raw(address) as flood:
        seen, quiet, turns = served(bus), await bus.renderer(), Counter[int]()
        turn = 0

        @bus.ipc_main.on("x")
        def note(event: Any) -> None:
            turns[turn] += 1

        async def tick() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        ticks = asyncio.ensure_future(tick())
        flood.write(*[ITEM] * (200 * TURN_PACKETS))
        await until(lambda: len(seen) > 20 * TURN_PACKETS)
        # Nobody else has anything to say.
        assert max(turns.values()) == TURN_PACKETS
        await bus.served(quiet)
        turns.clear()
        for _ in range(10):
            await bus.served(quiet)
        assert max(turns.values()) == LEAST_PACKETS
        turns.clear()
        before = len(seen)
        await until(lambda: len(seen) > before + 20 * TURN_PACKETS)
        assert max(turns.values()) == TURN_PACKETS
        ticks.cancel()
        flood.writer.transport.abort()
        await until(lambda: flood.id not in bus.hub.renderers.ids)


async def test_what_takes_longer_to_serve_counts_for_more_in_a_turn(address: str) -> None:
    async with Bus(address) as bus, raw(address) as flood, raw(address) as quiet:
        peer = bus.hub.renderers.ids[flood.id]
        nobody = Packet(wire.SEND, flags=wire.BY_NAME, name=b"nobody", channel=b"x", body=args())
        before = peer.wire.received
        # All of it comes in one turn.
        peer.data_received(nobody.encode() * TURN_PACKETS)
        assert peer.wire.received - before == TURN_PACKETS // LONG_WAY
        for _ in range(TURN_PACKETS):
            await flood.next(wire.UNDELIVERABLE)
        assert await quiet.is_served()


# Debts.


def owes(bus: Bus, hog: Raw) -> None:
    """Let the process of a renderer owe for what it has done before; who does nothing of the kind does not wait."""
    # Where talking takes longer, it has to owe for longer.
    owed = MOST / 4 if sys.platform != "win32" else MOST
    bus.hub.debts.charge(is_of_another_process(bus, hog), FREE + owed)


def to_nobody(hog: Raw) -> None:
    hog.write(Packet(wire.SEND, flags=wire.BY_NAME, name=b"nobody", channel=b"x", body=args()))


def many_ports(hog: Raw) -> None:
    table = b"".join(struct.pack(">II", number, number + 2) for number in range(1, 4 * 500, 4))
    hog.write(Packet(wire.POST, value=500, channel=b"ports", body=table + args(None)))


@pytest.mark.parametrize("act", [to_nobody, many_ports])
async def test_who_does_what_keeps_others_waiting_is_served_behind_them(
    act: Callable[[Raw], None], address: str
) -> None:
    async with Bus(address) as bus, raw(address) as hog, raw(address) as other:
        seen = served(bus)
        owes(bus, hog)
        act(hog)
        hog.write(ITEM)
        for _ in range(3):
            other.write(ITEM)
            assert await other.is_served()
        assert seen == [other.id] * 3
        await until(lambda: len(seen) == 4)
        assert seen[-1] == hog.id


async def test_who_owes_for_what_others_have_answered_is_not_served_a_whole_turn_first(address: str) -> None:
    async with Bus(address) as bus, raw(address) as hog, raw(address) as third:
        item = Packet(wire.SEND, peer=third.id, channel=b"x", body=args())
        hog.write(item)
        await third.next(wire.SEND)
        owes(bus, hog)
        peer = bus.hub.renderers.ids[hog.id]
        before = peer.wire.received
        # As when it was answered, and has not read very many answers.
        peer.owes = True
        hog.write(*[item] * 100)
        await until(lambda: not peer.owes)
        # It has begun to wait.
        assert peer.wire.received == before
        for _ in range(100):
            await third.next(wire.SEND)


async def test_who_leaves_very_many_answers_unread_is_served_behind_others(address: str) -> None:
    config = Config(limits=Limits(hard=1024 * 1024))
    async with Bus(address, config=config) as bus, raw(address) as hog, raw(address) as other:
        seen, requests = served(bus), count(1)
        bus.ipc_main.handle("large", lambda event: bytes(256 * 1024))
        is_of_another_process(bus, hog)
        bus.hub.debts.charge(OTHER_PROCESS, FREE)
        hog.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE):
            while not bus.hub.debts.wait(OTHER_PROCESS):
                hog.write(Packet(wire.INVOKE, request=next(requests), channel=b"large", body=args()))
                await asyncio.sleep(0)
        hog.write(ITEM)
        other.write(ITEM)
        await until(lambda: len(seen) == 2)
        assert seen == [other.id, hog.id]
        hog.writer.transport.abort()


async def test_a_new_connection_of_one_that_owes_is_welcomed_behind_others(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bus(address) as bus:
        bus.hub.debts.charge(OTHER_PROCESS, FREE + MOST / 4)
        with monkeypatch.context() as patch:
            patch.setattr("mainbus_broker.entrance.identify", lambda transport: OTHER_PROCESS)
            client = Raw(*await bare.connect(address))
            await until(lambda: bus.hub.entering)
        welcome = asyncio.ensure_future(client.hello())
        async with raw(address) as other:
            await within(welcome)
            assert other.id < client.id
        await client.close()


async def test_who_is_refused_or_closed_for_what_it_did_owes_for_it(address: str) -> None:
    async with Bus(address) as bus:
        pid = Process(os.getpid(), USER, None)
        async with raw(address, hello=False) as stranger:
            stranger.write(Packet(wire.SEND, channel=b"x"))
            await stranger.rest()
        assert bus.hub.debts.wait(pid) == 0
        async with raw(address) as hog:
            hog.write(Packet(wire.LANE))
            await hog.next(wire.GOODBYE)
            assert bus.hub.debts.wait(pid) > 0
