"""What is refused, lost, held up or late is counted each time, logged once for each incident, and explained."""

import asyncio
import re
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import mainbus
import pytest
from mainbus import SendQueueFull
from mainbus_broker import Config, Limits, Match, MessageChannelMain, Role

from tests.support import raw as wire
from tests.support.bus import Bus, until
from tests.support.bystanders import warnings
from tests.support.raw import Packet, Raw, args, raw

pytestmark = pytest.mark.contract("2.1", "8.6")

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "operate.md"
TIMES = 3

Act = Callable[[Bus, Raw, Raw], Awaitable[None]]


async def asks_main(bus: Bus, hog: Raw, other: Raw) -> None:
    hog.write(*(Packet(wire.INVOKE, request=number, channel=b"wait", body=args()) for number in range(1, TIMES + 2)))


async def asks_other(bus: Bus, hog: Raw, other: Raw) -> None:
    for number in range(1, TIMES + 2):
        hog.write(Packet(wire.INVOKE, peer=other.id, request=number, channel=b"c", body=args()))


async def asks_for_streams(bus: Bus, hog: Raw, other: Raw) -> None:
    for number in range(1, TIMES + 2):
        hog.write(Packet(wire.STREAM, peer=other.id, request=number, channel=b"c", body=args()))


async def asks_for_frames(bus: Bus, hog: Raw, other: Raw) -> None:
    hog.write(*(Packet(wire.FRAME, request=number, frame=number) for number in range(1, TIMES + 2)))


async def asks_for_guests(bus: Bus, hog: Raw, other: Raw) -> None:
    hog.write(*(Packet(wire.GUEST, request=number, value=number) for number in range(1, TIMES + 2)))


async def is_denied(bus: Bus, hog: Raw, other: Raw) -> None:
    hog.write(*[Packet(wire.SEND, channel=b"secret", body=args())] * TIMES)


async def sends_to_nobody(bus: Bus, hog: Raw, other: Raw) -> None:
    hog.write(*[Packet(wire.SEND, peer=99, channel=b"c", body=args())] * TIMES)


async def says_that_nobody_listens(bus: Bus, hog: Raw, other: Raw) -> None:
    other.write(Packet(wire.SEND, peer=hog.id, channel=b"c", body=args()))
    await hog.next(wire.SEND)
    hog.write(*[Packet(wire.UNDELIVERABLE, peer=other.id, channel=b"c", body=b"why")] * TIMES)


async def answers_what_nobody_asked(bus: Bus, hog: Raw, other: Raw) -> None:
    hog.write(*[Packet(wire.RESULT, peer=other.id, request=1, body=args())] * TIMES)


async def asks_main_for_a_moment(bus: Bus, hog: Raw, other: Raw) -> None:
    requests = range(1, TIMES + 1)
    hog.write(*(Packet(wire.INVOKE, request=number, value=1, channel=b"wait", body=args()) for number in requests))
    await hog.next(wire.ERROR)


async def asks_other_for_a_moment(bus: Bus, hog: Raw, other: Raw) -> None:
    for number in range(1, TIMES + 1):
        hog.write(Packet(wire.INVOKE, peer=other.id, request=number, value=1, channel=b"c", body=args()))


async def asks_for_pauses(bus: Bus, hog: Raw, other: Raw) -> None:
    other.write(Packet(wire.SEND, peer=hog.id, channel=b"c", body=args()))
    await hog.next(wire.SEND)
    for _ in range(TIMES):
        hog.write(Packet(wire.PAUSE, peer=other.id), Packet(wire.RESUME, peer=other.id))
        pause = await other.next(wire.PAUSE)
        other.write(Packet(wire.PAUSED, peer=hog.id, request=pause.request))
        assert await other.is_served()


async def reads_nothing_of_main(bus: Bus, hog: Raw, other: Raw) -> None:
    contents = bus.hub.renderers.ids[hog.id].contents
    contents.send("c", bytes(100_000))
    for _ in range(TIMES):
        with pytest.raises(SendQueueFull):
            contents.send("c")


async def leaves_amid_messages(bus: Bus, hog: Raw, other: Raw) -> None:
    for number in range(TIMES):
        async with raw(bus.address) as sender:
            sender.write(Packet(wire.SEND, peer=other.id, channel=b"c", body=args(number)))
            await other.next(wire.SEND)
        await other.next(wire.GAP)


