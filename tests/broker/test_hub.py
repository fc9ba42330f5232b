"""Renderers come and go: who is let in, who hears of it, and what is left of them."""

import asyncio
import logging

import mainbus
import pytest
from mainbus import ConnectRefused, IpcRenderer, NameTaken
from mainbus.lane_threads import BROKER_THREADS
from mainbus.link import Link
from mainbus.session import Session
from mainbus.wire.messages import Hello
from mainbus_broker import Config, Limits
from mainbus_broker.partners import NOBODY

from tests.support.bus import Bus, Calls, until, within


def watch(renderer: IpcRenderer) -> list[object]:
    """Keep what the renderer hears of others."""
    heard: list[object] = []
    for event in ("peer-joined", "peer-left"):
        renderer.events.on(event, lambda *told, event=event: heard.append((event, *told)))
    return heard


# Who is let in.


@pytest.mark.contract("9.6")
async def test_a_name_belongs_to_one_renderer(address: str) -> None:
    async with Bus(address) as bus:
        one = await bus.renderer("editor")
        with pytest.raises(NameTaken, match="editor"):
            _ = await mainbus.connect(address, name="editor")
        await bus.served(one)
        await one.aclose()
        assert (await bus.renderer("editor")).name == "editor"


@pytest.mark.contract("9.6")
async def test_a_reconnect_takes_its_name_from_the_connection_it_replaces(address: str) -> None:
    async with Bus(address) as bus:
        renderer, told, gone = await bus.renderer("editor"), Calls(), Calls()
        former = bus.contents(renderer)
        former.on("destroyed", gone)
        bus.broker.on("web-contents-created", told)
        assert renderer._session is not None
        assert renderer._session.link is not None
        # A link that is lost on the renderer's side only: the broker still has the old one.
        link = renderer._session.link
        link.connection_lost(None)
        (contents,) = await told.wait()
        await until(lambda: renderer.is_connected)
        assert (former.name, contents.name) == ("editor", "editor")
        assert former.is_destroyed()
        assert gone.calls == [()]
        assert contents.id == renderer.id == former.id + 1
        await bus.served(renderer)
        link.abort()


