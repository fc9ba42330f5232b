"""What drives a generator: one task from its first step to its end, one cancellation, credit before each step."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest
from mainbus.streaming import Producer, refuse_generator
from mainbus.wire.credit import OVERHEAD, WINDOW
from mainbus_broker import Config

from tests.support.bus import Bus, Calls, until, within
from tests.support.streams import DIRECTIONS, Source, ways

LEAD = WINDOW // OVERHEAD


class Driven:
    """A producer and the task that drives it."""

    def __init__(self, result: object, size: int = 0) -> None:
        self.items: list[object] = []
        self.size = size
        loop = asyncio.get_running_loop()
        self.producer = Producer(loop, self._put)
        self.task = loop.create_task(self.producer.run(result))
        self.producer.start(self.task, result)

    def _put(self, item: object) -> int:
        self.items.append(item)
        return self.size

    async def has(self, count: int) -> None:
        await until(lambda: len(self.items) >= count)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(self.items) == count


async def end(driven: Driven) -> type[BaseException] | None:
    await within(asyncio.wait([driven.task]))
    if driven.task.cancelled():
        return asyncio.CancelledError
    error = driven.task.exception()
    return type(error) if error is not None else None


async def test_credit_is_what_it_goes_on_with() -> None:
    source = Source()
    driven = Driven(source(None))
    await driven.has(LEAD)
    driven.producer.credited(OVERHEAD - 1)
    await driven.has(LEAD + 1)
    driven.producer.credited(10 * OVERHEAD + 1)
    await driven.has(LEAD + 11)
    assert source.made == LEAD + 11
    assert driven.items == list(range(LEAD + 11))
    driven.producer.cancel()
    assert await end(driven) is asyncio.CancelledError


async def test_an_item_of_any_size_may_go_when_there_is_credit_left() -> None:
    driven = Driven(Source()(None), size=10 * WINDOW)
    await driven.has(1)
    driven.producer.credited(9 * WINDOW)
    await driven.has(1)
    driven.producer.credited(2 * WINDOW)
    await driven.has(2)
    driven.producer.cancel()
    assert await end(driven) is asyncio.CancelledError


@pytest.mark.contract("6.2")
async def test_one_task_drives_it_from_its_first_step_to_its_end() -> None:
    source = Source()
    driven = Driven(source(None))
    await driven.has(LEAD)
    driven.producer.credited(OVERHEAD)
    await driven.has(LEAD + 1)
    driven.producer.cancel()
    await end(driven)
    assert source.tasks == {driven.task}


@pytest.mark.contract("6.2")
async def test_cancelled_while_it_waits_for_credit_it_sees_generator_exit_at_the_yield() -> None:
    source = Source()
    driven = Driven(source(None))
    await driven.has(LEAD)
    driven.producer.cancel()
    assert await end(driven) is asyncio.CancelledError
    assert [type(why) for why in source.why] == [GeneratorExit]


@pytest.mark.contract("6.2")
async def test_cancelled_at_an_await_it_sees_cancelled_error_and_may_await_in_its_finally() -> None:
    seen: list[str] = []

    async def items() -> AsyncIterator[int]:
        yield 0
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0.001)
            seen.append("ended")

    driven = Driven(items())
    await driven.has(1)
    driven.producer.cancel()
    assert await end(driven) is asyncio.CancelledError
    assert seen == ["cancelled", "ended"]


@pytest.mark.contract("6.2")
async def test_one_that_swallows_the_cancellation_and_yields_is_closed() -> None:
    seen: list[str] = []

    async def items() -> AsyncIterator[int]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
        try:
            yield 1
        except GeneratorExit:
            seen.append("closed")
            raise

    driven = Driven(items())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    driven.producer.cancel()
    assert await end(driven) is asyncio.CancelledError
    assert (seen, driven.items) == (["cancelled", "closed"], [])


@pytest.mark.contract("6.2")
async def test_one_that_swallows_the_cancellation_and_returns_has_not_come_to_its_end() -> None:
    async def items() -> AsyncIterator[int]:
        yield 0
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    driven = Driven(items())
    await driven.has(1)
    driven.producer.cancel()
    assert await end(driven) is asyncio.CancelledError


async def test_cancelled_before_its_first_step_it_never_begins() -> None:
    begun = []

    async def later() -> int:
        begun.append(1)
        return 1

    driven = Driven(later())
    driven.producer.cancel()
    await end(driven)
    # An eager loop has run it by then.
    assert begun == driven.items


async def test_one_that_was_cancelled_in_its_own_first_step_ends() -> None:
    async def items() -> AsyncIterator[int]:
        producer.cancel()
        yield 1
        raise AssertionError

    items_sent: list[object] = []

    def put(item: object) -> int:
        items_sent.append(item)
        return 0

    loop = asyncio.get_running_loop()
    producer = Producer(loop, put)
    result = items()
    coroutine = producer.run(result)
    # As an eager task has it: its first step is made before anybody has the task.
    with pytest.raises(asyncio.CancelledError):
        coroutine.send(None)
    assert not items_sent


@pytest.mark.contract("6.3")
async def test_whatever_ends_it_ends_the_generator() -> None:
    async def fails() -> AsyncIterator[int]:
        yield 1
        raise KeyError

    assert await end(Driven(fails())) is KeyError

    async def insists() -> AsyncIterator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    driven = Driven(insists(), size=WINDOW)
    await driven.has(1)
    driven.producer.cancel()
    assert await end(driven) is RuntimeError

    source = Source()

    def refuse(item: object) -> int:
        raise ValueError

    producer = Producer(asyncio.get_running_loop(), refuse)
    with pytest.raises(ValueError):
        await producer.run(source(None))
    assert [type(why) for why in source.why] == [GeneratorExit]


async def test_what_is_no_generator_is_one_item() -> None:
    async def later() -> int:
        return 7

    async def returns_one() -> AsyncGenerator[int, None]:
        async def items() -> AsyncGenerator[int, None]:
            yield 8
            yield 9

        return items()

    for result, items in ((later(), [7]), (5, [5]), ([1], [[1]]), (returns_one(), [8, 9])):
        driven = Driven(result)
        assert await end(driven) is None
        assert driven.items == items


async def test_a_generator_that_is_refused_is_closed() -> None:
    source = Source()
    generator = source(None)
    assert await anext(generator) == 0
    assert isinstance(generator, AsyncGenerator)
    with pytest.raises(TypeError, match="no stream here"):
        await refuse_generator(generator, "no stream here")
    assert [type(why) for why in source.why] == [GeneratorExit]


# Through the dispatch of each end.


@pytest.mark.contract("2.20")
@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_a_generator_has_begun_before_a_later_message_starts(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        log: list[str] = []

        async def items(event: Any, number: int) -> AsyncIterator[int]:
            log.append(f"stream {number}")
            yield number
            await asyncio.sleep(0)

        def plain(event: Any, number: int) -> None:
            log.append(f"send {number}")

        way.handle(items)
        bus.ipc_main.on("plain", plain)
        way.producer.on("plain", plain, senders="any")
        streams = []
        for number in range(20):
            streams.append(way.stream(number))
            if direction == "to main":
                way.consumer.send("plain", number)
            elif direction == "from main":
                bus.contents(way.producer).send("plain", number)
            else:
                way.consumer.send_to("producer", "plain", number)
        for number, stream in enumerate(streams):
            assert [item async for item in stream] == [number]
        await until(lambda: len(log) == 40)
        assert log == [f"{what} {number}" for number in range(20) for what in ("stream", "send")]


@pytest.mark.contract("2.8")
async def test_a_listener_that_returns_an_async_generator_is_reported(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        source, told = Source(), Calls()
        bus.broker.on("listener-error", told)

        async def returns_one(event: Any) -> Any:
            return source(event)

        def plain(event: Any) -> Any:
            return source(event)

        listeners: list[Callable[..., Any]] = [source, plain, returns_one]
        for number, listener in enumerate(listeners, 1):
            with bus.ipc_main.on("c", listener):
                renderer.send("c")
                await told.wait(number)
        assert all(type(error) is TypeError and "async generator" in str(error) for error, _, _ in bus.errors)
        assert not source.made


@pytest.mark.contract("2.10")
async def test_an_async_generator_function_does_not_run_in_a_thread(address: str) -> None:
    async with Bus(address) as bus:
        with pytest.raises(TypeError, match="async generator function"):
            bus.ipc_main.handle("c", Source(), thread=True)

        async def items(event: Any) -> AsyncIterator[int]:
            yield 1

        with pytest.raises(TypeError, match="async generator function"):
            bus.ipc_main.handle("c", items, thread=True)


@pytest.mark.contract("6.2", "5.7")
@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_one_that_does_not_end_in_time_is_logged_and_stays_charged(
    address: str, direction: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainbus.arrivals.CANCEL_GRACE", 0.01)

    async with Bus(address, config=Config(cancel_grace=0.01)) as bus:
        way = await ways(bus, direction)
        go = asyncio.Event()

        async def items(event: Any) -> AsyncIterator[int]:
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                await go.wait()

        way.handle(items)
        async with way.stream() as stream:
            assert await within(anext(stream)) == 1
        await until(lambda: "still runs" in caplog.text)
        assert way.count
        go.set()
        await until(lambda: not way.count)


@pytest.mark.contract("6.2", "9.5")
async def test_a_generator_that_ends_its_consumer_in_its_first_step_is_ended(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer(reconnect=False)
        ended = Calls()

        async def items(event: Any) -> AsyncIterator[int]:
            try:
                event.sender.close()
                await asyncio.Event().wait()
                yield 1
            finally:
                ended()

        bus.ipc_main.handle("items", items)
        stream = renderer.stream("items")
        with pytest.raises(Exception, match=r"closed|lost|gone"):
            await within(anext(stream))
        await ended.wait()
