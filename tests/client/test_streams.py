"""The consumer of a stream, in all directions: items in order, credit, every way in which it can end."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import mainbus
import pytest
from mainbus import LocalProtocolError, Stream
from mainbus.wire.credit import OVERHEAD, WINDOW
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, Calls, until, within
from tests.support.streams import DIRECTIONS, Source, collect, is_over, ways

pytestmark = pytest.mark.parametrize("direction", DIRECTIONS)

LEAD = WINDOW // OVERHEAD
"""Small items that may be under way."""


async def until_it_raises(stream: Stream) -> tuple[list[Any], Exception]:
    """Take all items; returns them, and the error behind them."""
    got = []
    try:
        async with asyncio.timeout(10):
            async for item in stream:
                got.append(item)
    except Exception as error:
        return got, error
    raise AssertionError(f"no error behind {got}")


# 6.1: items in order, on credit.


@pytest.mark.contract("6.1", "2.7", "2.12", "3.7", "3.9")
async def test_items_arrive_in_order_and_then_it_ends(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)

        async def items(event: Any, first: int, count: int) -> AsyncIterator[Any]:
            assert event.channel == "items"
            for number in range(first, first + count):
                yield {"number": number, "text": "x" * (number % 100)}

        way.handle(items)
        got = await within(collect(way.stream(10, 1000)))
        assert got == [{"number": number, "text": "x" * (number % 100)} for number in range(10, 1010)]
        assert await within(collect(way.stream(0, 0))) == []
        await is_over(way)


@pytest.mark.contract("6.1")
async def test_the_request_leaves_at_the_call(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source(stop=1)
        way.handle(source)
        stream = way.stream()
        await until(lambda: source.ended.is_set())
        assert await within(collect(stream)) == [0]
        assert await within(collect(stream)) == []


@pytest.mark.contract("6.1")
async def test_a_slow_consumer_makes_the_generator_wait(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source()
        way.handle(source)
        async with way.stream() as stream:
            for taken in range(200):
                assert await within(anext(stream)) == taken
                for _ in range(3):
                    await bus.reached(way.producer)
                    await bus.served(way.consumer)
                assert taken < source.made <= taken + 1 + LEAD + 1
        await within(source.ended.wait())
        await is_over(way)


@pytest.mark.contract("6.1")
async def test_large_items_come_one_at_a_time(address: str, direction: str) -> None:
    size = 3 * 1024 * 1024 + 1
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source(lambda number: bytes([number]) * size, stop=5)
        way.handle(source)
        async with way.stream() as stream:
            for number in range(5):
                assert await within(anext(stream)) == bytes([number]) * size
                await bus.reached(way.producer)
                assert source.made <= number + 2
            assert await within(collect(stream)) == []
        await is_over(way)


@pytest.mark.contract("6.1", "2.19")
async def test_two_streams_of_large_items_and_calls_beside_them(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)

        async def items(event: Any, name: str) -> AsyncIterator[Any]:
            for number in range(10):
                yield (name + str(number)) * 100_000

        way.handle(items)
        bus.ipc_main.handle("echo", lambda event, value: value)
        streams = [asyncio.create_task(collect(way.stream(name))) for name in "ab"]
        for number in range(10):
            value = bytes([number]) * 300_000
            assert await within(way.consumer.invoke("echo", value)) == value
        for name, stream in zip("ab", streams, strict=True):
            assert await within(stream) == [(name + str(number)) * 100_000 for number in range(10)]


@pytest.mark.contract("6.1")
async def test_very_many_items(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        way.handle(Source(stop=20_000))
        async with asyncio.timeout(60):
            assert await collect(way.stream()) == list(range(20_000))
        await is_over(way)


@pytest.mark.contract("6.1", "9.3")
async def test_streams_cost_no_credit_of_invokes_and_have_a_bound_of_their_own(address: str, direction: str) -> None:
    config = Config(limits=Limits(running=2, pending=2, streams=5))
    async with Bus(address, config=config) as bus:
        way = await ways(bus, direction)
        way.handle(Source())
        streams = [way.stream() for _ in range(5)]
        for stream in streams:
            assert await within(anext(stream)) == 0
        # Each end counts its own, and the broker all that it knows.
        assert bus.broker.stats()["streams"] == 5
        assert bus.broker.stats()["pending_replies"] == 0
        with pytest.raises(mainbus.TooManyRequests, match="streams"):
            await within(collect(way.stream()))
        way.consumer.handle("echo", lambda event, value: value, senders="any")
        assert await within(way.producer.invoke_to("consumer", "echo", 1)) == 1
        await streams.pop().aclose()
        await until(lambda: bus.broker.stats()["streams"] == 4)
        streams.append(way.stream())
        for stream in streams:
            assert await within(anext(stream)) in (0, 1)
            await stream.aclose()
        await is_over(way)


async def test_two_tasks_at_once_are_one_too_many(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        go = asyncio.Event()

        async def items(event: Any) -> AsyncIterator[int]:
            await go.wait()
            yield 1

        way.handle(items)
        stream = way.stream()
        first = asyncio.create_task(collect(stream))
        await asyncio.sleep(0)
        with pytest.raises(LocalProtocolError, match="one task at a time"):
            await anext(stream)
        go.set()
        assert await within(first) == [1]


@pytest.mark.contract("3.13")
async def test_another_thread_is_told_so(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        way.handle(Source(stop=1))
        stream = way.stream()

        def elsewhere() -> None:
            for use in (stream.aclose, stream.__anext__):
                with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                    use().send(None)

        await asyncio.to_thread(elsewhere)
        assert await within(collect(stream)) == [0]


# 6.3: errors, and verbs that do not fit.


@pytest.mark.contract("6.3")
async def test_an_exception_comes_after_the_items_before_it(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)

        async def items(event: Any) -> AsyncIterator[int]:
            yield 1
            yield 2
            raise KeyError("gone")

        way.handle(items)
        stream = way.stream()
        got, error = await until_it_raises(stream)
        assert got == [1, 2]
        assert isinstance(error, KeyError)
        assert isinstance(error, mainbus.RemoteError)
        assert str(error) == "Error invoking remote method 'items': KeyError: 'gone'"
        assert await within(collect(stream)) == []
        await is_over(way)


@pytest.mark.contract("6.3", "5.4")
async def test_an_item_that_cannot_be_cloned_ends_it(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source(lambda number: [number, print] if number == 2 else number)
        way.handle(source)
        got, error = await until_it_raises(way.stream())
        assert got == [0, 1]
        assert type(error) is mainbus.RemoteError
        assert str(error) == (
            "Error invoking remote method 'items': An object could not be cloned. (item[1]: builtin_function_or_method)"
        )
        assert [type(why) for why in source.why] == [GeneratorExit]
        await is_over(way)


@pytest.mark.contract("6.3", "5.3")
async def test_invoke_of_a_streaming_handler(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source()

        async def returns_one(event: Any) -> Any:
            return source(event)

        for handler in (source, lambda event: source(event), returns_one):
            way.handle(handler)
            with pytest.raises(TypeError, match=r"stream\(\)"):
                await within(way.invoke())
        assert not source.made
        await is_over(way)


@pytest.mark.contract("6.3", "2.7")
async def test_a_stream_of_a_plain_handler_yields_its_one_result(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)

        async def later(event: Any, value: int) -> int:
            await asyncio.sleep(0)
            return value

        async def at_once(event: Any, value: int) -> int:
            return value

        for handler in (lambda event, value: value, later, at_once):
            way.handle(handler)
            assert await within(collect(way.stream(7))) == [7]
        way.handle(lambda event, value: value, thread=True)
        assert await within(collect(way.stream(8))) == [8]
        await is_over(way)


@pytest.mark.contract("2.7")
async def test_whatever_returns_an_async_generator_streams(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source(stop=3)

        async def returns_one(event: Any) -> Any:
            return source(event)

        for handler in (lambda event: source(event), returns_one):
            way.handle(handler)
            assert await within(collect(way.stream())) == [0, 1, 2]
        way.handle(lambda event: source(event), thread=True)
        assert await within(collect(way.stream())) == [0, 1, 2]
        await is_over(way)


@pytest.mark.contract("6.3", "5.2")
async def test_no_handler_and_wrong_arguments(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        with pytest.raises(mainbus.NoHandlerError, match="No handler registered for 'items'"):
            await within(collect(way.stream()))
        way.handle(Source())
        with pytest.raises(mainbus.ValidationError):
            await within(collect(way.stream(1, 2, 3)))
        await is_over(way)


@pytest.mark.contract("3.3")
async def test_an_error_that_nobody_asked_for_is_logged_and_one_behind_a_break_is_not(
    address: str, direction: str
) -> None:
    reports: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    usual = loop.get_exception_handler()
    async with Bus(address) as bus:
        way = await ways(bus, direction)

        async def items(event: Any) -> AsyncIterator[int]:
            yield 1
            raise KeyError("gone")

        way.handle(items)
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        try:
            async for _ in way.stream():
                await is_over(way)
                break
            gc.collect()
            await asyncio.sleep(0)
            assert not reports
            stream = way.stream()
            await is_over(way)
            del stream
            gc.collect()
            await until(lambda: reports)
        finally:
            loop.set_exception_handler(usual)
    assert reports[0]["message"] == "StreamReply exception was never retrieved"


@pytest.mark.contract("3.4")
async def test_who_awaits_an_item_resumes_before_a_later_message(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        if direction != "to main":
            return
        log: list[str] = []

        async def items(event: Any) -> AsyncIterator[int]:
            for number in range(3):
                event.sender.send("before", number)
                yield number
                event.sender.send("after", number)
            await asyncio.sleep(0)

        way.handle(items)
        for channel in ("before", "after"):
            way.consumer.on(channel, lambda event, number, channel=channel: log.append(f"{channel} {number}"))
        heard = Calls()
        way.consumer.on("end", heard)
        async for item in way.stream():
            log.append(f"item {item}")
        bus.contents(way.consumer).send("end")
        await heard.wait()
        for number in range(3):
            assert log.index(f"before {number}") < log.index(f"item {number}") < log.index(f"after {number}")
