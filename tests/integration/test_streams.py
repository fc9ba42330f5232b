"""Streams between processes of their own: who is killed at either end, who leaves, and many items to a slow one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import mainbus
import pytest
from mainbus import ConnectionLost, IpcRenderer, ReplyNeverSent, Stream
from mainbus.wire.credit import OVERHEAD, WINDOW
from mainbus_broker import Broker

from tests.support.bus import Bus, Calls, Program, until, within
from tests.support.renderers import broker_process
from tests.support.streams import Source, collect

PRODUCER = """
async def items(event, stop, size):
    try:
        for number in range(stop):
            yield [number, b"x" * size]
        await forever()
    except BaseException as error:
        say("ended by", type(error).__name__)
        raise
    finally:
        await asyncio.sleep(0)
        say("ended")

async def main():
    async with mainbus.connect(sys.argv[1], name="producer", reconnect=False) as renderer:
        renderer.handle("items", items, senders="any")
        say("ready")
        await forever()

asyncio.run(main())
"""
"""A renderer that yields so many items of such a size, and then waits."""

FAILING = """
class Strange:
    pass

async def items(event, what):
    yield 1
    if what == "raises":
        raise ValueError("no more")
    if what == "is not cloned":
        yield {"odd": [Strange]}

async def main():
    async with mainbus.connect(sys.argv[1], name="producer") as renderer:
        renderer.handle("items", items, senders="any")
        renderer.handle("one", lambda event: "alone", senders="any")
        say("ready")
        await forever()

asyncio.run(main())
"""
"""A renderer whose streams come to a bad end, each in its own way."""

QUITTING = """
async def main():
    async with mainbus.connect(sys.argv[1]) as renderer:
        stream = renderer.stream("items", timeout=0.5 if sys.argv[2] == "timeout" else None)
        if sys.argv[2] == "break":
            async for item in stream:
                break
            del stream
        elif sys.argv[2] == "async with":
            async with stream:
                await anext(stream)
        else:
            try:
                async with asyncio.timeout(0.5 if sys.argv[2] == "cancel" else None):
                    async for item in stream:
                        pass
            except (TimeoutError, mainbus.InvokeTimeout) as error:
                say(type(error).__name__)
        say("over")
        await forever()

asyncio.run(main())
"""
"""A renderer that has enough of a stream, for the reason that it is told."""

CONSUMER = """
async def main():
    async with mainbus.connect(sys.argv[1], name="consumer") as renderer:
        verb = renderer.stream if sys.argv[2] == "main" else lambda *args: renderer.stream_to(sys.argv[2], *args)
        async with verb("items") as stream:
            say(await anext(stream))
            sys.stdin.readline()
            async for item in stream:
                pass

