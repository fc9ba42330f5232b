"""Every way in which a stream can end before its generator does, in all directions."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mainbus import InvokeTimeout

from tests.support.bus import Bus, within
from tests.support.streams import DIRECTIONS, Source, collect, is_over, ways

pytestmark = pytest.mark.parametrize("direction", DIRECTIONS)


@pytest.mark.contract("6.2")
async def test_async_with_closes_at_once(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source()
        way.handle(source)
        async with way.stream() as stream:
            assert await within(anext(stream)) == 0
        assert await within(collect(stream)) == []
        await within(source.ended.wait())
        assert [type(why) for why in source.why] == [GeneratorExit]
        await is_over(way)
        await stream.aclose()


@pytest.mark.contract("6.2")
async def test_after_a_bare_break_it_closes_when_dropped(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source()
        way.handle(source)
        async for item in way.stream():
            if item == 100:
                break
        gc.collect()
        await within(source.ended.wait())
        assert [type(why) for why in source.why] == [GeneratorExit]
        await is_over(way)


@pytest.mark.contract("6.2")
async def test_one_that_nobody_iterates_closes_when_dropped(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source()
        way.handle(source)
        way.stream()
        gc.collect()
        await is_over(way)


@pytest.mark.contract("6.2")
async def test_one_that_is_kept_stays_open_after_a_break(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        way.handle(Source(stop=10))
        stream = way.stream()
        async for item in stream:
            if item == 4:
                break
        assert await within(collect(stream)) == [5, 6, 7, 8, 9]


@pytest.mark.contract("6.2")
async def test_closing_a_generator_that_awaits_cancels_it_once(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        seen: list[str] = []
        ended = asyncio.Event()

        async def items(event: Any) -> AsyncIterator[int]:
            yield 0
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                seen.append("cleaned up")
                ended.set()

        way.handle(items)
        async with way.stream() as stream:
            assert await within(anext(stream)) == 0
        await within(ended.wait())
        await is_over(way)
        assert seen == ["cancelled", "cleaned up"]


@pytest.mark.contract("6.2")
async def test_cancelling_the_task_that_waits_closes_it(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        ended = asyncio.Event()

        async def items(event: Any) -> AsyncIterator[int]:
            try:
                yield 0
                await asyncio.Event().wait()
            finally:
                ended.set()

        way.handle(items)
        stream = way.stream()
        assert await within(anext(stream)) == 0
        waiting = asyncio.create_task(collect(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(waiting)
        await within(ended.wait())
        assert await within(collect(stream)) == []
        await is_over(way)


@pytest.mark.contract("6.2", "5.7")
async def test_the_deadline_of_the_whole_stream(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        ended = asyncio.Event()

        async def items(event: Any) -> AsyncIterator[int]:
            assert event.deadline is not None
            try:
                yield 0
                await asyncio.Event().wait()
            finally:
                ended.set()

        way.handle(items)
        stream = way.stream(timeout=0.05 if sys.platform != "win32" else 0.5)
        assert await within(anext(stream)) == 0
        with pytest.raises(InvokeTimeout, match="items"):
            await within(anext(stream))
        assert await within(collect(stream)) == []
        await within(ended.wait())
        await is_over(way)


@pytest.mark.contract("6.2", "5.7")
async def test_at_the_deadline_it_raises_at_once(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source()
        way.handle(source)
        stream = way.stream(timeout=0.05 if sys.platform != "win32" else 0.5)
        assert await within(anext(stream)) == 0
        await within(source.ended.wait())
        await is_over(way)
        with pytest.raises(InvokeTimeout):
            await within(anext(stream))


async def test_one_dropped_in_another_thread_closes_too(address: str, direction: str) -> None:
    async with Bus(address) as bus:
        way = await ways(bus, direction)
        source = Source()
        way.handle(source)
        streams = [way.stream()]
        assert await within(anext(streams[0])) == 0
        await asyncio.to_thread(streams.clear)
        await within(source.ended.wait())
        await is_over(way)
