"""Pauses: who is asked to hold what for whom, when it may go on, and who breaks that."""

import asyncio

import pytest
from mainbus import IpcRenderer
from mainbus.wire.packets import MAIN, Kind, build
from mainbus_broker import Config, Limits
from mainbus_broker.flow import INBOX, QUEUE, Pause

from tests.support.bus import Bus, Calls, until, within

LIMITS = Limits(low=20_000, high=100_000, hard=10_000_000, overrun=200_000, stall_timeout=1000)
CONFIG = Config(limits=LIMITS)
PIECE = "x" * 10_000


def transport(renderer: IpcRenderer) -> asyncio.Transport:
    assert renderer._session is not None
    assert renderer._session.link is not None
    assert renderer._session.link.transport is not None
    return renderer._session.link.transport


def inject(renderer: IpcRenderer, *packets: bytes) -> None:
    """Write packets past all that the client checks and counts."""
    assert renderer._session is not None
    for packet in packets:
        renderer._session.outbox.put(packet)


def pauses(bus: Bus, target: IpcRenderer) -> dict[int, Pause]:
    """Return who was asked to send nothing to a renderer."""
    return bus.peer(target).pausing or {}


def is_paused(source: IpcRenderer, target: IpcRenderer) -> bool:
    """Tell whether a renderer holds what it has for another one."""
    assert source._session is not None
    route = source._session.routes.get(target.id)
    return route is not None and route.paused


async def fill(bus: Bus, source: IpcRenderer, target: IpcRenderer) -> int:
    """Send to a renderer that reads nothing until the sender is paused; returns how many were sent."""
    transport(target).pause_reading()
    sent = 0
    async with asyncio.timeout(10):
        while not is_paused(source, target):
            source.send_to(target.id, "x", sent, PIECE)
            sent += 1
            await asyncio.sleep(0)
    return sent


async def acknowledged(bus: Bus, source: IpcRenderer, target: IpcRenderer) -> None:
    await bus.served(source)
    assert pauses(bus, target)[source.id].acknowledged


