"""Incoming: what `listen` returns, its order when it is full, and its end."""

import asyncio
from typing import Any

import mainbus
import pytest
from mainbus.incoming import Incoming

from tests.support.bus import Bus, until, within


async def take(incoming: Incoming) -> Any:
    return (await within(anext(incoming)))[0]


async def test_messages_are_taken_in_order() -> None:
    incoming = Incoming(10)
    for number in range(3):
        assert incoming.put(number) is None
    assert [await take(incoming) for _ in range(3)] == [0, 1, 2]


async def test_who_takes_first_waits_for_the_message() -> None:
    incoming = Incoming(10)
    taking = asyncio.create_task(take(incoming))
    await asyncio.sleep(0)
    assert incoming.put(5) is None
    assert await taking == 5


@pytest.mark.contract("3.9")
async def test_a_full_one_lets_the_sender_wait() -> None:
    incoming = Incoming(2)
    assert incoming.put(0) is None
    assert incoming.put(1) is None
    waiting = incoming.put(2)
    assert not waiting.done()
    assert await take(incoming) == 0
    await within(waiting)
    assert [await take(incoming), await take(incoming)] == [1, 2]


@pytest.mark.contract("3.9", "2.19")
async def test_nothing_passes_what_waits_for_room() -> None:
    incoming = Incoming(1)
    incoming.put(0)
    waiting = asyncio.ensure_future(incoming.put(1))
    assert await take(incoming) == 0
    # There was room for a moment; what comes now is behind what has waited.
    later = incoming.put(2)
    assert [await take(incoming), await take(incoming)] == [1, 2]
    await within(waiting)
    if later is not None:
        await within(later)


@pytest.mark.contract("3.9")
async def test_the_end_leaves_what_waits_to_be_taken() -> None:
    incoming = Incoming(1)
    incoming.put(0)
    waiting = incoming.put(1)
    incoming.close()
    await within(waiting)
    assert [message[0] async for message in incoming] == [0, 1]


async def test_the_end_reaches_who_takes() -> None:
    incoming = Incoming(1)
    taking = asyncio.create_task(take(incoming))
    await asyncio.sleep(0)
    await incoming.aclose()
    with pytest.raises(StopAsyncIteration):
        await taking
    with pytest.raises(StopAsyncIteration):
        await anext(incoming)


async def test_two_may_not_take_at_a_time() -> None:
    incoming = Incoming(1)
    taking = asyncio.create_task(take(incoming))
    await asyncio.sleep(0)
    with pytest.raises(mainbus.LocalProtocolError, match="one task at a time"):
        await anext(incoming)
    incoming.put(1)
    assert await taking == 1


async def test_a_taker_that_is_cancelled_loses_nothing() -> None:
    incoming = Incoming(1)
    taking = asyncio.create_task(take(incoming))
    await asyncio.sleep(0)
    incoming.put(1)
    taking.cancel()
    await asyncio.wait([taking])
    if taking.cancelled():
        assert await take(incoming) == 1
    incoming.put(2)
    assert await take(incoming) == 2


def test_it_needs_room_for_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Incoming(0)


# As `listen` uses it.


@pytest.mark.contract("3.9", "2.19", "9.1")
async def test_listen_slows_its_sender_down_and_drops_nothing(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        contents, count = bus.contents(renderer), 2_000
        incoming = renderer.listen("item", max_queue=3)
        for number in range(count):
            contents.send("item", number, b"x" * 4096)
        await until(lambda: contents._peer.route.paused)
        got = []
        async for event, number, _ in incoming:
            assert event.channel == "item"
            got.append(number)
            if number == count - 1:
                break
        assert got == list(range(count))
        await within(contents.drain())


@pytest.mark.contract("3.9")
async def test_listen_hears_every_message_from_its_call_on(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        contents = bus.contents(renderer)
        contents.send("item", 0)
        await bus.reached(renderer)
        incoming = renderer.listen("item")
        contents.send("item", 1)
        contents.send("item", 2)
        assert [(await within(anext(incoming)))[1:] for _ in range(2)] == [(1,), (2,)]


@pytest.mark.contract("3.9", "3.2")
async def test_listen_takes_the_senders_it_is_told(address: str) -> None:
    async with Bus(address) as bus:
        left, right = await bus.renderer("left"), await bus.renderer("right")
        from_main, from_renderers = right.listen("item"), right.listen("item", senders="renderers")
        left.send_to("right", "item", "renderer")
        bus.contents(right).send("item", "main")
        assert (await within(anext(from_main)))[1] == "main"
        event, value = await within(anext(from_renderers))
        assert (event.sender_id, event.sender_name, value) == (left.id, "left", "renderer")


@pytest.mark.contract("3.9", "3.10")
async def test_listen_ends_with_the_renderer(address: str) -> None:
    async with Bus(address) as bus:
        async with mainbus.connect(address) as renderer:
            incoming = renderer.listen("item")
            taking = asyncio.create_task(take(incoming))  # type: ignore[arg-type]
            await bus.served(renderer)
        with pytest.raises(StopAsyncIteration):
            await within(taking)
        assert [message async for message in incoming] == []
