"""Losing the broker and coming back: what fails, what waits, what is kept, and who may take a name back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mainbus
import pytest
from mainbus import IpcRenderer, outgoing, session
from mainbus.cores import ROOM
from mainbus.wire.messages import Hello
from mainbus_broker import Broker, Config, IpcMain, Limits

from tests.support import bare
from tests.support.bus import Bus, Calls, until, within
from tests.support.renderers import Told, broker_process


@contextlib.asynccontextmanager
async def proxied(address: str) -> AsyncIterator[tuple[str, "Proxy"]]:
    """A second address that leads to the first, whose connections can be cut on one side only."""
    proxy = Proxy(address)
    server = await bare.serve(f"{address}p", proxy.accept)
    try:
        yield f"{address}p", proxy
    finally:
        server.close()
        await proxy.aclose()
        Path(f"{address}p".removeprefix("unix:")).unlink(missing_ok=True)


class Proxy:
    def __init__(self, address: str) -> None:
        self._address = address
        self._tasks: set[asyncio.Task[None]] = set()
        self.client_sides: list[asyncio.StreamWriter] = []
        self.broker_sides: list[asyncio.StreamWriter] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await bare.connect(self._address)
        self.client_sides.append(writer)
        self.broker_sides.append(broker_writer)
        for source, target in ((reader, broker_writer), (broker_reader, writer)):
            task = asyncio.create_task(self._pump(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if target.transport.is_closing():
                    break
                target.write(data)

    def cut_client(self) -> None:
        """End the client's side of the latest connection; the broker is told nothing."""
        self.client_sides[-1].transport.abort()

    async def aclose(self) -> None:
        for writer in (*self.client_sides, *self.broker_sides):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)


# 9.6: the broker is killed and comes back.


@pytest.mark.contract("9.6", "9.1", "3.12")
async def test_a_killed_broker_fails_what_awaited_it_and_what_is_sent_meanwhile_waits(address: str) -> None:
    async with broker_process(address) as first:
        renderer = await mainbus.connect(address, name="editor")
        told = Told(renderer)
        renderer.handle("ask", lambda event: "handled", senders="any")
        old_id = renderer.id
        await renderer.invoke("echo", 1)
        pending = renderer.invoke("wait")
        assert await first.line() == "waiting"
        first.kill()
        with pytest.raises(mainbus.ConnectionLost):
            await within(pending)
        await told.wait("disconnected")
        assert not renderer.is_connected
    for number in range(100):
        renderer.send("item", number)
    waiting = renderer.invoke("echo", "from before")
    renderer.send("item", b"x" * 500_000)
    with pytest.raises(mainbus.ConnectionLost):
        renderer.send_sync("item", 1)
    async with broker_process(address):
        await told.wait("reconnected")
        assert await within(waiting) == "from before"
        assert await within(renderer.invoke("got")) == [*range(100), b"x" * 500_000]
        assert renderer.is_connected
        assert renderer.stats()["reconnects"] == 1
        other = await mainbus.connect(address, name="other")
        assert await within(other.invoke_to("editor", "ask")) == "handled"
        other.send_to("editor", "item", 1)
        await told.wait("item 1")
        with pytest.raises(mainbus.NameTaken, match="editor"):
            _ = await mainbus.connect(address, name="editor")
        assert told.log == ["disconnected", "reconnected", "gap", "item 1"]
        assert old_id == 1
        await other.aclose()
        await renderer.aclose()


@pytest.mark.contract("9.6", "9.1")
async def test_a_gap_comes_before_the_first_message_even_if_that_comes_with_the_welcome(address: str) -> None:
    renderer = None
    async with Bus(address):
        renderer = await mainbus.connect(address, name="editor")
        told = Told(renderer)
    ipc_main = IpcMain()
    async with Broker(address, ipc_main=ipc_main) as broker:
        broker.on("web-contents-created", lambda contents: contents.send("item", 1))
        await told.wait("item 1")
        assert told.log == ["disconnected", "reconnected", "gap", "item 1"]
        await renderer.aclose()


