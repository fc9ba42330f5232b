"""Who stops waiting cancels the handler, exactly once; who is cancelled or gone never replies."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from mainbus import ConnectionLost, InvokeTimeout, IpcRenderer, RemoteError, Reply, ReplyNeverSent
from mainbus.wire.packets import MAIN, Kind, build
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, Calls, until, within

NEVER = "Error invoking remote method 'x': reply was never sent"


def raise_again() -> object:
    raise asyncio.CancelledError


class Handler:
    """A handler that waits, counts how often it is cancelled, and then does what the test says."""

    def __init__(self, after: Callable[[], object] = raise_again) -> None:
        self.begun = Calls()
        self.cancelled = 0
        self.release = asyncio.Event()
        self._after = after

    async def __call__(self, event: Any) -> object:
        self.begun(event)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            if self._after is raise_again:
                raise
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                # Not for ever: where it is cancelled again and again, the test is to fail, not to hang.
                if self.cancelled > 3:
                    raise
        return self._after()


async def caller(bus: Bus, handler: object, **options: Any) -> IpcRenderer:
    bus.ipc_main.handle("x", handler)  # type: ignore[call-overload]
    return await bus.renderer(**options)


def stop_by_cancel(reply: Reply, renderer: IpcRenderer) -> None:
    reply.cancel()


def stop_by_disconnect(reply: Reply, renderer: IpcRenderer) -> None:
    assert renderer._session is not None
    assert renderer._session.link is not None
    renderer._session.link.abort()


STOPS = [stop_by_cancel, stop_by_disconnect]


@pytest.mark.contract("5.7")
@pytest.mark.parametrize("stop", STOPS)
async def test_cancel_and_disconnect_cancel_the_handler_once(
    stop: Callable[[Reply, IpcRenderer], None], address: str
) -> None:
    async with Bus(address) as bus:
        handler = Handler()
        renderer = await caller(bus, handler, reconnect=False)
        reply = renderer.invoke("x")
        await handler.begun.wait()
        stop(reply, renderer)
        with pytest.raises((asyncio.CancelledError, ConnectionLost)):
            await within(reply)
        await until(lambda: not bus.hub.main.dispatch.tasks)
        assert handler.cancelled == 1


@pytest.mark.contract("5.7")
@pytest.mark.parametrize("wait", ["task", "wait_for", "timeout"])
async def test_cancelling_the_task_that_awaits_cancels_the_handler(wait: str, address: str) -> None:
    async with Bus(address) as bus:
        handler = Handler()
        renderer = await caller(bus, handler)

        async def ask() -> None:
            await renderer.invoke("x")

        async def in_time() -> None:
            async with asyncio.timeout(0.02):
                await renderer.invoke("x")

        kinds = {"task": ask, "wait_for": lambda: asyncio.wait_for(renderer.invoke("x"), 0.02), "timeout": in_time}
        task = asyncio.ensure_future(kinds[wait]())
        await handler.begun.wait()
        if wait == "task":
            task.cancel()
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await within(task)
        await until(lambda: handler.cancelled)
        await until(lambda: not bus.hub.main.dispatch.tasks)
        assert handler.cancelled == 1


@pytest.mark.contract("5.7")
async def test_a_timeout_is_an_invoke_timeout_and_cancels_the_handler_once(address: str) -> None:
    async with Bus(address) as bus:
        handler = Handler()
        renderer = await caller(bus, handler)
        with pytest.raises(InvokeTimeout) as caught:
            await within(renderer.invoke("x", timeout=0.02))
        assert isinstance(caught.value, TimeoutError)
        assert not isinstance(caught.value, RemoteError)
        assert (caught.value.channel, caught.value.timeout) == ("x", 0.02)
        await until(lambda: not bus.hub.main.dispatch.tasks)
        assert handler.cancelled == 1


@pytest.mark.contract("5.7")
async def test_the_broker_keeps_the_deadline_too(address: str) -> None:
    async with Bus(address) as bus:
        handler = Handler()
        renderer = await caller(bus, handler)
        session = renderer._session
        assert session is not None
        # A caller whose own clock is late.
        reply = session.calls.open("x", 999, session.main, 1000)
        session.main.charge(1)
        session.outbox.put(build(Kind.INVOKE, MAIN, 999, b"\x80", value=20, channel=b"x"))
        with pytest.raises(InvokeTimeout):
            await within(reply)
        assert handler.cancelled == 1


@pytest.mark.contract("5.7")
async def test_the_broker_keeps_the_deadline_of_an_invoke_that_had_to_wait(address: str) -> None:
    async with Bus(address) as bus:
        handler = Handler()
        renderer = await caller(bus, lambda event: handler(event))
        session = renderer._session
        assert session is not None

        async def listener(event: object) -> None:
            await asyncio.sleep(0)

        bus.ipc_main.on("before", listener)
        reply = session.calls.open("x", 999, session.main, 1000)
        session.main.charge(1)
        before = build(Kind.SEND, MAIN, 0, b"\x80", channel=b"before")
        for packet in (before, before, build(Kind.INVOKE, MAIN, 999, b"\x80", value=20, channel=b"x")):
            session.outbox.put(packet)
        with pytest.raises(InvokeTimeout):
            await within(reply)
        assert handler.cancelled == 1


@pytest.mark.contract("5.7")
@pytest.mark.parametrize("stop", STOPS)
async def test_a_handler_that_ignores_it_is_cancelled_once_logged_and_charged_until_it_ends(
    stop: Callable[[Reply, IpcRenderer], None], address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bus(address, config=Config(cancel_grace=0.01)) as bus:
        handler = Handler(lambda: "late")
        renderer = await caller(bus, handler, reconnect=False)
        reply = renderer.invoke("x")
        await handler.begun.wait()
        stop(reply, renderer)
        await until(lambda: [record for record in caplog.records if "0.01 s" in record.getMessage()])
        [record] = [record for record in caplog.records if "0.01 s" in record.getMessage()]
        assert record.levelno == logging.WARNING
        assert "'x'" in record.getMessage()
        assert bus.broker.stats()["running"] == 1
        handler.release.set()
        await until(lambda: not bus.broker.stats()["running"])
        assert handler.cancelled == 1
        await asyncio.gather(reply, return_exceptions=True)


@pytest.mark.contract("5.7")
async def test_what_is_cancelled_twice_over_is_cancelled_once(address: str) -> None:
    async with Bus(address) as bus:
        handler = Handler(lambda: "late")
        renderer = await caller(bus, handler)
        session = renderer._session
        assert session is not None
        reply = renderer.invoke("x", timeout=0.02)
        await handler.begun.wait()
        reply.cancel()
        session.outbox.put(build(Kind.CANCEL, MAIN, reply.request))
        session.outbox.put(build(Kind.CANCEL, MAIN, reply.request))
        await bus.served(renderer)
        # The deadline passes as well.
        loop = asyncio.get_running_loop()
        passed = loop.create_future()
        loop.call_later(0.03, passed.set_result, None)
        await passed
        await renderer.aclose()
        await until(lambda: not bus.hub.renderers)
        handler.release.set()
        await until(lambda: not bus.hub.main.dispatch.tasks)
        assert handler.cancelled == 1


@pytest.mark.contract("5.7")
async def test_a_handler_has_time_to_clean_up(address: str) -> None:
    async with Bus(address) as bus:
        cleaned = Calls()

        async def handler(event: object) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0.001)
                cleaned()

        begun = asyncio.Event()
        renderer = await caller(bus, handler)
        reply = renderer.invoke("x")
        await within(begun.wait())
        reply.cancel()
        await cleaned.wait()
        await until(lambda: not bus.hub.main.dispatch.tasks)


def raise_value_error() -> object:
    raise ValueError("after it")


@pytest.mark.contract("5.7")
@pytest.mark.parametrize("after", [lambda: "late", raise_value_error, lambda: raise_value_error])
async def test_a_late_reply_is_dropped(after: Callable[[], object], address: str) -> None:
    async with Bus(address) as bus:
        handler = Handler(after)
        renderer = await caller(bus, handler)
        reply = renderer.invoke("x")
        await handler.begun.wait()
        reply.cancel()
        await until(lambda: handler.cancelled)
        handler.release.set()
        await until(lambda: not bus.hub.main.dispatch.tasks)
        await bus.served(renderer)
        assert reply.cancelled()
        assert renderer.stats()["pending"] == 0


@pytest.mark.contract("5.7")
async def test_a_late_reply_after_the_callers_end_is_dropped(address: str) -> None:
    async with Bus(address) as bus:
        handler = Handler(lambda: "late")
        renderer, other = await caller(bus, handler), await bus.renderer()
        reply = renderer.invoke("x")
        await handler.begun.wait()
        await renderer.aclose()
        handler.release.set()
        await until(lambda: not bus.hub.main.dispatch.tasks)
        await bus.served(other)
        with pytest.raises(ConnectionLost):
            await reply


@pytest.mark.contract("5.7")
async def test_an_invoke_that_is_cancelled_before_its_turn_never_starts(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=1))) as bus:
        release, never = asyncio.Event(), Calls()

        async def busy(event: object) -> None:
            await release.wait()

        bus.ipc_main.on("busy", busy)
        renderer = await caller(bus, never)
        renderer.send("busy")
        reply = renderer.invoke("x")
        await until(lambda: not bus.peer(renderer).inbox.clear)
        reply.cancel()
        await renderer.drain()
        await until(lambda: False in bus.peer(renderer).inbox._invokes.values())
        release.set()
        await bus.served(renderer)
        assert never.calls == []
        assert renderer.stats()["pending"] == 0


@pytest.mark.contract("5.7")
@pytest.mark.parametrize("kind", ["task", "future", "coroutine"])
async def test_cancelling_reaches_what_a_plain_handler_returned(kind: str, address: str) -> None:
    async with Bus(address) as bus:
        work = Handler()
        made: list[asyncio.Future[object]] = []

        def handler(event: object) -> object:
            coroutine = work(event)
            if kind == "coroutine":
                return coroutine
            made.append(asyncio.ensure_future(coroutine))
            return asyncio.gather(made[0]) if kind == "future" else made[0]

        renderer = await caller(bus, handler)
        reply = renderer.invoke("x")
        await work.begun.wait()
        reply.cancel()
        await until(lambda: not bus.hub.main.dispatch.tasks)
        await until(lambda: work.cancelled)
        assert work.cancelled == 1


@pytest.mark.contract("5.5")
async def test_a_handler_whose_task_is_cancelled_by_others_never_replies(address: str) -> None:
    async with Bus(address) as bus:
        handler = Handler()
        renderer = await caller(bus, handler)
        reply = renderer.invoke("x", timeout=1000)
        await handler.begun.wait()
        [task] = bus.hub.main.dispatch.tasks
        task.cancel()
        with pytest.raises(ReplyNeverSent) as caught:
            await within(reply)
        assert str(caught.value) == NEVER
        assert isinstance(caught.value, RemoteError)


@pytest.mark.contract("5.5", "9.5")
@pytest.mark.parametrize("how", ["close", "abort", "goodbye"])
async def test_a_renderer_that_goes_never_replies_to_the_main_process(how: str, address: str) -> None:
    async with Bus(address) as bus:
        handler, renderer = Handler(), await bus.renderer(reconnect=False)
        renderer.handle("x", handler)
        contents = bus.contents(renderer)
        reply = contents.invoke("x", timeout=1000)
        await handler.begun.wait()
        if how == "close":
            contents.close()
        elif how == "abort":
            stop_by_disconnect(reply, renderer)
        else:
            await renderer.aclose()
        with pytest.raises(ReplyNeverSent) as caught:
            await within(reply)
        assert str(caught.value) == NEVER
        await until(lambda: handler.cancelled)
        assert handler.cancelled == 1


@pytest.mark.contract("5.7", "2.12")
async def test_the_main_process_cancels_a_renderers_handler(address: str) -> None:
    async with Bus(address) as bus:
        handler, renderer = Handler(), await bus.renderer()
        renderer.handle("x", handler)
        reply = bus.contents(renderer).invoke("x")
        await handler.begun.wait()
        reply.cancel()
        await until(lambda: handler.cancelled)
        with pytest.raises(InvokeTimeout):
            await within(bus.contents(renderer).invoke("x", timeout=0.02))
        await until(lambda: handler.cancelled == 2)
        await bus.reached(renderer)
        assert len(bus.peer(renderer).calls) == 0
