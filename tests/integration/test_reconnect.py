"""Losing the broker and coming back: what fails, what waits, what is kept, and who may take a name back."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import mainbus
from mainbus import IpcRenderer, session
from mainbus_broker import Broker, Config, IpcMain, Limits
from tests.support.bus import Bus, Calls, until, within
from tests.support.renderers import broker_process, go_on, stop


class Told:
    """Every event of a renderer's connection and every message, in the order that they came."""

    def __init__(self, renderer: IpcRenderer) -> None:
        self.log: list[str] = []
        for event in ("disconnected", "reconnected", "gap"):
            renderer.events.on(event, lambda *_, event=event: self.log.append(event))  # type: ignore[misc]
        renderer.on("item", lambda event, value: self.log.append(f"item {value}"), senders="any")

    async def wait(self, what: str, count: int = 1) -> None:
        await until(lambda: self.log.count(what) >= count)


@contextlib.asynccontextmanager
async def proxied(address: str) -> AsyncIterator[tuple[str, "Proxy"]]:
    """A second address that leads to the first, whose connections can be cut on one side only."""
    proxy = Proxy(address.removeprefix("unix:"))
    path = address.removeprefix("unix:") + "p"
    server = await asyncio.start_unix_server(proxy.accept, path)
    try:
        yield f"unix:{path}", proxy
    finally:
        server.close()
        await proxy.aclose()
        Path(path).unlink(missing_ok=True)


class Proxy:
    def __init__(self, path: str) -> None:
        self._path = path
        self._tasks: set[asyncio.Task[None]] = set()
        self.client_sides: list[asyncio.StreamWriter] = []
        self.broker_sides: list[asyncio.StreamWriter] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_unix_connection(self._path)
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
            await mainbus.connect(address, name="editor")
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
            await mainbus.connect(address, name="editor")
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
    from mainbus.wire.messages import Hello

    original = session.Hello

    def claim(**fields: Any) -> Hello:
        return original(**{**fields, "session": secret, "instance": instance})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "Hello", claim)
        await thief


@pytest.mark.contract("9.6")
async def test_a_name_is_free_again_when_its_renderer_has_left(address: str) -> None:
    async with Bus(address) as bus:
        for _ in range(3):
            async with mainbus.connect(address, name="editor"):
                with pytest.raises(mainbus.NameTaken, match="'editor' is taken"):
                    await mainbus.connect(address, name="editor")
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
    one.send_to(old[two], "item", "by id")
    by_id = one.invoke_to(old[two], "who")
    one.send_to("two", "item", "by name")
    by_name = one.invoke_to("two", "who")
    # Whoever comes first gets the ids that the others had.
    async with Bus(address) as bus:
        stranger = mainbus.connect(address, name="stranger")
        heard = Calls()
        stranger.on("item", heard, senders="any")
        stranger.handle("who", heard, senders="any")
        await within(stranger.__aenter__())
        for renderer in (two, one):
            await told[renderer].wait("gap")
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
            await until(lambda: "item held" in told_two.log or ("two", "item", "no such renderer") in undeliverable.calls)
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
                await within(opening)
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
    monkeypatch.setattr(session, "MAX_UNSENT", 1_000_000)
    async with broker_process(address) as first:
        renderer = await mainbus.connect(address)
        told = Told(renderer)
        first.kill()
        await told.wait("disconnected")
    sent = 0
    with pytest.raises(mainbus.SendQueueFull):
        for _ in range(1000):
            renderer.send("item", b"x" * 10_000)
            sent += 1
    assert 90 <= sent <= 101
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


# reconnect=False.


@pytest.mark.contract("3.1", "9.6")
async def test_without_reconnect_a_loss_is_for_good(address: str) -> None:
    async with broker_process(address) as broker:
        renderer = await mainbus.connect(address, reconnect=False)
        told = Told(renderer)
        incoming = renderer.listen("item")
        pending, waiting = renderer.invoke("wait"), asyncio.create_task(renderer.wait_for("item"))
        draining = asyncio.create_task(renderer.drain())
        assert await broker.line() == "waiting"
        broker.kill()
        for awaitable in (pending, waiting):
            with pytest.raises(mainbus.ConnectionLost):
                await within(awaitable)
        await asyncio.wait([draining])
        await told.wait("disconnected")
        assert [message async for message in incoming] == []
    async with broker_process(address):
        with pytest.raises(mainbus.ConnectionLost, match="the broker is gone|reset"):
            renderer.send("item", 1)
        with pytest.raises(mainbus.ConnectionLost):
            renderer.invoke("echo", 1)
        assert told.log == ["disconnected"]
        await renderer.aclose()


# aclose while there is no connection, and while the broker does not answer.


@pytest.mark.contract("3.10")
async def test_aclose_while_reconnecting_ends_the_attempts(address: str) -> None:
    async with broker_process(address) as broker:
        renderer = await mainbus.connect(address)
        told = Told(renderer)
        broker.kill()
        await told.wait("disconnected")
    renderer.send("item", 1)
    waiting = renderer.invoke("echo", 1)
    await within(renderer.aclose())
    with pytest.raises(mainbus.ConnectionLost):
        await within(waiting)
    with pytest.raises(mainbus.ObjectDestroyedError, match="^IPC method called after context was released$"):
        renderer.send("item", 2)
    async with Bus(address) as bus:
        assert bus.broker.stats()["connections"] == 0