@pytest.mark.contract("9.6")
async def test_a_reconnect_is_another_contents_with_another_id_and_the_same_name(address: str) -> None:
    async with Bus(address) as bus, proxied(address) as (through, proxy):
        renderer = await mainbus.connect(through, name="editor")
        told = Told(renderer)
        contents, old_id = bus.contents(renderer), renderer.id
        destroyed = Calls()
        contents.on("destroyed", destroyed)
        proxy.broker_sides[-1].transport.abort()
        proxy.cut_client()
        await told.wait("gap")
        assert renderer.id != old_id
        assert renderer.name == "editor"
        again = bus.contents(renderer)
        assert again is not contents
        assert contents.is_destroyed()
        assert destroyed.calls
        assert bus.broker.web_contents.from_name("editor") is again
        await within(again.ready())
        again.send("item", 1)
        await told.wait("item 1")
        await renderer.aclose()


@pytest.mark.contract("9.6")
async def test_a_reconnect_replaces_its_half_dead_former_connection(address: str) -> None:
    async with Bus(address) as bus, proxied(address) as (through, proxy):
        renderer = await mainbus.connect(through, name="editor")
        watcher, left = await bus.renderer(), Calls()
        watcher.events.on("peer-left", left)
        await watcher.peers()
        told, old_id = Told(renderer), renderer.id
        former = bus.contents(renderer)
        bus.ipc_main.handle("echo", lambda event, value: value)
        # The broker still believes in the old one: only the renderer has noticed.
        proxy.cut_client()
        await told.wait("disconnected")
        assert not former.is_destroyed()
        with pytest.raises(mainbus.NameTaken):
            _ = await mainbus.connect(address, name="editor")
        await told.wait("reconnected")
        assert former.is_destroyed()
        assert await left.wait() == (old_id, "editor")
        assert bus.broker.web_contents.from_name("editor") is bus.contents(renderer)
        assert await within(renderer.invoke("echo", 5)) == 5
        await renderer.aclose()


@pytest.mark.contract("9.6")
async def test_only_the_sessions_own_secret_takes_a_name_back(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        for session_, instance in (
            (b"x" * 16, bus.hub.instance),
            (bus.peer(renderer).secret, b"another broker's"),
            (None, None),
        ):
            thief = mainbus.connect(address, name="editor")
            with pytest.raises(mainbus.NameTaken):
                await steal(thief, session_, instance)
        assert renderer.is_connected
        assert await renderer.peers() == []


async def steal(thief: IpcRenderer, secret: bytes | None, instance: bytes | None) -> None:
    """Open a renderer that claims to continue a session."""
    original = Hello

    def claim(**fields: Any) -> Hello:
        return original(**{**fields, "session": secret, "instance": instance})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "Hello", claim)
        _ = await thief


@pytest.mark.contract("9.6")
async def test_a_name_is_free_again_when_its_renderer_has_left(address: str) -> None:
    async with Bus(address) as bus:
        for _ in range(3):
            async with mainbus.connect(address, name="editor"):
                with pytest.raises(mainbus.NameTaken, match="'editor' is taken"):
                    _ = await mainbus.connect(address, name="editor")
        assert bus.broker.stats()["renderers"] == 0