async def breaks_channels(bus: Bus, hog: Raw, other: Raw) -> None:
    bus.ipc_main.on("port", lambda event, _: kept.extend(event.ports))
    kept: list[object] = []
    for number in range(1, 4 * TIMES, 4):
        table = struct.pack(">II", number, number + 2)
        hog.write(Packet(wire.POST, value=1, channel=b"port", body=table + args(None)))
        hog.write(Packet(wire.PORT_CLOSE, peer=number))
        hog.write(Packet(wire.PORT_MESSAGE, flags=wire.CONTINUES, peer=number + 2, body=args(None)))
    await until(lambda: len(kept) == TIMES and bus.broker.stats()["broken_ports"] == TIMES)


async def gets_too_many_ports(bus: Bus, hog: Raw, other: Raw) -> None:
    contents = bus.hub.renderers.ids[hog.id].contents
    for _ in range(TIMES + 1):
        channel = MessageChannelMain()
        contents.post_message("port", None, [channel.port1])
        channel.port2.close()


REFUSED = "refused renderer 1 .* a request: .*; more of them are counted"
HOG = Role(
    match=Match(token="hog"), names=["*"], send=["port"], invoke=["*"], send_to=["*"], handle=["*"], listen=["*"]
)


@pytest.mark.parametrize(
    ("counter", "act", "limits", "line"),
    [
        ("too_many", asks_main, Limits(running=1), REFUSED),
        ("too_many", asks_other, Limits(pending=1), REFUSED),
        ("too_many", asks_for_streams, Limits(streams=1), REFUSED),
        ("too_many", asks_for_frames, Limits(frames=1), REFUSED),
        ("too_many", asks_for_guests, Limits(guests=1), REFUSED),
        ("denied", is_denied, Limits(), "denied renderer 1 .* send on 'secret'"),
        ("undeliverable", sends_to_nobody, Limits(), None),
        ("undeliverable", says_that_nobody_listens, Limits(), None),
        ("late_answers", answers_what_nobody_asked, Limits(), None),
        ("timeouts", asks_main_for_a_moment, Limits(), None),
        ("timeouts", asks_other_for_a_moment, Limits(), None),
        ("pauses", asks_for_pauses, Limits(), None),
        ("queue_full", reads_nothing_of_main, Limits(low=0, high=1, hard=1000), None),
        ("gaps", leaves_amid_messages, Limits(), None),
        ("broken_ports", breaks_channels, Limits(), "a port was closed: .*"),
        ("refused_ports", gets_too_many_ports, Limits(ports=1), None),
    ],
)
async def test_each_is_counted_and_each_incident_logged_once(
    counter: str, act: Act, limits: Limits, line: str | None, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(limits=limits, roles={"hog": HOG})
    async with Bus(address, config=config) as bus, raw(address, token="hog") as hog, raw(address) as other:
        bus.ipc_main.handle("wait", lambda event: asyncio.Event().wait())
        before = bus.broker.stats()
        await act(bus, hog, other)
        await until(lambda: bus.broker.stats()[counter] - before[counter] >= TIMES)
        assert bus.broker.stats()[counter] - before[counter] == TIMES
        lines = [text for text in warnings(caplog) if "still runs" not in text]
        # A channel is an incident of its own; the rest is what one renderer does again and again.
        assert len(lines) == (0 if line is None else TIMES if counter == "broken_ports" else 1)
        assert all(line is not None and re.fullmatch(line, text) for text in lines)


def explained(heading: str) -> set[str]:
    """Return the words in code quotes behind a heading of the guide."""
    page = GUIDE.read_text(encoding="utf-8")
    section = page[page.index(heading) :].split("\n## ", 2)[0]
    return set(re.findall(r"`([a-z_]+)`", section))


async def test_every_counter_is_explained(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        words = explained("## Counters")
        assert set(bus.broker.stats()) <= words
        assert set(renderer.stats()) <= words


async def test_a_renderer_counts_what_has_been_lost_or_late(address: str) -> None:
    async with Bus(address) as bus, raw(address) as other:
        bus.ipc_main.handle("wait", lambda event: asyncio.Event().wait())
        renderer = await bus.renderer()
        renderer.on("c", print, senders="any")
        renderer.send_to(99, "c")
        other.write(Packet(wire.SEND, peer=renderer.id, channel=b"c", body=b"\xff"))
        with pytest.raises(mainbus.InvokeTimeout):
            await renderer.invoke("wait", timeout=0.001)
        await until(lambda: renderer.stats()["gaps"])
        expected = {"undeliverable": 1, "message_errors": 1, "timeouts": 1, "gaps": 1, "reconnects": 0, "pauses": 0}
        assert renderer.stats() | expected == renderer.stats()
