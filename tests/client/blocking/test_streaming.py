"""A plain generator that answers a stream: its steps are made where listeners run, and others run between them."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import mainbus
import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer
from mainbus.wire.credit import OVERHEAD, WINDOW

from tests.support.threads import PATIENCE, Box, BrokerThread

LEAD = WINDOW // OVERHEAD


class Numbers:
    """A generator function that counts for ever or to a `stop`, and tells other threads of its end."""

    def __init__(self, stop: int | None = None) -> None:
        self.made = 0
        self.why = Box()
        self.threads: set[str] = set()
        self._stop = stop

    def __call__(self, event: Any) -> Iterator[int]:
        try:
            while self.made != self._stop:
                self.threads.add(threading.current_thread().name)
                self.made += 1
                yield self.made - 1
        except BaseException as error:
            self.why(type(error))
            raise
        self.why(None)


@pytest.fixture
def renderer(broker: BrokerThread) -> Iterator[BlockingRenderer]:
    with mainbus.blocking.connect(broker.address, name="a") as opened:
        yield opened


async def collect(broker: BrokerThread, count: int | None = None, timeout: float | None = None) -> list[Any]:
    """Take so many items of "items" from the renderer, or all."""
    contents = broker.broker.web_contents.from_name("a")
    assert contents is not None
    got = []
    async with contents.stream("items", timeout=timeout) as stream:
        async for item in stream:
            got.append(item)
            if len(got) == count:
                break
    return got


@pytest.mark.contract("3.14", "6.1")
def test_a_generator_streams_its_items(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    numbers = Numbers(5000)
    renderer.handle("items", numbers)
    assert broker.run(collect(broker)) == list(range(5000))
    assert numbers.why.get() == (None,)
    assert numbers.threads == {"mainbus listeners"}
    assert renderer.stats()["streams"] == 0


@pytest.mark.contract("3.14", "6.1")
def test_it_waits_for_credit_and_other_listeners_run_between(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    numbers = Numbers()
    renderer.handle("items", numbers)
    renderer.handle("made", lambda event: numbers.made)

    async def take_slowly() -> None:
        contents = broker.broker.web_contents.from_name("a")
        assert contents is not None
        async with contents.stream("items") as stream:
            for taken in range(200):
                assert await anext(stream) == taken
                for _ in range(2):
                    made = await contents.invoke("made")
                assert taken < made <= taken + LEAD + 2

    broker.run(take_slowly())
    assert numbers.why.get() == (GeneratorExit,)
    assert renderer.stats()["streams"] == 0


@pytest.mark.contract("3.14", "6.2")
def test_closing_the_stream_closes_it(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    for count in (1, 10, 1000):
        numbers = Numbers()
        renderer.handle("items", numbers, replace=True)
        assert broker.run(collect(broker, count)) == list(range(count))
        assert numbers.why.get() == (GeneratorExit,)


@pytest.mark.contract("3.14", "6.2")
def test_a_deadline_closes_it_after_the_step_that_it_is_in(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    begun, go, why = threading.Event(), threading.Event(), Box()

    def items(event: Any) -> Iterator[int]:
        begun.set()
        try:
            yield 0
            go.wait(PATIENCE)
            # More than one: that the time is over is known here a moment after it is known to who has asked.
            yield from itertools.count(1)
        except GeneratorExit:
            why("closed")
            raise

    renderer.handle("items", items)
    timeout = 0.05
    while not begun.is_set():
        # On a busy machine the time may be over before the first step.
        with pytest.raises(mainbus.InvokeTimeout):
            broker.run(collect(broker, timeout=timeout))
        timeout *= 2
    go.set()
    assert why.get() == ("closed",)


@pytest.mark.contract("3.14", "6.2", "9.5")
def test_a_consumer_that_is_gone_closes_it(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    numbers = Numbers()
    renderer.handle("items", numbers, senders="any")
    with mainbus.blocking.connect(broker.address) as other:
        items = other.stream_to("a", "items")
        assert next(items) == 0
    assert numbers.why.get() == (GeneratorExit,)
    numbers = Numbers()
    renderer.handle("items", numbers, senders="any", replace=True)
    items = renderer.stream_to("a", "items")
    assert next(items) == 0
    broker.call(broker.contents("a")._peer.transport.abort)
    assert numbers.why.get() == (GeneratorExit,)


@pytest.mark.contract("3.14", "6.3")
def test_errors_items_that_cannot_be_cloned_and_verbs_that_do_not_fit(
    broker: BrokerThread, renderer: BlockingRenderer, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(event: Any) -> Iterator[int]:
        yield 1
        raise KeyError("gone")

    def odd(event: Any) -> Iterator[Any]:
        try:
            yield print
        finally:
            raise ValueError("while it was closed")

    async def late(event: Any) -> AsyncIterator[int]:
        yield 1

    renderer.handle("items", fails, senders="any")
    with pytest.raises(KeyError, match="gone"):
        broker.run(collect(broker))
    with pytest.raises(TypeError, match=r"stream\(\)"):
        renderer.invoke_to("a", "items")
    renderer.handle("items", odd, replace=True)
    with pytest.raises(mainbus.RemoteError, match=r"could not be cloned. \(item: "):
        broker.run(collect(broker))
    assert "while it was closed" in caplog.text
    renderer.handle("items", late, replace=True)
    with pytest.raises(TypeError, match="async generator"):
        broker.run(collect(broker))
    renderer.handle("items", lambda event: [1, 2], replace=True)
    assert broker.run(collect(broker)) == [[1, 2]]
    renderer.remove_handler("items")
    with pytest.raises(mainbus.NoHandlerError):
        broker.run(collect(broker))


@pytest.mark.contract("3.14")
def test_a_step_may_wait_for_messages_while_others_run(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    def items(event: Any) -> Iterator[Any]:
        for _ in range(3):
            yield renderer.wait_for("word", PATIENCE)[1]

    renderer.handle("items", items)
    renderer.handle("echo", lambda event, value: value)

    async def take() -> list[Any]:
        contents = broker.broker.web_contents.from_name("a")
        assert contents is not None
        got = []
        async with contents.stream("items") as stream:
            for number in range(3):
                # It waits in a step now, and another handler runs inside of that.
                assert await contents.invoke("echo", number) == number
                contents.send("word", number)
                got.append(await anext(stream))
        return got

    assert broker.run(take()) == [0, 1, 2]


@pytest.mark.contract("3.14")
def test_the_thread_that_polls_makes_the_steps(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address, name="a", poll=True) as renderer:
        numbers = Numbers(200)
        renderer.handle("items", numbers)
        done = threading.Event()
        got: list[Any] = []

        async def take() -> None:
            got.extend(await collect(broker))
            done.set()

        async def start() -> Any:
            return asyncio.ensure_future(take())

        task = broker.run(start())
        while not done.is_set():
            renderer.poll(0.01)
        assert got == list(range(200))
        assert numbers.threads == {threading.current_thread().name}
        del task