@pytest.mark.contract("9.6", "3.7")
async def test_ids_of_a_former_broker_reach_nobody(address: str) -> None:
    async with Bus(address):
        one, two = await mainbus.connect(address, name="one"), await mainbus.connect(address, name="two")
        told = {renderer: Told(renderer) for renderer in (one, two)}
        old = {one: one.id, two: two.id}
    for renderer in (one, two):
        await told[renderer].wait("disconnected")
        renderer.handle("who", lambda event: event.sender.name, senders="any")
    lost: list[object] = []
    one.events.on("undeliverable", lambda *told: lost.append(told))
    one.send_to(old[two], "item", "by id")
    one.send_to(old[two], "large", b"x" * 300_000)
    by_id = one.invoke_to(old[two], "who")
    one.send_to("two", "item", "by name")
    by_name = one.invoke_to("two", "who")
    # Whoever comes first gets the ids that the others had.
    async with Bus(address) as bus:
        stranger = mainbus.connect(address, name="stranger")
        heard = Calls()
        stranger.on("item", heard, senders="any")
        stranger.handle("who", heard, senders="any")
        _ = await within(stranger.__aenter__())
        for renderer in (two, one):
            await told[renderer].wait("gap")
        reason = "that id was given by a former broker"
        assert lost[:2] == [(old[two], "item", reason), (old[two], "large", reason)]
        with pytest.raises(mainbus.NoSuchRenderer):
            await within(by_id)
        try:
            assert await within(by_name) == "two"
            await told[two].wait("item by name")
        except mainbus.NoSuchRenderer:
            # `one` may have come back before `two`.
            pass
        assert not heard.calls
        assert "item by id" not in told[one].log + told[two].log
        assert one.stats()["pending"] == 0
        await within(one.drain())
        # The invoke that was refused has given its credit back.
        assert one._session is not None
        assert one._session.outbox.calls == 0
        for renderer in (one, two, stranger):
            await renderer.aclose()
        assert bus.broker.stats()["renderers"] == 0


@pytest.mark.contract("9.6", "2.19")
async def test_an_id_is_asked_for_again_on_the_next_connection(address: str) -> None:
    async with Bus(address) as bus, proxied(address) as (through, proxy):
        source, target, heard = await mainbus.connect(through), await bus.renderer("target"), Calls()
        target.on("item", heard, senders="any")
        told = Told(source)
        proxy.cut_client()
        # Neither the question nor what waits for its answer has left.
        source.send_to(target.id, "item", 1)
        source.send_to("target", "item", 2)
        reply = source.invoke_to(target.id, "nobody handles it")
        await told.wait("disconnected")
        source.send_to(target.id, "item", 3)
        await told.wait("reconnected")
        await heard.wait(3)
        assert heard.args == [(1,), (2,), (3,)]
        with pytest.raises(mainbus.NoHandlerError):
            await within(reply)
        await source.aclose()


@pytest.mark.contract("9.6")
async def test_what_is_held_by_name_survives_a_broker_that_is_replaced(address: str) -> None:
    limits = Limits(high=64 * 1024, low=16 * 1024)
    go = asyncio.Event()

    async def slow(event: Any, _: bytes) -> None:
        await go.wait()

    async with Bus(address, config=Config(limits=limits)):
        one, two = await mainbus.connect(address, name="one"), await mainbus.connect(address, name="two")
        told_one, told_two = Told(one), Told(two)
        two.on("slow", slow, senders="any")
        for _ in range(1000):
            one.send_to("two", "slow", b"x" * 16384)
        assert one._session is not None
        routes = one._session.routes
        await until(lambda: routes.to("two").paused)
        # Held for the name, by a pause that names the id too.
        one.send_to("two", "item", "held")
    await told_one.wait("disconnected")
    go.set()
    async with Bus(address):
        await told_two.wait("gap")
        await told_one.wait("gap")
        undeliverable = Calls()
        one.events.on("undeliverable", undeliverable)
        try:
            await within(one.drain())
            # Told, if `one` has come back before `two`; else it has arrived.
            await until(
                lambda: "item held" in told_two.log or ("two", "item", "no such renderer") in undeliverable.calls
            )
        finally:
            await one.aclose()
            await two.aclose()


@pytest.mark.contract("9.6", "9.1")
async def test_a_stale_answer_never_reaches_a_call_of_the_new_connection(address: str) -> None:
    async with Bus(address) as bus, proxied(address) as (through, proxy):
        renderer = await mainbus.connect(through, name="editor")
        told = Told(renderer)
        go = asyncio.Event()

        async def ask(event: Any, number: int) -> object:
            if number == 1:
                await go.wait()
            return [number, b"x" * 500_000]

        renderer.handle("ask", ask)
        first = bus.contents(renderer).invoke("ask", 1)
        second: list[Any] = []
        bus.broker.on("web-contents-created", lambda contents: second.append(contents.invoke("ask", 2)))
        await until(lambda: renderer.stats()["running"])
        # The answer waits in the renderer, in part, when its connection ends.
        go.set()
        await until(lambda: not renderer.stats()["running"])
        proxy.cut_client()
        await told.wait("reconnected")
        assert (await within(second[0]))[0] == 2
        with pytest.raises(mainbus.ReplyNeverSent):
            await within(first)
        await renderer.aclose()


