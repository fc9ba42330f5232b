"""How a broker ends: what runs may finish until the drain is over, and whoever waits is told."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable

import mainbus
import pytest
from mainbus import ConnectRefused, IpcRenderer, ReplyNeverSent
from mainbus_broker import Broker, Config, IpcMain, Limits, WebContents

from tests.support.bus import PATIENCE, Bus, Calls, until, within

NEVER = "Error invoking remote method 'x': reply was never sent"


class Work:
    """A handler that runs until it is released, and counts how often it was cancelled."""

    def __init__(self) -> None:
        self.begun = Calls()
        self.release = asyncio.Event()
        self.cancelled = 0
        self.stubborn = False
        self.ended = False

    async def __call__(self, event: object) -> str:
        self.begun(event)
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                # Not for ever: where it is cancelled again and again, the test is to fail, not to hang.
                if not self.stubborn or self.cancelled > 3:
                    raise
        self.ended = True
        return "finished"


async def fails(reply: Awaitable[object]) -> BaseException:
    with pytest.raises(mainbus.MainbusError) as caught:
        await within(reply)
    return caught.value


@pytest.mark.contract("2.1", "9.8")
async def test_running_handlers_finish_and_answer(address: str) -> None:
    async with Bus(address) as bus:
        work, renderer = Work(), await bus.renderer()
        bus.ipc_main.handle("x", work)
        reply = renderer.invoke("x")
        await work.begun.wait()
        stopping = asyncio.ensure_future(bus.broker.stop(drain=1000))
        await asyncio.sleep(0)
        assert not stopping.done()
        with pytest.raises(ConnectRefused):
            _ = await mainbus.connect(address)
        work.release.set()
        assert await within(reply) == "finished"
        await within(stopping)
        assert work.cancelled == 0


@pytest.mark.contract("2.1", "9.8")
async def test_running_listeners_finish_too(address: str) -> None:
    async with Bus(address) as bus:
        work, renderer = Work(), await bus.renderer()
        bus.ipc_main.on("x", work)
        renderer.send("x")
        await work.begun.wait()
        stopping = asyncio.ensure_future(bus.broker.stop(drain=1000))
        await asyncio.sleep(0)
        work.release.set()
        await within(stopping)
        assert work.ended
        assert work.cancelled == 0


@pytest.mark.contract("5.5", "9.8")
@pytest.mark.parametrize("verb", ["on", "handle"])
async def test_what_outlasts_the_drain_is_cancelled_once_and_never_answers(verb: str, address: str) -> None:
    async with Bus(address) as bus:
        work, renderer = Work(), await bus.renderer()
        getattr(bus.ipc_main, verb)("x", work)
        reply = renderer.invoke("x") if verb == "handle" else None
        if reply is None:
            renderer.send("x")
        await work.begun.wait()
        await within(bus.broker.stop(drain=0.01))
        assert work.cancelled == 1
        if reply is not None:
            error = await fails(reply)
            assert type(error) is ReplyNeverSent
            assert str(error) == NEVER


@pytest.mark.contract("5.7")
async def test_a_handler_that_ignores_its_cancellation_is_not_waited_for_beyond_the_grace(address: str) -> None:
    async with Bus(address, config=Config(cancel_grace=0.01)) as bus:
        work, renderer = Work(), await bus.renderer()
        work.stubborn = True
        bus.ipc_main.handle("x", work)
        reply = renderer.invoke("x")
        await work.begun.wait()
        await within(bus.broker.stop(drain=0))
        assert type(await fails(reply)) is ReplyNeverSent
        assert (work.cancelled, work.ended) == (1, False)
        work.release.set()
        await until(lambda: work.ended)
        await until(lambda: not bus.hub.main.dispatch.tasks)


@pytest.mark.contract("5.7")
async def test_a_handler_that_was_cancelled_by_its_callers_end_is_not_cancelled_again(address: str) -> None:
    async with Bus(address, config=Config(cancel_grace=0.01)) as bus:
        work, renderer = Work(), await bus.renderer()
        work.stubborn = True
        bus.ipc_main.handle("x", work)
        reply = renderer.invoke("x")
        await work.begun.wait()
        reply.cancel()
        await until(lambda: work.cancelled)
        await renderer.aclose()
        await within(bus.broker.stop(drain=0))
        assert (work.cancelled, work.ended) == (1, False)
        work.release.set()
        await until(lambda: not bus.hub.main.dispatch.tasks)


@pytest.mark.contract("5.5")
async def test_an_invoke_whose_turn_never_came_is_answered_too(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=1))) as bus:
        work, renderer, never = Work(), await bus.renderer(), Calls()
        bus.ipc_main.on("busy", work)
        bus.ipc_main.handle("x", never)
        renderer.send("busy")
        reply = renderer.invoke("x")
        await until(lambda: not bus.peer(renderer).inbox.clear)
        await within(bus.broker.stop(drain=0))
        error = await fails(reply)
        assert type(error) is ReplyNeverSent
        assert str(error) == NEVER
        assert never.calls == []


@pytest.mark.contract("5.5")
async def test_an_invoke_between_renderers_fails_by_the_same_name_whoever_is_older(address: str) -> None:
    async with Bus(address) as bus:
        one, two = await bus.renderer("one"), await bus.renderer("two")
        replies = []
        for caller, callee in ((one, two), (two, one)):
            work = Work()
            callee.handle("x", work, senders="any")
            assert callee.name is not None
            replies.append(caller.invoke_to(callee.name, "x"))
            await work.begun.wait()
        await within(bus.broker.stop(drain=0))
        for reply in replies:
            error = await fails(reply)
            assert type(error) is ReplyNeverSent
            assert str(error) == NEVER


@pytest.mark.contract("5.5")
async def test_what_the_main_process_has_invoked_fails_at_once(address: str) -> None:
    async with Bus(address) as bus:
        work, renderer = Work(), await bus.renderer()
        renderer.handle("x", work)
        reply = bus.contents(renderer).invoke("x")
        await work.begun.wait()
        await within(bus.broker.stop(drain=0))
        error = await fails(reply)
        assert type(error) is ReplyNeverSent
        assert str(error) == NEVER
        await until(lambda: work.cancelled)


@pytest.mark.contract("9.8")
async def test_an_invoke_that_comes_during_the_drain_starts_no_handler(address: str) -> None:
    async with Bus(address) as bus:
        work, renderer, never = Work(), await bus.renderer(), Calls()
        bus.ipc_main.handle("busy", work)
        bus.ipc_main.handle("x", never)
        busy = renderer.invoke("busy")
        await work.begun.wait()
        late = renderer.invoke("x")
        stopping = asyncio.ensure_future(bus.broker.stop(drain=1000))
        error = await fails(late)
        assert type(error) is ReplyNeverSent
        work.release.set()
        await within(stopping)
        assert await within(busy) == "finished"
        assert never.calls == []


@pytest.mark.contract("2.1")
async def test_stop_twice_is_once_and_both_wait(address: str) -> None:
    async with Bus(address) as bus:
        work, renderer = Work(), await bus.renderer()
        bus.ipc_main.handle("x", work)
        reply = renderer.invoke("x")
        await work.begun.wait()
        serving = asyncio.ensure_future(bus.broker.serve_forever())
        first = asyncio.ensure_future(bus.broker.stop(drain=1000))
        second = asyncio.ensure_future(bus.broker.stop(drain=0))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(task.done() for task in (first, second, serving))
        work.release.set()
        await within(asyncio.gather(first, second, serving))
        assert await within(reply) == "finished"
        await within(bus.broker.stop())


@pytest.mark.contract("2.1")
async def test_cancelling_stop_ends_everything_at_once(address: str) -> None:
    async with Bus(address) as bus:
        work, renderer = Work(), await bus.renderer()
        bus.ipc_main.handle("x", work)
        reply = renderer.invoke("x")
        await work.begun.wait()
        stopping = asyncio.ensure_future(bus.broker.stop(drain=1000))
        other = asyncio.ensure_future(bus.broker.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(stopping)
        await within(other)
        assert type(await fails(reply)) is ReplyNeverSent
        assert work.cancelled == 1
        async with Broker(address):
            pass


@pytest.mark.contract("2.1")
async def test_cancelling_stop_waits_for_no_grace_either(address: str) -> None:
    async with Bus(address, config=Config(cancel_grace=3600)) as bus:
        work, renderer = Work(), await bus.renderer()
        work.stubborn = True
        bus.ipc_main.handle("x", work)
        reply = renderer.invoke("x")
        await work.begun.wait()
        stopping = asyncio.ensure_future(bus.broker.stop(drain=1000))
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.wait([stopping], timeout=PATIENCE)
        assert stopping.cancelled()
        assert type(await fails(reply)) is ReplyNeverSent
        assert (work.cancelled, work.ended) == (1, False)
        work.release.set()
        await until(lambda: not bus.hub.main.dispatch.tasks)


def stops_in_a_handler(bus: Bus, drain: float) -> Callable[..., Awaitable[None]]:
    async def quit_now(event: object) -> None:
        await bus.broker.stop(drain)

    return quit_now


@pytest.mark.contract("2.1")
@pytest.mark.parametrize("drain", [0, 1000])
@pytest.mark.parametrize("verb", ["on", "handle"])
async def test_a_handler_or_listener_may_stop_the_broker(verb: str, drain: float, address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        serving = asyncio.ensure_future(bus.broker.serve_forever())
        getattr(bus.ipc_main, verb)("x", stops_in_a_handler(bus, drain))
        if verb == "handle":
            assert type(await fails(renderer.invoke("x"))) is ReplyNeverSent
        else:
            renderer.send("x")
        await within(serving)
        await within(bus.broker.stop())
        async with Broker(address):
            pass


@pytest.mark.contract("2.1")
async def test_cancelling_serve_forever_does_not_stop_it(address: str) -> None:
    async with Bus(address) as bus:
        serving = asyncio.ensure_future(bus.broker.serve_forever())
        await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait([serving])
        await bus.served(await bus.renderer())


@pytest.mark.contract("2.1")
async def test_an_exception_in_its_context_stops_it_and_goes_on(address: str) -> None:
    told = Calls()

    async def use() -> None:
        async with Broker(address):
            renderer: IpcRenderer = mainbus.connect(address, reconnect=False)
            renderer.events.on("disconnected", told)
            _ = await renderer
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await use()
    assert await told.wait() == ("the broker stops",)
    async with Broker(address, ipc_main=IpcMain()):
        pass


@pytest.mark.contract("9.5")
async def test_a_stopped_broker_keeps_no_renderer_for_the_sake_of_a_deadline(address: str) -> None:
    ipc_main = IpcMain()
    ipc_main.handle("x", lambda event: None)
    kept: weakref.WeakSet[Work] = weakref.WeakSet()
    broker = Broker(address, ipc_main=ipc_main)

    def keep(contents: WebContents) -> None:
        contents.data["work"] = work = Work()
        kept.add(work)

    broker.on("web-contents-created", keep)
    async with broker, mainbus.connect(address, name="one") as one, mainbus.connect(address, name="two") as two:
        two.handle("x", lambda event: None, senders="renderers")
        await within(one.invoke("x", timeout=3600))
        await within(one.invoke_to("two", "x", timeout=3600))
        assert len(kept) == 2
    gc.collect()
    assert not kept
