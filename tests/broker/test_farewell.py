"""The last moments of a connection: what was sent before the goodbye arrives, whatever its renderer writes then."""

import asyncio
import time

import pytest
from mainbus import IpcRenderer
from mainbus_broker import Broker, farewell

from tests.support.bus import Bus, Calls, in_thread, stop_reading, until, within
from tests.support.raw import GOODBYE, SEND, Packet, args, raw

PENDING = 10


@pytest.fixture(params=["unix", "memory"])
def place(request: pytest.FixtureRequest, address: str) -> str:
    return address if request.param == "unix" else f"memory:{address}"


async def chatter(renderer: IpcRenderer) -> None:
    """Write in every turn of the loop, until the connection is gone."""
    while renderer.is_connected:
        renderer.send("noise", "x" * 100)
        await asyncio.sleep(0)


async def ask(renderer: IpcRenderer) -> list[object]:
    """Invoke, and write until the end; returns the answers."""
    replies = [renderer.invoke("x", number) for number in range(PENDING)]
    await chatter(renderer)
    return await asyncio.gather(*replies, return_exceptions=True)


async def stop_under_way(place: str) -> list[object]:
    """Stop a broker while a renderer on another thread writes all the time and waits for answers; returns those."""
    broker, release, begun = Broker(place), asyncio.Event(), Calls()

    async def handler(event: object, number: int) -> int:
        begun(event)
        await release.wait()
        return number

    broker.ipc_main.handle("x", handler)
    await broker.start()
    asking = asyncio.ensure_future(in_thread(place, ask, reconnect=False))
    await begun.wait(PENDING)
    stopping = asyncio.ensure_future(broker.stop(drain=1000))
    await asyncio.sleep(0)
    release.set()
    answers: list[object] = await asking
    await within(stopping)
    return answers


@pytest.mark.contract("9.8")
async def test_a_renderer_that_writes_all_the_time_gets_every_answer_of_a_broker_that_stops(place: str) -> None:
    for _ in range(20):
        assert await stop_under_way(place) == list(range(PENDING))


@pytest.mark.contract("9.8")
async def test_one_that_is_closed_gets_what_was_sent_to_it_and_the_reason(address: str) -> None:
    for _ in range(20):
        async with Bus(address) as bus:
            renderer = await bus.renderer(reconnect=False)
            heard, told = Calls(), Calls()
            renderer.on("x", heard)
            renderer.events.on("disconnected", told)
            writing = asyncio.ensure_future(chatter(renderer))
            contents = bus.contents(renderer)
            contents.send("x", 0)
            await heard.wait()
            contents.send("x", 1)
            contents.close("enough")
            assert await told.wait() == ("enough",)
            assert heard.args == [(0,), (1,)]
            await within(writing)


@pytest.mark.contract("9.8")
async def test_one_that_says_nothing_and_does_not_read_holds_up_the_end_for_its_bounded_time_only(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "LINGER", 0.01)
    async with Bus(address) as bus:
        renderer = await bus.renderer(reconnect=False)
        contents = bus.contents(renderer)
        transport = stop_reading(renderer)
        for _ in range(40):
            contents.send("x", "x" * 100_000)
        began = time.monotonic()
        await within(bus.broker.stop(drain=0))
        assert time.monotonic() - began < farewell.LINGER + 5
        assert not bus.hub.leaving
        transport.resume_reading()


@pytest.mark.contract("9.8")
async def test_its_end_is_waited_for_where_it_comes_in_time(address: str) -> None:
    async with Bus(address) as bus, raw(address) as stranger:
        stopping = asyncio.ensure_future(bus.broker.stop(drain=0))
        assert [packet.kind for packet in await stranger.rest()][-1:] == [GOODBYE]
        # It has the goodbye, and the broker's half is shut; what it says now is read and dropped.
        stranger.write(*[Packet(SEND, channel=b"x", body=b"\x80")] * 1000)
        await stranger.writer.drain()
        assert not stopping.done()
        await stranger.close()
        await within(stopping)
        assert not bus.hub.leaving


@pytest.mark.contract("9.8")
@pytest.mark.parametrize("begun_at", ["its end", "an earlier turn's end"])
async def test_one_that_is_closed_as_something_large_comes_is_waited_for_as_others(
    begun_at: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "LINGER", 0.01)
    async with Bus(address) as bus, raw(address) as stranger:
        bus.ipc_main.on("last", lambda event, value: event.sender.close())
        bus.ipc_main.on("small", lambda event, value: None)
        large = Packet(SEND, channel=b"last", body=args("x" * 100_000)).encode()
        small = [Packet(SEND, channel=b"small", body=args("x" * 100))] * 1000
        if begun_at == "its end":
            stranger.write(small[0], large, large[:30])
        else:
            stranger.write(*small, large[:30])
            await until(lambda: bus._peers[0].wire.received > len(small))
            stranger.write(large[30:])
        await stranger.next(GOODBYE)
        await stranger.close()
        await until(lambda: not bus.hub.leaving)
