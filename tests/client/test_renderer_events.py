"""IpcRenderer: wait_for, what it tells of itself, and the events of its connection."""

import asyncio

import mainbus
import pytest
from mainbus.wire.packets import Kind, build

from tests.support.bus import Bus, Calls, Program, until, within

KEPT = ("pending", "streams", "queued", "held", "pooled", "running", "direct_ports")
COUNTED = ("reconnects", "pauses", "timeouts", "gaps", "undeliverable", "message_errors")
RELEASED = "IPC method called after context was released"

# 3.9: wait_for.


@pytest.mark.contract("3.9")
async def test_wait_for_returns_the_next_message(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        waiting = asyncio.create_task(renderer.wait_for("item"))
        await asyncio.sleep(0)
        bus.contents(renderer).send("item", 1, 2)
        bus.contents(renderer).send("item", 3, 4)
        event, *args = await within(waiting)
        assert (event.channel, event.sender_id, args) == ("item", 0, [1, 2])
        assert renderer.listener_count("item") == 0


@pytest.mark.contract("3.9")
async def test_wait_for_times_out_and_can_be_cancelled(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(mainbus.InvokeTimeout, match="item"):
            await renderer.wait_for("item", 0.001)
        waiting = asyncio.create_task(renderer.wait_for("item"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert renderer.listener_count("item") == 0


@pytest.mark.contract("3.9", "3.2")
async def test_wait_for_takes_the_senders_it_is_told(address: str) -> None:
    async with Bus(address) as bus:
        left, right = await bus.renderer("left"), await bus.renderer("right")
        waiting = asyncio.create_task(right.wait_for("item", senders="renderers"))
        await asyncio.sleep(0)
        bus.contents(right).send("item", "main")
        await bus.reached(right)
        left.send_to("right", "item", "renderer")
        assert (await within(waiting))[1:] == ("renderer",)


@pytest.mark.contract("3.9", "3.10")
async def test_wait_for_ends_with_the_renderer(address: str) -> None:
    async with Bus(address):
        async with mainbus.connect(address) as renderer:
            waiting = asyncio.create_task(renderer.wait_for("item"))
            await asyncio.sleep(0)
        with pytest.raises(mainbus.ObjectDestroyedError):
            await within(waiting)


# 3.12: what it is, and its events.


@pytest.mark.contract("3.12")
async def test_what_it_tells_of_itself(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        assert bus.broker.web_contents.from_id(renderer.id) is bus.broker.web_contents.from_name("editor")
        assert (renderer.name, renderer.is_connected) == ("editor", True)
        assert renderer.stats() == dict.fromkeys((*KEPT, *COUNTED), 0)
        assert (await bus.renderer()).name is None


@pytest.mark.contract("3.12")
async def test_peers_that_join_and_leave_are_told_to_who_listens(address: str) -> None:
    async with Bus(address):
        joined, left = Calls(), Calls()
        watcher = mainbus.connect(address)
        watcher.events.on("peer-joined", joined)
        async with watcher:
            await watcher.peers()
            watcher.events.on("peer-left", left)
            async with mainbus.connect(address, name="guest") as guest:
                number = guest.id
                assert await joined.wait() == (number, "guest")
            assert await left.wait() == (number, "guest")
            async with mainbus.connect(address) as guest:
                assert await joined.wait(2) == (guest.id, None)


@pytest.mark.contract("3.12")
async def test_who_joins_right_after_open_is_told_to_who_listened_before(address: str) -> None:
    async with Bus(address) as bus:
        joined = Calls()
        watcher = mainbus.connect(address)
        watcher.events.on("peer-joined", joined)
        # The broker reads nothing of it behind its hello, before the guest has come.
        bus.broker.once("web-contents-created", lambda contents: contents._peer.transport.pause_reading())
        _ = await watcher
        guest = await bus.renderer()
        assert await joined.wait() == (guest.id, None)
        bus.peer(watcher).transport.resume_reading()
        await watcher.aclose()


@pytest.mark.contract("3.1", "3.12")
async def test_an_event_waits_for_the_opener_too(address: str) -> None:
    async with Bus(address) as bus:
        opened: list[bool] = []
        is_open = False
        watcher = mainbus.connect(address)
        watcher.events.on("peer-joined", lambda id, name: opened.append(is_open))
        # Behind the welcome, in the same read.
        bus.broker.once("web-contents-created", lambda contents: announce(bus))
        _ = await watcher
        is_open = True
        await until(lambda: opened)
        assert opened == [True]
        await watcher.aclose()


def announce(bus: Bus) -> None:
    for watcher in bus.hub.renderers.watchers:
        watcher.outbox.put(build(Kind.JOINED, 99))


@pytest.mark.contract("3.12", "9.6")
async def test_who_watches_does_so_after_a_reconnect(address: str) -> None:
    async with Bus(address) as bus:
        joined, back = Calls(), Calls()
        watcher = await bus.renderer()
        watcher.events.on("peer-joined", joined)
        watcher.events.on("reconnected", back)
        await watcher.peers()
        bus.contents(watcher).close("again")
        await back.wait()
        guest = await bus.renderer()
        assert await joined.wait() == (guest.id, None)


@pytest.mark.contract("3.12")
async def test_events_are_apart_from_channels(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Calls()
        renderer.on("disconnected", heard)
        with pytest.raises(ValueError, match="no-such-event"):
            renderer.events.on("no-such-event", heard)
        bus.contents(renderer).send("disconnected", 1)
        await heard.wait()
        assert heard.args == [(1,)]


@pytest.mark.contract("3.12", "9.6")
async def test_disconnected_names_the_reason(address: str) -> None:
    async with Bus(address) as bus:
        told = Calls()
        renderer = await mainbus.connect(address, reconnect=False)
        renderer.events.on("disconnected", told)
        bus.contents(renderer).close("enough of it")
        assert await told.wait() == ("enough of it",)
        assert not renderer.is_connected
        with pytest.raises(mainbus.ConnectionLost, match="enough of it"):
            renderer.send("x")
        await renderer.aclose()
        with pytest.raises(mainbus.ObjectDestroyedError, match=RELEASED):
            renderer.send("x")


@pytest.mark.contract("3.12", "9.5")
async def test_a_gap_is_told_when_a_partner_dies_and_not_when_it_leaves(address: str) -> None:
    source = """
        async def main():
            async with mainbus.connect(sys.argv[1], name=sys.argv[2]) as renderer:
                renderer.on("item", lambda event: None, senders="any")
                renderer.send_to("watcher", "item")
                await renderer.peers()
                say("ready")
                sys.stdin.readline()

        asyncio.run(main())
    """
    async with Bus(address) as bus:
        watcher, told, left = await bus.renderer("watcher"), Calls(), Calls()
        watcher.on("item", lambda event: None, senders="any")
        watcher.events.on("gap", told)
        watcher.events.on("peer-left", left)
        async with Program(source, address, "polite") as program:
            assert await program.line() == "ready"
            assert await program.end() == 0
        await left.wait()
        assert not told.calls
        async with Program(source, address, "killed") as program:
            assert await program.line() == "ready"
            program.kill()
            await told.wait()
        assert told.calls == [()]