asyncio.run(main())
"""
"""A renderer that takes one item of "items", and the rest when it is told to."""


def ask(bus: Bus, renderer: IpcRenderer, direction: str, *args: object) -> Stream:
    """Ask the `PRODUCER` for its items, from the main process or from another renderer."""
    if direction == "between":
        return renderer.stream_to("producer", "items", *args)
    contents = bus.broker.web_contents.from_name("producer")
    assert contents is not None
    return contents.stream("items", *args)


async def rest(stream: Stream) -> tuple[list[Any], Exception | None]:
    """Take what comes; returns the items, and the error behind them."""
    got = []
    try:
        async with asyncio.timeout(10):
            async for item in stream:
                got.append(item)
    except Exception as error:
        return got, error
    return got, None


@pytest.mark.contract("6.2", "9.5")
@pytest.mark.parametrize("direction", ["from main", "between"])
@pytest.mark.parametrize("size", [1, 3 * 1024 * 1024 + 1])
async def test_a_killed_producer_ends_its_streams_at_once(address: str, direction: str, size: int) -> None:
    async with Bus(address) as bus, Program(PRODUCER, address) as producer:
        assert await producer.line() == "ready"
        renderer = await bus.renderer()
        stream = ask(bus, renderer, direction, 10, size)
        assert (await within(anext(stream)))[0] == 0
        waiting = asyncio.create_task(rest(stream))
        await bus.served(renderer)
        producer.kill()
        got, error = await within(waiting)
        assert isinstance(error, ReplyNeverSent)
        assert [number for number, _ in got] == list(range(1, len(got) + 1))
        assert await within(collect(stream)) == []
        assert not renderer.stats()["streams"]
        assert not bus.broker.stats()["streams"]


@pytest.mark.contract("6.2", "9.5")
async def test_a_killed_broker_ends_them_with_connection_lost_after_what_has_come(address: str) -> None:
    async with broker_process(address) as broker, Program(PRODUCER, address) as producer:
        assert await producer.line() == "ready"
        async with mainbus.connect(address, reconnect=False) as renderer:
            stream = renderer.stream_to("producer", "items", 5, 1)
            assert (await within(anext(stream)))[0] == 0
            await until(lambda: len(stream._reply.items) == 4)
            broker.kill()
            assert await producer.line() == "ended by CancelledError"
            assert await producer.line() == "ended"
            await until(lambda: not renderer.is_connected)
            got, error = await rest(stream)
            assert [number for number, _ in got] == [1, 2, 3, 4]
            assert isinstance(error, ConnectionLost)


@pytest.mark.contract("6.2", "9.5", "5.7")
@pytest.mark.parametrize("target", ["main", "producer"])
@pytest.mark.parametrize("waits", ["for credit", "at an await"])
async def test_a_killed_consumer_ends_the_generator_at_once(address: str, target: str, waits: str) -> None:
    async with Bus(address) as bus:
        producer = await bus.renderer("producer")
        seen: list[type[BaseException]] = []
        ended = asyncio.Event()
        full = Source()

        async def one(event: Any) -> AsyncIterator[int]:
            try:
                yield 0
                await asyncio.Event().wait()
            except BaseException as error:
                seen.append(type(error))
                raise
            finally:
                await asyncio.sleep(0)
                ended.set()

        handler = full if waits == "for credit" else one
        bus.ipc_main.handle("items", handler)
        producer.handle("items", handler, senders="any")
        async with Program(CONSUMER, address, target) as consumer:
            assert await consumer.line() == "0"
            if waits == "for credit":
                await until(lambda: full.made > WINDOW // OVERHEAD - 1)
            consumer.kill()
            if waits == "for credit":
                await within(full.ended.wait())
                assert [type(why) for why in full.why] == [GeneratorExit]
            else:
                await within(ended.wait())
                assert seen == [asyncio.CancelledError]
        await until(lambda: not bus.broker.stats()["streams"] and not producer.stats()["streams"])


@pytest.mark.contract("6.2")
@pytest.mark.parametrize("direction", ["from main", "between"])
async def test_who_breaks_off_ends_the_generator_in_the_other_process(address: str, direction: str) -> None:
    async with Bus(address) as bus, Program(PRODUCER, address) as producer:
        assert await producer.line() == "ready"
        renderer = await bus.renderer()
        async for number, _ in ask(bus, renderer, direction, 10**9, 1):
            if number == 1000:
                break
        assert await producer.line() == "ended by GeneratorExit"
        assert await producer.line() == "ended"
        async with ask(bus, renderer, direction, 1, 1) as stream:
            assert (await within(anext(stream)))[0] == 0
        assert await producer.line() == "ended by CancelledError"
        assert await producer.line() == "ended"


@pytest.mark.contract("6.2", "5.7")
@pytest.mark.parametrize("why", ["break", "async with", "cancel", "timeout"])
async def test_a_process_that_has_enough_ends_the_generator_of_the_main_process(address: str, why: str) -> None:
    async with Bus(address) as bus:
        ended = asyncio.Event()

        async def items(event: Any) -> AsyncIterator[int]:
            try:
                yield 0
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.set()

        bus.ipc_main.handle("items", items)
        async with Program(QUITTING, address, why) as consumer:
            said = {"cancel": ["TimeoutError"], "timeout": ["InvokeTimeout"]}.get(why, [])
            assert [await consumer.line() for _ in range(len(said) + 1)] == [*said, "over"]
            await within(ended.wait())
            await until(lambda: not bus.hub.main.dispatch.tasks)


@pytest.mark.contract("6.3", "5.1", "5.3", "5.4")
@pytest.mark.parametrize("direction", ["from main", "between"])
@pytest.mark.parametrize(
    ("what", "cls", "text"),
    [
        ("raises", ValueError, "Error invoking remote method 'items': ValueError: no more"),
        ("is not cloned", mainbus.RemoteError, "Error invoking remote method 'items': An object could not be cloned."),
    ],
)
async def test_a_bad_end_comes_behind_the_items(
    address: str, direction: str, what: str, cls: type[Exception], text: str
) -> None:
    async with Bus(address) as bus, Program(FAILING, address) as producer:
        assert await producer.line() == "ready"
        renderer = await bus.renderer()
        got, error = await rest(ask(bus, renderer, direction, what))
        assert got == [1]
        assert isinstance(error, cls)
        assert str(error).startswith(text)


@pytest.mark.contract("6.3", "5.2", "3.7")
async def test_verbs_that_do_not_fit_the_handler_of_another_process(address: str) -> None:
    async with Bus(address) as bus, Program(FAILING, address) as producer:
        assert await producer.line() == "ready"
        renderer = await bus.renderer()
        with pytest.raises(TypeError, match=r"streams its result: ask with stream\(\), not with invoke\(\)$"):
            await within(renderer.invoke_to("producer", "items", "ends"))
        assert await within(collect(renderer.stream_to("producer", "one"))) == ["alone"]
        text = r"^Error invoking remote method 'none': Error: No handler registered for 'none'$"
        with pytest.raises(mainbus.NoHandlerError, match=text):
            await within(anext(renderer.stream_to("producer", "none")))
        with pytest.raises(mainbus.NoSuchRenderer):
            await within(anext(renderer.stream_to("nobody", "items")))


@pytest.mark.contract("6.2", "3.10")
async def test_a_consumer_that_leaves_ends_the_generator(address: str) -> None:
    async with Bus(address) as bus, Program(PRODUCER, address) as producer:
        assert await producer.line() == "ready"
        async with mainbus.connect(address) as renderer:
            stream = renderer.stream_to("producer", "items", 1, 1)
            assert (await within(anext(stream)))[0] == 0
        assert await producer.line() == "ended by CancelledError"
        assert await producer.line() == "ended"
        got, error = await rest(stream)
        assert not got
        assert isinstance(error, mainbus.MainbusError)
        assert not bus.broker.stats()["streams"]


@pytest.mark.contract("6.2", "9.8")
async def test_a_broker_that_stops_ends_its_streams(address: str) -> None:
    source = Source()
    async with Broker(address) as broker:
        broker.ipc_main.handle("items", source)
        async with mainbus.connect(address, reconnect=False) as renderer:
            stream = renderer.stream("items")
            assert await within(anext(stream)) == 0
            await within(broker.stop(drain=0))
            assert [type(why) for why in source.why] == [GeneratorExit]
            _, error = await rest(stream)
            assert isinstance(error, ReplyNeverSent | ConnectionLost)


@pytest.mark.contract("6.1", "6.2", "9.6")
async def test_a_request_that_had_not_left_survives_a_reconnect_and_an_open_stream_does_not(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        source = Source()
        bus.ipc_main.handle("items", source)
        back = Calls()
        renderer.events.on("reconnected", back)
        opened = renderer.stream("items")
        assert await within(anext(opened)) == 0
        bus.peer(renderer).transport.abort()
        await within(source.ended.wait())
        await until(lambda: not renderer.is_connected)
        bus.ipc_main.handle("items", Source(stop=3), replace=True)
        unsent = renderer.stream("items")
        withdrawn = renderer.stream("items")
        await withdrawn.aclose()
        await back.wait()
        assert await within(collect(unsent)) == [0, 1, 2]
        got, error = await rest(opened)
        assert isinstance(error, ConnectionLost)
        assert got == list(range(1, len(got) + 1))
        await until(lambda: not renderer.stats()["streams"])


@pytest.mark.contract("6.1")
@pytest.mark.parametrize("direction", ["from main", "between"])
async def test_a_slow_consumer_of_many_items_holds_up_the_other_process(address: str, direction: str) -> None:
    async with Bus(address) as bus, Program(PRODUCER, address) as producer:
        assert await producer.line() == "ready"
        renderer = await bus.renderer()
        bus.ipc_main.handle("echo", lambda event, value: value)
        async with ask(bus, renderer, direction, 20_000, 10) as stream:
            for taken in range(20_000):
                number, _ = await within(anext(stream))
                assert number == taken
                assert len(stream._reply.items) <= WINDOW // OVERHEAD
                if taken % 1000 == 0:
                    # Others are not kept waiting by it.
                    assert await within(renderer.invoke("echo", taken)) == taken
        assert (await producer.line()).startswith("ended by")


@pytest.mark.contract("6.1", "9.2")
async def test_items_go_on_where_messages_are_paused(address: str) -> None:
    async with Bus(address) as bus:
        consumer, producer = await bus.renderer("consumer"), await bus.renderer("producer")
        go = asyncio.Event()

        async def slow(event: Any, *_: object) -> None:
            await go.wait()

        consumer.on("slow", slow, senders="any")
        producer.handle("items", Source(lambda number: [number, b"x" * 200_000], stop=20), senders="any")
        assert producer._session is not None
        routes = producer._session.routes
        for _ in range(400):
            producer.send_to("consumer", "slow", b"x" * 16_000)
        await until(lambda: routes.any_paused)
        stream = consumer.stream_to("producer", "items")
        assert [number for number, _ in await within(collect(stream))] == list(range(20))
        assert producer.stats()["held"]
        go.set()
        await within(producer.drain())
