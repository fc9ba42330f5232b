"""The consumer of a stream without a loop: a plain iterator that gives credit as items are taken."""

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import mainbus
import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer, Items
from mainbus.blocking.waiter import Waiter
from mainbus.wire.credit import OVERHEAD, WINDOW

from tests.support.threads import PATIENCE, Box, BrokerThread, in_thread

LEAD = WINDOW // OVERHEAD


class Numbers:
    """An async generator function that counts for ever or to a `stop`, and tells threads of its end."""

    def __init__(self, stop: int | None = None) -> None:
        self.made = 0
        self.ended = threading.Event()
        self._stop = stop

    async def __call__(self, event: Any) -> AsyncIterator[int]:
        try:
            while self.made != self._stop:
                self.made += 1
                yield self.made - 1
        finally:
            self.ended.set()

    def has_ended(self) -> bool:
        return self.ended.wait(PATIENCE)


@pytest.fixture
def renderer(broker: BrokerThread) -> Iterator[BlockingRenderer]:
    with mainbus.blocking.connect(broker.address, name="a") as opened:
        yield opened
        # Behind the answers to streams that were closed.
        opened.invoke("echo")
        assert opened.stats()["streams"] == 0
        assert opened.stats()["pending"] == 0


def handle(broker: BrokerThread, fn: Any) -> Any:
    broker.ipc_main.handle("items", fn, replace=True)
    return fn


@pytest.mark.contract("3.14", "6.1")
def test_items_arrive_in_order_and_then_it_ends(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    handle(broker, Numbers(5000))
    items = renderer.stream("items")
    assert isinstance(items, Items)
    assert list(items) == list(range(5000))
    assert list(items) == []


@pytest.mark.contract("3.14", "6.1")
def test_a_slow_consumer_makes_the_generator_wait(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    numbers = handle(broker, Numbers())
    with renderer.stream("items") as items:
        for taken in range(300):
            assert next(items) == taken
            renderer.invoke("echo")
            assert taken < numbers.made <= taken + LEAD + 2
    assert numbers.has_ended()
    assert list(items) == []
    renderer.invoke("echo")


@pytest.mark.contract("3.14", "6.2")
def test_dropped_after_a_bare_break_it_closes(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    numbers = handle(broker, Numbers())
    for number in renderer.stream("items"):
        if number == 100:
            break
    gc.collect()
    assert numbers.has_ended()
    numbers = handle(broker, Numbers())
    renderer.stream("items")
    gc.collect()
    # It may have been taken back before the generator began.
    renderer.invoke("echo")
    assert not numbers.made or numbers.has_ended()


@pytest.mark.contract("3.14", "6.2", "6.3")
def test_errors_come_behind_the_items(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    async def items(event: Any) -> AsyncIterator[int]:
        yield 1
        raise KeyError("gone")

    handle(broker, items)
    stream = renderer.stream("items")
    assert next(stream) == 1
    with pytest.raises(KeyError, match="gone"):
        next(stream)
    assert list(stream) == []
    with pytest.raises(mainbus.NoHandlerError):
        next(renderer.stream("nothing"))
    with pytest.raises(mainbus.NoSuchRenderer):
        next(renderer.stream_to("nobody", "items"))


@pytest.mark.contract("3.14", "6.2")
def test_the_deadline_and_the_end_of_the_renderer_wake_who_waits(broker: BrokerThread) -> None:
    gone = Box()

    async def items(event: Any) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            gone()

    handle(broker, items)
    with mainbus.blocking.connect(broker.address, reconnect=False) as renderer:
        with pytest.raises(mainbus.InvokeTimeout):
            list(renderer.stream("items", timeout=0.1))
        gone.get()
        stream = renderer.stream("items")
        assert next(stream) == 1
        waiting = in_thread(lambda: next(stream))
    with pytest.raises(mainbus.MainbusError):
        waiting()
    gone.get()


@pytest.mark.contract("3.14")
def test_any_threads_take_one_at_a_time(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    handle(broker, Numbers(2000))
    stream = renderer.stream("items")
    found = [in_thread(lambda: list(stream)) for _ in range(4)]
    parts = [wait() for wait in found]
    assert sorted(number for part in parts for number in part) == list(range(2000))
    assert all(part == sorted(part) for part in parts)


@pytest.mark.contract("3.14")
def test_ctrl_c_interrupts_the_wait_and_closes_the_stream(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    ended = threading.Event()
    begun = asyncio.Event()
    main = threading.get_ident()

    async def items(event: Any) -> AsyncIterator[int]:
        yield 0
        try:
            await begun.wait()
            # No event tells that a thread waits.
            while sys._current_frames()[main].f_code is not Waiter.wait.__code__:  # noqa: ASYNC110
                await asyncio.sleep(0)
            signal.pthread_kill(main, signal.SIGINT)
            await event.sender.invoke("never")
        finally:
            ended.set()

    never = threading.Event()
    renderer.handle("never", lambda event: never.wait(PATIENCE))
    handle(broker, items)
    broker.ipc_main.on("begun", lambda event: begun.set())
    stream = renderer.stream("items")

    def take_all() -> list[Any]:
        renderer.send("begun")
        return list(stream)

    with pytest.raises(KeyboardInterrupt):
        take_all()
    assert ended.wait(PATIENCE)
    assert list(stream) == []
    never.set()


@pytest.mark.contract("3.14")
def test_a_listener_may_take_from_a_stream(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    handle(broker, Numbers(500))
    got = Box()
    renderer.on("go", lambda event: got(list(renderer.stream("items"))))
    broker.send("a", "go")
    assert got.get() == (list(range(500)),)