@pytest.mark.contract("9.2")
async def test_over_the_high_water_mark_the_sender_holds_and_goes_on_at_the_low_one(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, target, heard = await bus.renderer(), await bus.renderer(), Calls()
        target.on("x", heard, senders="any")
        sent = await fill(bus, source, target)
        await acknowledged(bus, source, target)
        assert bus.peer(target).outbox.queued > LIMITS.high
        assert pauses(bus, target)[source.id].reasons == QUEUE
        before = bus.peer(target).outbox.queued
        for number in range(sent, sent + 20):
            source.send_to(target.id, "x", number, PIECE)
        await bus.served(source)
        assert bus.peer(target).outbox.queued == before
        assert source.stats()["held"] > 20 * len(PIECE)
        transport(target).resume_reading()
        await heard.wait(sent + 20)
        assert [number for number, _ in heard.args] == list(range(sent + 20))
        # A pipe tells a moment after its other end has read that what it had is gone.
        await until(lambda: not pauses(bus, target) and not is_paused(source, target))
        assert bus.broker.stats()["overruns"] == 0


@pytest.mark.contract("9.2")
async def test_only_those_that_add_to_a_full_queue_are_paused(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, other, target = await bus.renderer(), await bus.renderer(), await bus.renderer()
        heard = Calls()
        other.on("x", heard, senders="any")
        await fill(bus, source, target)
        assert list(pauses(bus, target)) == [source.id]
        # Towards others, and to the main process, the paused one goes on; so do replies.
        source.send_to(other.id, "x", 1)
        await heard.wait()
        source.handle("x", lambda event: "answered", senders="any")
        assert await within(other.invoke_to(source.id, "x")) == "answered"
        assert await within(bus.contents(source).invoke("x")) == "answered"
        # One more that adds is paused too.
        other.send_to(target.id, "x", PIECE)
        await until(lambda: is_paused(other, target))
        assert set(pauses(bus, target)) == {source.id, other.id}
        transport(target).resume_reading()
        await until(lambda: not pauses(bus, target))
        await until(lambda: not is_paused(other, target) and not is_paused(source, target))


@pytest.mark.contract("9.2")
async def test_drain_waits_for_the_target_and_for_no_other(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, other, target = await bus.renderer(), await bus.renderer(), await bus.renderer()
        await fill(bus, source, target)
        source.send_to(other.id, "x")
        source.send_to(target.id, "x")
        await within(source.drain(other.id))
        draining = asyncio.ensure_future(source.drain(target.id))
        await bus.served(source)
        assert not draining.done()
        transport(target).resume_reading()
        await within(draining)


@pytest.mark.contract("9.2")
async def test_a_broadcast_that_adds_to_a_full_queue_is_held_as_well(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, other, target, heard = await bus.renderer(), await bus.renderer(), await bus.renderer(), Calls()
        other.on("x", heard, senders="any")
        await fill(bus, source, target)
        assert not pauses(bus, target)[source.id].broadcasts
        source.broadcast("x", 1, PIECE)
        await until(lambda: pauses(bus, target)[source.id].broadcasts)
        await acknowledged(bus, source, target)
        source.broadcast("x", 2)
        await bus.served(source)
        await bus.reached(other)
        assert [number for number, *_ in heard.args] == [1]
        transport(target).resume_reading()
        await heard.wait(2)


@pytest.mark.contract("9.2")
async def test_one_that_overruns_its_pause_is_closed_by_name_and_its_target_stays(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, target, told = await bus.renderer("pusher", reconnect=False), await bus.renderer("target"), Calls()
        source.events.on("disconnected", told)
        await fill(bus, source, target)
        await acknowledged(bus, source, target)
        inject(source, build(Kind.SEND, target.id, 0, b"\x80", channel=b"x"))
        (reason,) = await told.wait()
        assert "although it was asked to pause" in reason
        assert "(target)" in reason
        assert bus.broker.stats()["overruns"] == 1
        assert not pauses(bus, target)
        transport(target).resume_reading()
        await bus.served(target)


@pytest.mark.contract("9.2")
async def test_what_is_under_way_before_the_acknowledgement_is_bounded_too(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, target, told = await bus.renderer(reconnect=False), await bus.renderer(), Calls()
        source.events.on("disconnected", told)
        transport(target).pause_reading()
        # One that never acknowledges.
        transport(source).pause_reading()
        packet = build(Kind.SEND, target.id, 0, b"\x81\x59\x27\x10" + b"x" * 10_000, channel=b"x")
        peer, sent = bus.peer(source), 0
        async with asyncio.timeout(10):
            while not peer.closing:
                inject(source, packet)
                sent += len(packet)
                await asyncio.sleep(0)
                assert bus.peer(target).outbox.queued < LIMITS.high + LIMITS.overrun + 100_000
        assert sent > LIMITS.high + LIMITS.overrun
        transport(source).resume_reading()
        (reason,) = await told.wait()
        assert "although it was asked to pause" in reason
        transport(target).resume_reading()


@pytest.mark.contract("9.2")
async def test_an_acknowledgement_of_an_earlier_pause_counts_for_nothing(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, target = await bus.renderer(), await bus.renderer()
        await fill(bus, source, target)
        pause = pauses(bus, target)[source.id]
        await acknowledged(bus, source, target)
        pause.acknowledged = False
        inject(source, build(Kind.PAUSED, target.id, pause.serial + 1), build(Kind.PAUSED, 99, pause.serial))
        inject(source, build(Kind.PAUSED, MAIN, pause.serial))
        await bus.served(source)
        assert not pause.acknowledged
        inject(source, build(Kind.PAUSED, target.id, pause.serial))
        await bus.served(source)
        assert pause.acknowledged
        transport(target).resume_reading()
        await until(lambda: not is_paused(source, target))


@pytest.mark.contract("9.2")
async def test_a_target_may_ask_for_a_pause_itself(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, stranger, target, heard = await bus.renderer(), await bus.renderer(), await bus.renderer(), Calls()
        target.on("x", heard, senders="any")
        source.send_to(target.id, "x", 1)
        await heard.wait()
        inject(target, build(Kind.PAUSE, source.id))
        await until(lambda: is_paused(source, target))
        assert pauses(bus, target)[source.id].reasons == INBOX
        source.send_to(target.id, "x", 2)
        await bus.served(source)
        assert len(heard.calls) == 1
        # One that never sent it anything is none of its business.
        inject(target, build(Kind.PAUSE, stranger.id), build(Kind.PAUSE, 99), build(Kind.RESUME, 99))
        await bus.served(target)
        assert list(pauses(bus, target)) == [source.id]
        inject(target, build(Kind.RESUME, source.id))
        await heard.wait(2)
        assert not pauses(bus, target)


@pytest.mark.contract("9.2")
async def test_a_pause_for_two_reasons_ends_with_the_second(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, target = await bus.renderer(), await bus.renderer()
        await fill(bus, source, target)
        inject(target, build(Kind.PAUSE, source.id))
        await until(lambda: pauses(bus, target)[source.id].reasons == QUEUE | INBOX)
        transport(target).resume_reading()
        await until(lambda: pauses(bus, target)[source.id].reasons == INBOX)
        assert is_paused(source, target)
        inject(target, build(Kind.RESUME, source.id))
        await until(lambda: not is_paused(source, target))
        assert not pauses(bus, target)


@pytest.mark.contract("9.2", "9.3")
async def test_a_renderer_may_pause_the_main_process(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        renderer, heard = await bus.renderer(), Calls()
        contents = bus.contents(renderer)
        renderer.on("x", heard)
        inject(renderer, build(Kind.PAUSE, MAIN))
        await bus.served(renderer)
        contents.send("x", 1)
        draining = asyncio.ensure_future(contents.drain())
        await bus.served(renderer)
        assert heard.calls == []
        assert not draining.done()
        assert contents.queued > 0
        inject(renderer, build(Kind.RESUME, MAIN))
        await heard.wait()
        await within(draining)


@pytest.mark.contract("9.2")
async def test_a_main_process_that_does_not_keep_up_pauses_the_sender(address: str) -> None:
    limits = Limits(low=20_000, high=100_000, overrun=200_000, running=1)
    async with Bus(address, config=Config(limits=limits)) as bus:
        source, other, release, heard = await bus.renderer(), await bus.renderer(), asyncio.Event(), Calls()

        async def busy(event: object) -> None:
            await release.wait()

        bus.ipc_main.on("busy", busy)
        bus.ipc_main.on("x", heard)
        source.send("busy")
        assert source._session is not None
        sent = 0
        async with asyncio.timeout(10):
            while not source._session.main.paused:
                source.send("x", sent, PIECE)
                sent += 1
                await asyncio.sleep(0)
        for number in range(sent, sent + 20):
            source.send("x", number, PIECE)
        # A reply to the main process, and everybody else, go on.
        source.handle("x", lambda event: "answered")
        assert await within(bus.contents(source).invoke("x")) == "answered"
        await bus.served(other)
        assert bus.peer(source).inbox.size < limits.high + limits.overrun
        release.set()
        await heard.wait(sent + 20)
        assert [number for number, _ in heard.args] == list(range(sent + 20))
        assert not source._session.main.paused
        assert bus.broker.stats()["overruns"] == 0


@pytest.mark.contract("9.2")
async def test_one_that_overruns_the_main_process_is_closed(address: str) -> None:
    limits = Limits(low=20_000, high=100_000, overrun=200_000, running=1)
    async with Bus(address, config=Config(limits=limits)) as bus:
        source, told = await bus.renderer(reconnect=False), Calls()
        source.events.on("disconnected", told)

        async def busy(event: object) -> None:
            await asyncio.Event().wait()

        bus.ipc_main.on("busy", busy)
        bus.ipc_main.on("x", print)
        source.send("busy")
        packet = build(Kind.SEND, MAIN, 0, b"\x81\x59\x27\x10" + b"x" * 10_000, channel=b"x")
        async with asyncio.timeout(10):
            while not told.calls:
                inject(source, packet)
                await asyncio.sleep(0)
        assert told.calls[0][0].startswith("sent to the main process although it was asked to pause")
        assert bus.broker.stats()["overruns"] == 1


@pytest.mark.contract("8.6", "9.2")
async def test_pauses_in_turn_towards_one_that_does_not_read_leave_no_more_than_the_last_word(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, target, heard = await bus.renderer(), await bus.renderer(), Calls()
        target.on("x", heard, senders="any")
        source.send_to(target.id, "x", 1)
        await heard.wait()
        transport(source).pause_reading()
        before = bus.peer(source).outbox.handed
        for _ in range(1000):
            inject(target, build(Kind.PAUSE, source.id), build(Kind.RESUME, source.id))
        inject(target, build(Kind.PAUSE, source.id))
        await bus.served(target)
        outbox = bus.peer(source).outbox
        assert outbox.handed + outbox.queued - before <= 3 * len(build(Kind.PAUSE, source.id))
        transport(source).resume_reading()
        await until(lambda: is_paused(source, target))
        await acknowledged(bus, source, target)
        inject(target, build(Kind.RESUME, source.id))
        source.send_to(target.id, "x", 2)
        await heard.wait(2)
        await until(lambda: not pauses(bus, target))


@pytest.mark.contract("9.2")
async def test_who_was_asked_again_and_does_not_know_it_yet_may_not_send_without_bound(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, target, told = await bus.renderer(reconnect=False), await bus.renderer(), Calls()
        source.events.on("disconnected", told)
        source.send_to(target.id, "x", 1)
        await bus.served(source)
        transport(source).pause_reading()
        inject(target, build(Kind.PAUSE, source.id), build(Kind.RESUME, source.id), build(Kind.PAUSE, source.id))
        await bus.served(target)
        async with asyncio.timeout(10):
            while source.id in bus.hub.renderers.ids:
                inject(source, build(Kind.SEND, target.id, 0, bytes(10_000), channel=b"nobody"))
                await asyncio.sleep(0)
        transport(source).resume_reading()
        assert bus.broker.stats()["overruns"] == 1
        await told.wait()


@pytest.mark.contract("9.5", "9.2")
async def test_a_target_that_goes_lets_those_who_held_for_it_go_on(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, target = await bus.renderer(), await bus.renderer(reconnect=False)
        told = Calls()
        source.events.on("undeliverable", told)
        await fill(bus, source, target)
        await acknowledged(bus, source, target)
        gone = target.id
        source.send_to(gone, "held", 1)
        source.broadcast("x")
        transport(target).abort()
        assert await told.wait() == (gone, "held", "no such renderer")
        await within(source.drain())


@pytest.mark.contract("9.5", "9.2")
async def test_a_source_that_goes_is_forgotten_by_its_target(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        source, target = await bus.renderer(reconnect=False), await bus.renderer()
        await fill(bus, source, target)
        transport(source).abort()
        await until(lambda: not pauses(bus, target))
        transport(target).resume_reading()
        await bus.served(target)


# Who stalls.


@pytest.mark.contract("9.3")
async def test_one_that_reads_a_little_or_has_little_waiting_does_not_stall(address: str) -> None:
    async with Bus(address, config=CONFIG) as bus:
        renderer = await bus.renderer()
        contents, peer = bus.contents(renderer), bus.peer(renderer)
        transport(renderer).pause_reading()
        async with asyncio.timeout(10):
            while contents.queued <= LIMITS.low:
                contents.send("x", PIECE)
                await asyncio.sleep(0)
        flow, loop = bus.hub.flow, asyncio.get_running_loop()
        assert list(flow.stalled()) == []
        # It has read something since.
        peer.progress = (peer.progress[0] - 1, loop.time() - 2 * LIMITS.stall_timeout)
        assert list(flow.stalled()) == []
        peer.progress = (peer.progress[0], loop.time() - 2 * LIMITS.stall_timeout)
        assert list(flow.stalled()) == [peer]
        transport(renderer).resume_reading()
        await within(contents.drain())
        assert list(flow.stalled()) == []
