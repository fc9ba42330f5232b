"""Session: the first connection, the end, a loss for good, and the attempts to come back."""

import asyncio
import logging
from pathlib import Path

import mainbus
import pytest
from mainbus import session
from mainbus.wire import clone
from mainbus.wire.packets import Kind, build

from tests.support import bare
from tests.support.bus import Bus, until, within
from tests.support.renderers import Told, broker_process, go_on, stop

# What it costs.


async def test_what_an_idle_renderer_never_needs_is_not_there(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        await within(bus.contents(renderer).ready())
        session = renderer._session
        assert session is not None
        assert renderer.stats()["running"] == renderer.stats()["direct_ports"] == 0
        made = (session._pools, session._handlers, session.ports._direct, renderer._arrivals._dispatch)
        assert made == (None, None, None, None)


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
        with pytest.raises(mainbus.ConnectionLost, match=r"the broker is gone|reset"):
            renderer.send("item", 1)
        with pytest.raises(mainbus.ConnectionLost):
            _ = renderer.invoke("echo", 1)
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
    with pytest.raises(mainbus.ObjectDestroyedError, match=r"^IPC method called after context was released$"):
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
        _ = await mainbus.connect(address)
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
        _ = await mainbus.connect(address)


@pytest.mark.contract("9.7")
async def test_a_refused_renderer_can_be_opened_later(address: str) -> None:
    renderer = mainbus.connect(address)
    with pytest.raises(mainbus.ConnectRefused):
        _ = await renderer
    async with Bus(address), renderer:
        assert renderer.is_connected


@pytest.mark.contract("9.7")
async def test_connect_timeout_waits_for_a_broker_and_no_longer(address: str) -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(mainbus.ConnectRefused):
        _ = await mainbus.connect(address, connect_timeout=0.1)
    # uvloop's clock counts milliseconds.
    assert loop.time() - before > 0.099
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
        _ = await bus.renderer("editor")
        with pytest.raises(mainbus.NameTaken):
            _ = await within(mainbus.connect(address, name="editor", connect_timeout=60).__aenter__())


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

    server = await bare.serve(address, talk)
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


async def refuses(address: str, error: mainbus.MainbusError) -> bare.Server:
    """Serve as a broker that says no to everybody."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(build(Kind.REFUSED, value=error.wire_code, body=clone.encode(str(error))))
        await reader.read()
        writer.close()

    return await bare.serve(address, talk)


@pytest.mark.contract("9.6", "9.7")
async def test_a_reconnect_that_is_refused_ends_the_session(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Bus(address):
        renderer = await mainbus.connect(address)
        told = Told(renderer)
        pending = renderer.invoke("bus:ping")
        await pending
    await told.wait("disconnected")
    waiting = renderer.invoke("x")
    listening = asyncio.ensure_future(anext(renderer.listen("x")))
    server = await refuses(address, mainbus.ConnectRefused("this broker", "it serves its own user only"))
    try:
        with pytest.raises(mainbus.ConnectRefused, match="its own user only"):
            await within(waiting)
        for verb in (renderer.send, renderer.invoke):
            with pytest.raises(mainbus.ConnectRefused, match="its own user only"):
                verb("x")
        with pytest.raises(StopAsyncIteration):
            await within(listening)
        assert not renderer.is_connected
    finally:
        server.close()
        await renderer.aclose()
    assert "own user only" in caplog.text


@pytest.mark.contract("9.6")
async def test_a_reconnect_whose_name_is_taken_goes_on_and_warns_once(
    address: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RETRY_LAST", 0.001)
    monkeypatch.setattr(session, "RETRY_FIRST", 0.001)
    caplog.set_level(logging.DEBUG, "mainbus")
    async with Bus(address):
        renderer = await mainbus.connect(address, name="editor")
        told = Told(renderer)
    await told.wait("disconnected")
    server = await refuses(address, mainbus.NameTaken("editor"))
    try:
        await until(lambda: caplog.text.count("is taken") >= 5)
    finally:
        server.close()
    assert [record.levelno for record in caplog.records if "is taken" in record.message].count(logging.WARNING) == 1
    Path(address.removeprefix("unix:")).unlink(missing_ok=True)
    async with Bus(address):
        await told.wait("reconnected")
        await renderer.aclose()


@pytest.mark.contract("9.6", "9.8")
async def test_a_broker_that_stops_refuses_nobody_for_good(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "RETRY_LAST", 0.001)
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        told = Told(renderer)
        # As if it stopped between the accepting and the hello.
        bus.hub.stopping = True
        bus.contents(renderer).close("again")
        await told.wait("disconnected")
        await until(lambda: bus.hub.counters["refused"])
        bus.hub.stopping = False
        await told.wait("reconnected")
