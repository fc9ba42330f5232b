"""What a renderer that obeys nobody can make the broker remember, and that others notice nothing of it."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from itertools import count, islice
from typing import Any

import cbor2
import pytest
from mainbus import BadMessage, ReplyNeverSent, TooManyRequests
from mainbus_broker import Config, Limits

from tests.support import bare
from tests.support import raw as wire
from tests.support.bus import PATIENCE, Bus, Calls, until
from tests.support.bystanders import bystanders, warnings
from tests.support.raw import Packet, Raw, args, raw

pytestmark = pytest.mark.contract("8.6")

KIB = 1024
LARGE = bytes(64 * KIB)
FULL = Limits(backlog=1024 * KIB, hard=1024 * KIB)


def stop_reading(renderer: Raw) -> None:
    """Leave in the socket what the broker writes."""
    renderer.writer.transport.pause_reading()  # type: ignore[attr-defined]


async def lane_of(address: str, owner: Raw) -> Raw:
    """Open a lane of a renderer."""
    lane = Raw(*await bare.connect(address))
    lane.write(Packet(wire.LANE, body=cbor2.dumps({"id": owner.id, "nonce": owner.welcome["lane"]})))
    await lane.next(wire.LANE)
    return lane


async def goes(bus: Bus, renderer: Raw, write: Callable[[], None]) -> None:
    """Write over and over again, until the broker has closed a renderer."""
    async with asyncio.timeout(PATIENCE):
        while renderer.id in bus.hub.renderers.ids:
            write()
            await asyncio.sleep(0)


async def is_closed_as_slow(bus: Bus, renderer: Raw, packet: Packet) -> None:
    """Send over and over again what is answered; the answers are not read, and that ends."""
    stop_reading(renderer)
    requests = count(1)
    await goes(bus, renderer, lambda: renderer.write(*[packet._replace(request=next(requests)) for _ in range(16)]))
    assert bus.broker.stats()["slow_consumers"] == 1


@pytest.mark.parametrize(
    "packet",
    [
        Packet(wire.INVOKE, channel=b"large", body=args()),
        Packet(wire.INVOKE, name=b"nobody", channel=b"c" * 255, flags=wire.BY_NAME, body=args()),
        Packet(wire.SEND, name=b"nobody", channel=b"c" * 255, flags=wire.BY_NAME, body=args()),
        Packet(wire.QUERY, channel=b"status", body=args()),
        Packet(wire.WHO, peer=1),
    ],
    ids=["results", "errors", "notices", "queries", "names"],
)
async def test_answers_that_nobody_reads(address: str, packet: Packet) -> None:
    async with Bus(address, config=Config(limits=FULL)) as bus, bystanders(bus), raw(address) as hog:
        bus.ipc_main.handle("large", lambda event: LARGE)
        await is_closed_as_slow(bus, hog, packet)


async def test_answers_of_another_renderer_that_nobody_reads(address: str) -> None:
    async with Bus(address, config=Config(limits=FULL)) as bus, bystanders(bus), raw(address) as hog:
        (await bus.renderer("answers")).handle("large", lambda event: LARGE, senders="any")
        await is_closed_as_slow(
            bus, hog, Packet(wire.INVOKE, name=b"answers", channel=b"large", flags=wire.BY_NAME, body=args())
        )


async def test_a_busy_renderer_that_reads_is_no_slow_one(address: str) -> None:
    async with Bus(address, config=Config(limits=FULL)) as bus:
        bus.ipc_main.handle("large", lambda event: LARGE)
        renderer = await bus.renderer()
        for _ in range(40):
            assert await renderer.invoke("large") == LARGE
        assert bus.broker.stats()["slow_consumers"] == 0
        assert bus.peer(renderer).unread <= FULL.backlog + 2 * len(LARGE)


async def test_messages_that_are_never_finished(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Bus(address, config=Config(limits=Limits(unfinished=3))) as bus, bystanders(bus), raw(address) as hog:
        for number in range(7):
            name = b"nobody %d" % number
            hog.write(Packet(wire.SEND, flags=wire.MORE | wire.BY_NAME, name=name, channel=b"c", body=b"x"))
        *_, goodbye = await hog.rest()
        assert goodbye.kind == wire.GOODBYE
        assert warnings(caplog)[-1].endswith("more than 3 messages that are not finished")
        assert len(bus.hub.renderers) == 2


async def test_a_body_that_is_deeper_than_the_broker_takes(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Bus(address, config=Config(limits=Limits(depth=4))) as bus, bystanders(bus), raw(address) as hog:
        heard = Calls()
        bus.ipc_main.handle("c", heard)
        hog.write(Packet(wire.INVOKE, request=1, channel=b"c", body=args([[[1]]])))
        await hog.next(wire.RESULT)
        hog.write(Packet(wire.INVOKE, request=2, channel=b"c", body=args([[[[1]]]])))
        assert (await hog.next(wire.ERROR)).value == BadMessage.wire_code
        await hog.next(wire.GOODBYE)
        assert len(heard.calls) == 1
        assert warnings(caplog)[-1].endswith("The nesting depth exceeds the limit of 4")


async def test_calls_that_block_are_for_the_main_process(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address) as hog:
        hog.write(Packet(wire.SYNC, flags=wire.MORE, peer=77, request=1, channel=b"c", body=b"x"))
        *_, goodbye = await hog.rest()
        assert goodbye.kind == wire.GOODBYE
        assert warnings(caplog)[-1].endswith("a SYNC that is not for the main process")


async def test_calls_that_block_and_are_not_answered(address: str) -> None:
    kept: list[Any] = []
    async with Bus(address, config=Config(limits=Limits(pending=3))) as bus, bystanders(bus), raw(address) as hog:
        bus.ipc_main.on("c", lambda event: kept.append(event))
        lane = await lane_of(address, hog)
        lane.write(*(Packet(wire.SYNC, request=number, channel=b"c", body=args()) for number in range(1, 5)))
        error = await lane.next(wire.ERROR)
        assert (error.request, error.value) == (4, TooManyRequests.wire_code)
        assert error.said == "The number of pending requests exceeds the limit of 3"
        assert len(kept) == 3
        await lane.close()
        kept.clear()


async def test_calls_that_block_and_wait_without_a_lane(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Bus(address, config=Config(limits=FULL)) as bus, bystanders(bus), raw(address) as hog:
        heard = Calls()
        bus.ipc_main.on("c", heard)
        # As while all workers are busy with what runs in threads.
        bus.hub.renderers.ids[hog.id].inbox.hold()
        await goes(bus, hog, lambda: hog.write(Packet(wire.SYNC, request=1, channel=b"c", body=args(LARGE))))
        assert "that no pause holds back wait for the main process" in warnings(caplog)[-1]
        assert heard.calls == []


async def test_answers_on_a_lane_that_nobody_reads(address: str) -> None:
    async with Bus(address, config=Config(limits=FULL)) as bus, bystanders(bus), raw(address) as hog:

        def answer(event: Any) -> None:
            event.return_value = LARGE

        bus.ipc_main.on("c", answer)
        lane = await lane_of(address, hog)
        stop_reading(lane)
        requests = count(1)
        await goes(bus, hog, lambda: lane.write(Packet(wire.SYNC, request=next(requests), channel=b"c", body=args())))
        assert bus.broker.stats()["slow_consumers"] == 1
        await lane.close()


async def test_a_goodbye_that_is_not_read(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(connections=3))) as bus, bystanders(bus), raw(address) as hog:
        bus.ipc_main.handle("large", lambda event: bytes(1024 * KIB))
        stop_reading(hog)
        hog.write(*(Packet(wire.INVOKE, request=number, channel=b"large", body=args()) for number in range(1, 5)))
        await until(lambda: bus.hub.renderers.ids[hog.id].outbox.size)
        hog.write(Packet(wire.GOODBYE))
        await until(lambda: hog.id not in bus.hub.renderers.ids)
        # Its connection still counts, and has its time.
        assert len(bus.hub.leaving) == 1
        async with raw(address, hello=False) as another:
            assert (await another.hello()).value == TooManyRequests.wire_code
        await until(lambda: not bus.hub.leaving)
        assert (await bus.renderer()).is_connected


async def cancels(bus: Bus, hog: Raw, deaf: Raw) -> Callable[[], None]:
    """Return what invokes a renderer and cancels it again, each time it is called."""
    requests = count(1)

    def cancel() -> None:
        for request in islice(requests, 100):
            hog.write(
                Packet(wire.INVOKE, request=request, peer=deaf.id, channel=b"c", body=args()),
                Packet(wire.CANCEL, request=request, peer=deaf.id),
            )

    return cancel


async def credit_for_items(bus: Bus, hog: Raw, deaf: Raw) -> Callable[[], None]:
    """Return what gives a renderer credit for items of a stream, byte by byte."""
    hog.write(Packet(wire.STREAM, request=1, peer=deaf.id, channel=b"c", body=args()))
    await deaf.next(wire.STREAM)
    deaf.write(Packet(wire.ITEM, request=1, peer=hog.id, body=args(LARGE)))
    await hog.next(wire.ITEM)
    return lambda: hog.write(*[Packet(wire.DEMAND, request=1, peer=deaf.id, value=1)] * 1000)


async def credit_on_a_port(bus: Bus, hog: Raw, deaf: Raw) -> Callable[[], None]:
    """Return what gives a renderer credit for what it has posted, byte by byte."""
    contents = bus.broker.web_contents.from_id(deaf.id)
    assert contents is not None
    bus.ipc_main.on("port", lambda event, _: contents.post_message("port", None, event.ports))
    hog.write(Packet(wire.POST, value=1, channel=b"port", body=struct.pack(">II", 1, 3) + args(None)))
    [number] = struct.unpack_from(">I", (await deaf.next(wire.POST)).body)
    deaf.write(Packet(wire.PORT_MESSAGE, peer=number, body=args(LARGE)))
    await hog.next(wire.PORT_MESSAGE)
    return lambda: hog.write(*[Packet(wire.PORT_CREDIT, peer=3, value=1)] * 1000)


@pytest.mark.parametrize("notices", [cancels, credit_for_items, credit_on_a_port])
async def test_notices_to_a_renderer_that_does_not_read(
    notices: Callable[[Bus, Raw, Raw], Awaitable[Callable[[], None]]],
    address: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = Config(limits=Limits(backlog=64 * KIB, high=64 * KIB * KIB, pending=1_000_000))
    async with Bus(address, config=config) as bus, bystanders(bus), raw(address, "deaf") as deaf, raw(address) as hog:
        notify = await notices(bus, hog, deaf)
        stop_reading(deaf)
        await goes(bus, hog, notify)
        assert warnings(caplog)[-1].endswith(f"{bus.hub.renderers.names['deaf'].label}, which does not read")
        assert deaf.id in bus.hub.renderers.ids


async def test_a_renderer_that_answers_no_invoke(address: str) -> None:
    config = Config(limits=Limits(pending=3))
    async with Bus(address, config=config) as bus, bystanders(bus), raw(address, "mute"):
        contents = bus.broker.web_contents.from_name("mute")
        assert contents is not None
        replies = [contents.invoke("x") for _ in range(3)]
        with pytest.raises(TooManyRequests, match="The number of pending requests exceeds the limit of 3"):
            _ = contents.invoke("x")
        contents.close("tested")
        for reply in replies:
            with pytest.raises(ReplyNeverSent):
                await reply
