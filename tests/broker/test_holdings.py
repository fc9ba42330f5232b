"""What all renderers together may make the broker hold: who has the most gives way, and nobody else notices."""

import asyncio
import re
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import cbor2
import pytest
from mainbus_broker import Config, Limits, Match, Role, farewell

from tests.support import bare
from tests.support import raw as wire
from tests.support.bus import PATIENCE, USER, Bus, until
from tests.support.bystanders import bystanders, warnings
from tests.support.raw import FRAGMENT, Packet, Raw, args, raw

pytestmark = pytest.mark.contract("8.6")

KIB = 1024
MIB = 1024 * KIB
TOTAL = 4 * MIB
LARGE = bytes(64 * KIB)
CONFIG = Config(limits=Limits(total=TOTAL, high=32 * MIB))
"""High marks that nobody comes to: only what all have together is to be seen."""

Fill = Callable[[Bus, Raw], Callable[[], None]]


def stop_reading(renderer: Raw) -> None:
    """Leave in the socket what the broker writes."""
    renderer.writer.transport.pause_reading()  # type: ignore[attr-defined]


async def goes(bus: Bus, renderer: Raw, write: Callable[[], None]) -> None:
    """Write over and over again, until the broker has closed a renderer."""
    async with asyncio.timeout(PATIENCE):
        while renderer.id in bus.hub.renderers.ids:
            write()
            await asyncio.sleep(0)


async def holds(bus: Bus, renderer: Raw, size: int, write: Callable[[], None]) -> None:
    """Write until the broker holds `size` bytes for a renderer."""
    async with asyncio.timeout(PATIENCE):
        while bus.hub.renderers.ids[renderer.id].contents.queued < size:
            write()
            assert await renderer_is_here(bus, renderer)


async def renderer_is_here(bus: Bus, renderer: Raw) -> bool:
    await asyncio.sleep(0)
    return renderer.id in bus.hub.renderers.ids


def unread_answers(bus: Bus, hog: Raw) -> Callable[[], None]:
    """Return what asks for answers that nobody reads."""
    stop_reading(hog)
    requests = count(1)
    return lambda: hog.write(Packet(wire.INVOKE, request=next(requests), channel=b"large", body=args()))


def unfinished_message(bus: Bus, hog: Raw) -> Callable[[], None]:
    """Return what goes on with a message that does not end."""
    hog.write(Packet(wire.SEND, flags=wire.MORE, channel=b"x", body=LARGE))
    return lambda: hog.write(Packet(wire.SEND, flags=wire.MORE | wire.CONTINUES, body=LARGE))


def untaken_posts(bus: Bus, hog: Raw) -> Callable[[], None]:
    """Return what posts on a port that the main process has and does not start."""
    bus.ipc_main.on("port", lambda event, _: bus.ipc_main.once("kept", lambda *_, kept=event.ports: kept))
    hog.write(Packet(wire.POST, value=1, channel=b"port", body=struct.pack(">II", 1, 3) + args(None)))
    return lambda: hog.write(Packet(wire.PORT_MESSAGE, peer=3, body=LARGE))


def unserved_messages(bus: Bus, hog: Raw) -> Callable[[], None]:
    """Return what sends messages for which the main process has no time."""
    bus.hub.renderers.ids[hog.id].inbox.hold()
    return lambda: hog.write(Packet(wire.SEND, channel=b"x", body=args(LARGE)))


def unread_messages(bus: Bus, hog: Raw) -> Callable[[], None]:
    """Return what lets the main process send what nobody reads."""
    stop_reading(hog)
    contents = bus.hub.renderers.ids[hog.id].contents
    return lambda: contents.send("x", LARGE)