@pytest.mark.contract("9.6")
@pytest.mark.parametrize("secret", [b"", b"x" * 16])
async def test_a_guessed_secret_takes_nothing(secret: bytes, address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        thief = mainbus.connect(address, name="editor")
        session = Session(thief._address, "editor", None, False, thief._arrivals)
        link = Link(session)
        hello = Hello(name="editor", session=secret, instance=bus.hub.instance)
        with pytest.raises(NameTaken):
            await link.open(thief._address, hello)
        await bus.served(renderer)


async def test_a_name_is_bounded_whoever_asks(address: str) -> None:
    async with Bus(address):
        renderer = mainbus.connect(address)
        renderer._name = "x" * 256
        with pytest.raises(ConnectRefused, match="255"):
            _ = await renderer


async def test_every_connection_has_secrets_of_its_own(address: str) -> None:
    async with Bus(address) as bus:
        peers = [bus.peer(await bus.renderer()) for _ in range(3)]
        assert len({peer.secret for peer in peers}) == len({peer.lane_nonces for peer in peers}) == 3
        assert all(len(peer.secret) == 16 for peer in peers)


# What it costs.


async def test_what_an_idle_renderer_never_needs_is_not_there(address: str) -> None:
    async with Bus(address) as bus:
        renderer = mainbus.connect(address)
        async with renderer:
            peer = bus.peer(renderer)
            await within(peer.contents.ready())
            assert not peer.has_inbox
            assert not peer.has_calls
            assert peer.partners is peer.oneway is peer.heard is NOBODY
            assert peer.queued == 0
            assert bus.broker.stats()["streams"] == 0
        await until(lambda: not bus.hub.renderers)


# Who hears of it.


@pytest.mark.contract("3.12")
async def test_those_who_ask_hear_who_joins_and_leaves(address: str) -> None:
    async with Bus(address) as bus:
        watcher, silent = await bus.renderer(), await bus.renderer()
        heard = watch(watcher)
        await bus.served(watcher)
        named, nameless = await bus.renderer("named"), await bus.renderer()
        await named.aclose()
        await nameless.aclose()
        await bus.reached(watcher)
        assert heard == [
            ("peer-joined", 3, "named"),
            ("peer-joined", 4, None),
            ("peer-left", 3, "named"),
            ("peer-left", 4, None),
        ]
        assert bus.hub.renderers.watchers == {bus.peer(watcher)}
        assert not silent.events.listener_count("peer-joined")


async def test_one_that_is_closed_as_it_comes_has_joined_before_it_left(address: str) -> None:
    async with Bus(address) as bus:
        watcher = await bus.renderer()
        heard = watch(watcher)
        await bus.served(watcher)
        bus.broker.once("web-contents-created", lambda contents: contents.close("not you"))
        async with mainbus.connect(address, reconnect=False):
            pass
        await bus.reached(watcher)
        assert heard == [("peer-joined", 2, None), ("peer-left", 2, None)]


@pytest.mark.contract("9.5")
async def test_what_the_application_hears_when_one_goes_comes_when_all_is_done(address: str) -> None:
    async with Bus(address) as bus:
        renderer, other, seen = await bus.renderer("editor"), await bus.renderer(), list[object]()
        contents = bus.contents(renderer)
        other.handle("wait", lambda event: asyncio.Event().wait(), senders="any")
        reply = renderer.invoke_to(other.id, "wait")
        await until(lambda: other.stats()["running"])

        def look() -> None:
            seen.append((dict(bus.hub.renderers.names), len(bus.hub.replies), bus.hub.web_contents.from_id(1)))

        contents.on("destroyed", look)
        await renderer.aclose()
        assert seen == [({}, 0, None)]
        await until(lambda: not other.stats()["running"])
        with pytest.raises(mainbus.ConnectionLost):
            await reply


async def test_a_broken_listener_of_destroyed_harms_nobody(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Bus(address) as bus:
        renderer, other, gone = await bus.renderer(), await bus.renderer(), Calls()
        contents = bus.contents(renderer)
        contents.on("destroyed", lambda: 1 / 0)
        contents.on("destroyed", gone)
        await renderer.aclose()
        assert gone.calls == [()]
        await bus.served(other)
        assert [record for record in caplog.records if record.levelno == logging.ERROR]


# Its own end, and the watch for those that stall.


async def test_the_thread_of_a_broker_is_known_while_it_runs(address: str) -> None:
    async with Bus(address) as bus:
        assert bus.hub.instance in BROKER_THREADS
        assert len(bus.hub.instance) == 16
    assert bus.hub.instance not in BROKER_THREADS
    async with Bus(address) as other:
        assert other.hub.instance != bus.hub.instance


async def test_the_end_checks_that_nobody_is_left(address: str) -> None:
    async with Bus(address) as bus:
        renderer, other = await bus.renderer(), await bus.renderer()
        with pytest.raises(AssertionError, match="renderers"):
            bus.hub.stop()
        one, two = bus.peer(renderer), bus.peer(other)
        await renderer.aclose()
        await other.aclose()
        bus.hub.replies.add(one, 1, two, 0)
        with pytest.raises(AssertionError, match="replies"):
            bus.hub.stop()
        bus.hub.replies.forget(one)
        bus.hub.replies.forget(two)


@pytest.mark.contract("9.3")
async def test_who_reads_nothing_for_too_long_is_closed_with_event_counter_and_log(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(low=10_000, high=100_000, stall_timeout=0.05)
    async with Bus(address, config=Config(limits=limits)) as bus:
        slow, quick, told = await bus.renderer("slow", reconnect=False), await bus.renderer(), Calls()
        bus.broker.on("slow-consumer", told)
        contents = bus.contents(slow)
        assert slow._session is not None
        assert slow._session.link is not None
        assert slow._session.link.transport is not None
        slow._session.link.transport.pause_reading()
        while contents.queued <= limits.low:
            contents.send("x", "x" * 100_000)
            await asyncio.sleep(0)
        assert await told.wait() == (contents,)
        assert contents.is_destroyed()
        assert bus.broker.stats()["slow_consumers"] == 1
        assert [record for record in caplog.records if "slow" in record.getMessage() and record.levelno > logging.INFO]
        await within(bus.served(quick))
