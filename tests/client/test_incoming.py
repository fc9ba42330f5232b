"""Incoming: what `listen` returns, its order when it is full, and its end."""

import asyncio
import gc
import threading
from typing import Any

import mainbus
import pytest
from mainbus.incoming import Incoming, Mailbox
from mainbus_broker import WebContents

from tests.support.bus import Bus, Calls, until, within


def iterator(mailbox: Mailbox) -> Incoming:
    return Incoming(mailbox, lambda call: None)


async def take(mailbox: Mailbox) -> Any:
    return (await within(anext(iterator(mailbox))))[0]


async def test_messages_are_taken_in_order() -> None:
    mailbox = Mailbox(10)
    for number in range(3):
        assert mailbox.put(number) is None
    assert [await take(mailbox) for _ in range(3)] == [0, 1, 2]


async def test_who_takes_first_waits_for_the_message() -> None:
    mailbox = Mailbox(10)
    taking = asyncio.create_task(take(mailbox))
    await asyncio.sleep(0)
    assert mailbox.put(5) is None
    assert await taking == 5


@pytest.mark.contract("3.9")
async def test_a_full_one_lets_the_sender_wait() -> None:
    mailbox = Mailbox(2)
    assert mailbox.put(0) is None
    assert mailbox.put(1) is None
    waiting = mailbox.put(2)
    assert not waiting.done()
    assert await take(mailbox) == 0
    await within(waiting)
    assert [await take(mailbox), await take(mailbox)] == [1, 2]


@pytest.mark.contract("3.9", "2.19")
async def test_nothing_passes_what_waits_for_room() -> None:
    mailbox = Mailbox(1)
    mailbox.put(0)
    waiting = asyncio.ensure_future(mailbox.put(1))
    assert await take(mailbox) == 0
    # There was room for a moment; what comes now is behind what has waited.
    later = mailbox.put(2)
    assert [await take(mailbox), await take(mailbox)] == [1, 2]
    await within(waiting)
    if later is not None:
        await within(later)


@pytest.mark.contract("3.9")
async def test_the_end_leaves_what_waits_to_be_taken() -> None:
    mailbox = Mailbox(1)
    mailbox.put(0)
    waiting = mailbox.put(1)
    mailbox.close()
    await within(waiting)
    assert [message[0] async for message in iterator(mailbox)] == [0, 1]


async def test_the_end_reaches_who_takes() -> None:
    mailbox = Mailbox(1)
    taking = asyncio.create_task(take(mailbox))
    await asyncio.sleep(0)
    await iterator(mailbox).aclose()
    with pytest.raises(StopAsyncIteration):
        await taking
    with pytest.raises(StopAsyncIteration):
        await anext(iterator(mailbox))


async def test_two_may_not_take_at_a_time() -> None:
    mailbox = Mailbox(1)
    taking = asyncio.create_task(take(mailbox))
    await asyncio.sleep(0)
    with pytest.raises(mainbus.LocalProtocolError, match="one task at a time"):
        await anext(iterator(mailbox))
    mailbox.put(1)
    assert await taking == 1


async def test_a_taker_that_is_cancelled_loses_nothing() -> None:
    mailbox = Mailbox(1)
    taking = asyncio.create_task(take(mailbox))
    await asyncio.sleep(0)
    mailbox.put(1)
    taking.cancel()
    await asyncio.wait([taking])
    if taking.cancelled():
        assert await take(mailbox) == 1
    mailbox.put(2)
    assert await take(mailbox) == 2


def test_it_needs_room_for_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Mailbox(0)


async def test_one_that_is_closed_takes_nothing_and_holds_nobody_up() -> None:
    mailbox = Mailbox(1)
    mailbox.put(0)
    mailbox.close()
    assert mailbox.put(1) is None
    assert [message[0] async for message in iterator(mailbox)] == [0]


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
            taking = asyncio.ensure_future(anext(incoming))
            await bus.served(renderer)
        with pytest.raises(StopAsyncIteration):
            await within(taking)
        assert [message async for message in incoming] == []


# Left without aclose.


async def flood(bus: Bus, contents: WebContents, heard: Calls) -> None:
    """Send more than any queue takes; every one of them must reach the other listener."""
    for number in range(3_000):
        contents.send("item", number, b"x" * 1024)
    await heard.wait(3_000)


async def break_off(renderer: mainbus.IpcRenderer, contents: WebContents) -> None:
    contents.send("item", 0, b"")
    async for event, number, _ in renderer.listen("item", max_queue=2):
        assert (event.channel, number) == ("item", 0)
        break


@pytest.mark.contract("3.9")
async def test_after_a_bare_break_it_listens_no_longer_and_holds_nobody_up(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Calls()
        await within(break_off(renderer, bus.contents(renderer)))
        await until(lambda: not renderer.listener_count("item"))
        renderer.on("item", heard)
        await flood(bus, bus.contents(renderer), heard)


@pytest.mark.contract("3.9")
async def test_one_that_is_dropped_while_it_is_full_lets_its_senders_go_on(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Calls()
        contents = bus.contents(renderer)
        incoming = renderer.listen("item", max_queue=2)
        renderer.on("item", heard)
        flooding = asyncio.ensure_future(flood(bus, contents, heard))
        await until(lambda: contents._peer.route.paused)
        del incoming
        await within(flooding)
        assert renderer.listener_count("item") == 1


@pytest.mark.contract("3.9", "3.13")
async def test_it_may_be_dropped_in_any_thread(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        held = [renderer.listen("item")]
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        await until(lambda: not renderer.listener_count("item"))


@pytest.mark.contract("3.9")
async def test_one_in_a_cycle_with_its_renderer_can_be_collected(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()

        class Application:
            def __init__(self) -> None:
                self.messages = renderer.listen("item")

        app = Application()
        app.itself = app  # type: ignore[attr-defined]
        del app
        gc.collect()
        await until(lambda: not renderer.listener_count("item"))


@pytest.mark.contract("3.9")
async def test_it_may_be_dropped_before_there_is_a_connection_and_after_it(address: str) -> None:
    async with Bus(address):
        renderer = mainbus.connect(address)
        renderer.listen("item")
        assert not renderer.listener_count("item")
        incoming = renderer.listen("item")
        async with renderer:
            assert renderer.listener_count("item") == 1
        del incoming