@pytest.mark.contract("9.6")
async def test_a_renderer_comes_back_again_and_again(address: str) -> None:
    renderer = mainbus.connect(address, name="editor", connect_timeout=10)
    told = Told(renderer)
    opening = asyncio.ensure_future(renderer.__aenter__())
    for round_ in range(1, 4):
        async with broker_process(address) as broker:
            if round_ == 1:
                _ = await within(opening)
            else:
                await told.wait("reconnected", round_ - 1)
            assert await within(renderer.invoke("pid")) == broker.process.pid
            broker.kill()
            await told.wait("disconnected", round_)
    assert told.log == ["disconnected", "reconnected", "gap", "disconnected", "reconnected", "gap", "disconnected"]
    await within(renderer.aclose())


@pytest.mark.contract("9.6")
async def test_invokes_that_timed_out_while_away_are_not_sent(address: str) -> None:
    async with broker_process(address) as first:
        renderer = await mainbus.connect(address)
        told = Told(renderer)
        first.kill()
        await told.wait("disconnected")
    late = renderer.invoke("echo", 1, timeout=0.01)
    cancelled = renderer.invoke("echo", 2)
    cancelled.cancel()
    with pytest.raises(mainbus.InvokeTimeout):
        await within(late)
    async with broker_process(address):
        await told.wait("reconnected")
        assert await within(renderer.invoke("echo", 3)) == 3
        assert renderer.stats()["pending"] == 0
        assert renderer._session is not None
        assert renderer._session.outbox.calls == 0
        await renderer.aclose()


@pytest.mark.contract("9.6")
async def test_what_waits_while_away_is_bounded(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "MAX_UNSENT", ROOM)
    async with broker_process(address) as first:
        renderer = await mainbus.connect(address)
        told = Told(renderer)
        first.kill()
        await told.wait("disconnected")
    sent = 0
    while renderer.stats()["held"] + renderer.stats()["queued"] < outgoing.MAX_UNSENT:
        renderer.send("item", b"x" * 10_000)
        sent += 1
    assert 95 <= sent <= 105
    with pytest.raises(mainbus.SendQueueFull):
        renderer.send("item", b"x")
    with pytest.raises(mainbus.SendQueueFull):
        renderer.broadcast("item", b"x")
    async with broker_process(address):
        await told.wait("reconnected")
        await within(renderer.drain())
        assert len(await within(renderer.invoke("got"))) == sent
        await renderer.aclose()


@pytest.mark.contract("9.6")
async def test_listeners_of_the_connections_events_may_send(address: str) -> None:
    async with broker_process(address) as first:
        renderer = await mainbus.connect(address)
        told = Told(renderer)
        renderer.events.on("disconnected", lambda reason: renderer.send("item", "while away"))
        renderer.events.on("reconnected", lambda: renderer.send("item", "back"))
        first.kill()
        await told.wait("disconnected")
    async with broker_process(address):
        await told.wait("gap")
        assert await within(renderer.invoke("got")) == ["while away", "back"]
        await renderer.aclose()


@pytest.mark.contract("9.6", "5.7")
async def test_handlers_that_run_for_a_lost_broker_are_cancelled(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await mainbus.connect(address)
        ended = Calls()

        async def handler(event: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended()

        renderer.handle("wait", handler)
        reply = bus.contents(renderer).invoke("wait")
        await until(lambda: renderer.stats()["running"])
    await ended.wait()
    with pytest.raises(mainbus.ReplyNeverSent):
        await within(reply)
    await renderer.aclose()