@pytest.mark.parametrize(
    "fill", [unread_answers, unread_messages, unfinished_message, untaken_posts, unserved_messages]
)
async def test_who_holds_more_than_is_left_goes_and_nobody_else_notices(
    fill: Fill, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bus(address, config=CONFIG) as bus, bystanders(bus), raw(address, "hog") as hog, raw(address) as small:
        bus.ipc_main.handle("large", lambda event: LARGE)
        await holds(bus, small, 200 * KIB, unread_answers(bus, small))
        label = bus.hub.renderers.names["hog"].label
        await goes(bus, hog, fill(bus, hog))
        [line] = warnings(caplog)
        text = f"holds (.*) of the {TOTAL} bytes that all may hold, and less than that is left"
        found = re.fullmatch(f"closing {re.escape(label)}: {text}", line)
        assert found is not None, line
        assert TOTAL * 0.4 < int(found[1]) < TOTAL
        if sys.platform == "win32":
            # A pipe has a moment to take the goodbye.
            await until(lambda: not bus.hub.leaving)
        stats = bus.broker.stats()
        assert stats["over_total"] == 1
        assert 200 * KIB <= stats["held"] < MIB
        assert small.id in bus.hub.renderers.ids


async def test_what_waits_on_a_lane_counts(address: str) -> None:
    def answer(event: Any) -> None:
        event.return_value = LARGE

    async with Bus(address, config=CONFIG) as bus, bystanders(bus), raw(address) as hog:
        bus.ipc_main.on("large", answer)
        lane = Raw(*await bare.connect(address))
        lane.write(Packet(wire.LANE, body=cbor2.dumps({"id": hog.id, "nonce": hog.welcome["lane"]})))
        await lane.next(wire.LANE)
        stop_reading(lane)
        requests = count(1)
        await goes(
            bus, hog, lambda: lane.write(Packet(wire.SYNC, request=next(requests), channel=b"large", body=args()))
        )
        assert bus.broker.stats()["over_total"] == 1
        await lane.close()


async def test_who_adds_to_a_queue_although_asked_to_pause_is_charged_with_it(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(limits=Limits(total=TOTAL, high=MIB, overrun=64 * MIB))
    async with (
        Bus(address, config=config) as bus,
        bystanders(bus),
        raw(address, "slow") as slow,
        raw(address, "hog") as hog,
    ):
        stop_reading(slow)
        label = bus.hub.renderers.names["hog"].label
        await goes(bus, hog, lambda: hog.write(Packet(wire.SEND, peer=slow.id, channel=b"x", body=args(LARGE))))
        assert warnings(caplog)[0].startswith(f"closing {label}: holds ")
        assert slow.id in bus.hub.renderers.ids


async def test_what_is_broadcast_is_there_once(address: str) -> None:
    async with (
        Bus(address, config=CONFIG) as bus,
        bystanders(bus, gap=True),
        waiting(address, 12) as deaf,
        raw(address) as loud,
    ):
        # Twice the total, if each had its own.
        for _ in range(12):
            bus.broker.web_contents.broadcast("x", LARGE)
            loud.write(Packet(wire.BROADCAST, channel=b"x", body=args(LARGE)))
            assert await loud.is_served()
        assert sum(bus.hub.renderers.ids[each.id].contents.queued for each in deaf) > 2 * TOTAL
        stats = bus.broker.stats()
        assert (stats["over_total"], stats["renderers"]) == (0, 15)
        assert stats["held"] < TOTAL / 2


@asynccontextmanager
async def waiting(address: str, count: int) -> AsyncIterator[list[Raw]]:
    """Connect renderers that read nothing."""
    found = [raw(address) for _ in range(count)]
    deaf = [await each.__aenter__() for each in found]
    for each in deaf:
        stop_reading(each)
    yield deaf
    for entered in found:
        await entered.__aexit__(None, None, None)


async def test_all_renderers_of_another_user_have_one_share(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("entrance", "hub", "quota", "holdings"):
        monkeypatch.setattr(f"mainbus_broker.{module}.same_user", lambda process: False)
    everything = ["*"]
    role = Role(match=Match(uid=USER), invoke=everything, handle=everything, names=everything)
    config = Config(limits=Limits(total=TOTAL), roles={"other": role})
    async with Bus(address, config=config) as bus, raw(address) as one, raw(address) as two:
        bus.ipc_main.handle("large", lambda event: LARGE)
        # Neither is too much, and both together are more than half.
        await holds(bus, one, TOTAL * 30 // 100, unread_answers(bus, one))
        ask = unread_answers(bus, two)
        async with asyncio.timeout(PATIENCE):
            while two.id in bus.hub.renderers.ids and bus.hub.holdings.total < TOTAL * 55 // 100:
                ask()
                await asyncio.sleep(0)
        bus.hub.holdings.added(TOTAL)
        await until(lambda: bus.broker.stats()["over_total"])
        assert one.id not in bus.hub.renderers.ids
        assert two.id in bus.hub.renderers.ids


async def test_who_has_left_and_does_not_read_is_waited_for_only_while_there_is_room(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "LINGER", 3600)
    async with Bus(address, config=CONFIG) as bus, bystanders(bus), raw(address) as gone, raw(address) as small:
        bus.ipc_main.handle("large", lambda event: LARGE)
        await holds(bus, gone, TOTAL // 3, unread_answers(bus, gone))
        gone.write(Packet(wire.GOODBYE))
        await until(lambda: gone.id not in bus.hub.renderers.ids)
        assert bus.broker.stats()["held"] > 900 * KIB
        await holds(bus, small, TOTAL * 45 // 100, unread_answers(bus, small))
        await until(lambda: not bus.hub.leaving)
        assert small.id in bus.hub.renderers.ids


async def test_a_message_in_many_fragments_passes_however_little_is_left_of_the_total(address: str) -> None:
    got: list[Any] = []
    async with Bus(address, config=CONFIG) as bus:
        target, source = await bus.renderer("target"), await bus.renderer()
        target.on("x", lambda event, body: got.append(len(body)), senders="any")
        for _ in range(8):
            source.send_to("target", "x", bytes(FRAGMENT * 8))
            await source.drain("target")
        await bus.served(source)
        await until(lambda: len(got) == 8)
        assert bus.broker.stats()["over_total"] == 0