@pytest.mark.contract("3.10")
async def test_aclose_ends_although_the_broker_dies_meanwhile(address: str) -> None:
    async with broker_process(address) as broker:
        renderer = await mainbus.connect(address)
        await stop(broker)
        renderer.send("item", b"x" * 8_000_000)
        closing = asyncio.create_task(renderer.aclose())
        await until(lambda: renderer.stats()["held"] or renderer.stats()["queued"])
        assert not closing.done()
        broker.kill()
        await within(closing)
        with pytest.raises(mainbus.ObjectDestroyedError):
            renderer.send("item", 1)


@pytest.mark.contract("3.10")
async def test_cancelling_aclose_ends_the_connection_at_once(address: str) -> None:
    async with broker_process(address) as broker:
        for data in (b"", b"x" * 8_000_000):
            renderer = await mainbus.connect(address)
            await stop(broker)
            renderer.send("item", data)
            closing = asyncio.create_task(renderer.aclose())
            for _ in range(10):
                await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            before = loop.time()
            closing.cancel()
            await asyncio.wait([closing])
            assert closing.cancelled()
            assert loop.time() - before < session.GOODBYE_TIMEOUT / 2
            assert not renderer.is_connected
            go_on(broker)


@pytest.mark.contract("3.10")
async def test_a_broker_that_does_not_answer_the_goodbye_is_not_waited_for_forever(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session, "GOODBYE_TIMEOUT", 0.05)
    async with broker_process(address) as broker:
        renderer = await mainbus.connect(address)
        await stop(broker)
        await within(renderer.aclose())
        assert "did not answer the goodbye" in caplog.text
        assert not renderer.is_connected
        go_on(broker)


# 9.7: the first connect.


@pytest.mark.contract("9.7")
async def test_no_broker_is_refused_with_address_and_remedy(address: str) -> None:
    with pytest.raises(mainbus.ConnectRefused) as caught:
        await mainbus.connect(address)
    assert address in str(caught.value)
    assert "mainbus serve" in str(caught.value)
    assert "connect_timeout" in str(caught.value)
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.contract("9.7")
async def test_a_stale_socket_is_no_broker(address: str) -> None:
    async with broker_process(address) as broker:
        broker.kill()
        await broker.end()
    assert Path(address.removeprefix("unix:")).exists()
    with pytest.raises(mainbus.ConnectRefused, match="no broker answers"):
        await mainbus.connect(address)


@pytest.mark.contract("9.7")
async def test_a_refused_renderer_can_be_opened_later(address: str) -> None:
    renderer = mainbus.connect(address)
    with pytest.raises(mainbus.ConnectRefused):
        await renderer
    async with Bus(address), renderer:
        assert renderer.is_connected


@pytest.mark.contract("9.7")
async def test_connect_timeout_waits_for_a_broker_and_no_longer(address: str) -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(mainbus.ConnectRefused):
        await mainbus.connect(address, connect_timeout=0.1)
    assert loop.time() - before >= 0.1
    opening = asyncio.ensure_future(mainbus.connect(address, connect_timeout=60).__aenter__())
    async with Bus(address):
        renderer = await within(opening)
        assert renderer.is_connected
        await renderer.aclose()


@pytest.mark.contract("9.7")
async def test_a_cancelled_connect_leaves_nothing_behind(address: str) -> None:
    opening = asyncio.ensure_future(mainbus.connect(address, connect_timeout=60).__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    async with Bus(address) as bus:
        assert bus.broker.stats()["connections"] == 0


@pytest.mark.contract("9.7", "9.6")
async def test_a_name_that_is_taken_is_not_waited_for(address: str) -> None:
    async with Bus(address) as bus:
        await bus.renderer("editor")
        with pytest.raises(mainbus.NameTaken):
            await within(mainbus.connect(address, name="editor", connect_timeout=60).__aenter__())


# The back-off.


@pytest.mark.contract("9.6")
async def test_the_back_off_grows_and_is_jittered(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[tuple[float, float]] = []
    ranges: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append((seconds, ranges[-1]))
        await real(0)

    def uniform(low: float, high: float) -> float:
        assert (low, high) == (0.5, 1.0)
        ranges.append(0.5 + 0.5 * (len(ranges) % 3) / 2)
        return ranges[-1]

    async with Bus(address):
        renderer = await mainbus.connect(address)
    monkeypatch.setattr("mainbus.session.asyncio.sleep", sleep)
    monkeypatch.setattr("mainbus.session.random.uniform", uniform)
    async with asyncio.timeout(10):
        while len(waits) < 12:
            await real(0)
    monkeypatch.undo()
    await renderer.aclose()
    steps = [seconds / factor for seconds, factor in waits]
    assert steps == pytest.approx([min(session.RETRY_LAST, session.RETRY_FIRST * 2**n) for n in range(len(steps))])


async def test_a_broker_that_speaks_another_protocol_ends_the_attempts(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with Bus(address):
        renderer = await mainbus.connect(address)
        told = Told(renderer)
    await told.wait("disconnected")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4)
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(talk, address.removeprefix("unix:"))
    try:

        def broken() -> bool:
            try:
                renderer.send("item", 1)
            except mainbus.RemoteProtocolError:
                return True
            except mainbus.SendQueueFull:
                return False
            return False

        await until(broken)
    finally:
        server.close()
        await renderer.aclose()
