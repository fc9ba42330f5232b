"""Coroutines, futures and async iterators across the context bridge."""

import asyncio
import gc
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import aclosing
from typing import Any

import anyio
import mainbus
import pytest
from mainbus import (
    CloneError,
)
from mainbus.bridged import BridgedStream, Promise

from tests.support.worlds import argument, exposed, result_of


class Later:
    """Can be awaited, and is nothing else."""

    def __await__(self) -> Generator[Any, None, object]:
        yield from asyncio.sleep(0).__await__()
        return ["later"]


async def answer(value: object = None) -> object:
    await asyncio.sleep(0)
    return value


async def failing() -> None:
    await asyncio.sleep(0)
    raise KeyError("k")


MAKERS: list[Callable[[Any], Any]] = [
    answer,
    lambda value: asyncio.ensure_future(answer(value)),
    lambda value: asyncio.create_task(answer(value)),
]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("make", MAKERS)
async def test_what_is_awaitable_stays_so_and_its_result_is_a_copy(make: Callable[[Any], Any]) -> None:
    value = {"a": [1]}
    got = await exposed(lambda: make(value))()
    assert got == value
    assert got is not value
    assert got["a"] is not value["a"]


async def test_any_awaitable_will_do() -> None:
    assert await result_of(Later()) == ["later"]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("make", [lambda _: failing(), lambda _: asyncio.ensure_future(failing())])
async def test_an_awaitables_error_is_made_anew(make: Callable[[Any], Any]) -> None:
    with pytest.raises(KeyError) as info:
        await exposed(make)(1)
    assert info.value.args == ("k",)
    names = {frame.name for frame in traceback.extract_tb(info.value.__traceback__)}
    assert "failing" not in names
    assert info.value.__context__ is None


@pytest.mark.contract("7.9")
async def test_an_async_callback_can_be_awaited_by_the_one_who_calls_it() -> None:
    async def call(fn: Callable[[object], Awaitable[object]]) -> object:
        return [await fn({"a": 1}), await fn(2)]

    assert await exposed(call)(answer) == [{"a": 1}, 2]


@pytest.mark.contract("7.9")
async def test_awaitables_within_values_and_in_an_api() -> None:
    future = asyncio.get_running_loop().create_future()
    api = exposed({"promises": [future]})
    future.set_result([1])
    assert await api.promises[0] == [1]
    assert await api.promises[0] == [1]
    got = exposed(lambda: {"first": answer(1), "rest": [answer(2)]})()
    assert (await got["first"], await got["rest"][0]) == (1, 2)


async def test_an_awaitable_may_be_an_argument() -> None:
    async def wait(value: Awaitable[object]) -> object:
        return await value

    wait_in = exposed(wait)
    assert await wait_in(answer([1])) == [1]
    promise = exposed(lambda: asyncio.ensure_future(answer([2])))()
    assert type(promise) is Promise
    assert await wait_in(promise) == [2]


@pytest.mark.contract("7.9")
async def test_arguments_are_copied_at_the_call() -> None:
    value = [1]
    coroutine = exposed(answer)(value)
    value.append(2)
    assert await coroutine == [1]
    with pytest.raises(CloneError):
        exposed(answer)(int)


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("make", MAKERS)
async def test_a_result_that_cannot_cross_is_a_clone_error(make: Callable[[Any], Any]) -> None:
    with pytest.raises(CloneError) as info:
        await exposed(lambda: make({"a": int}))()
    assert str(info.value) == "An object could not be cloned. (result.a: type)"


async def direct(call: Callable[[], Any]) -> object:
    return await call()


async def by_create_task(call: Callable[[], Any]) -> object:
    return await asyncio.create_task(call())


async def by_gather(call: Callable[[], Any]) -> object:
    return (await asyncio.gather(call(), call()))[0]


async def by_wait_for(call: Callable[[], Any]) -> object:
    return await asyncio.wait_for(call(), 5)


async def by_task_group(call: Callable[[], Any]) -> object:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(call())
    return task.result()


async def by_start_soon(call: Callable[[], Any]) -> object:
    results: list[object] = []

    async def run() -> None:
        results.append(await call())

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        group.start_soon(run)
    return results[0]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("way", [direct, by_create_task, by_gather, by_wait_for, by_task_group, by_start_soon])
async def test_it_goes_wherever_a_coroutine_goes(
    way: Callable[[Callable[[], Any]], Coroutine[Any, Any, object]], make: Callable[[Any], Any]
) -> None:
    assert await way(exposed(lambda: make([7]))) == [7]


@pytest.mark.parametrize("fails", [failing, lambda: asyncio.ensure_future(failing())])
@pytest.mark.parametrize("way", [direct, by_create_task, by_wait_for])
async def test_an_error_goes_there_too(way: Callable[[Any], Coroutine[Any, Any, object]], fails: Any) -> None:
    with pytest.raises(KeyError) as info:
        await way(exposed(fails))
    assert info.value.__context__ is None
    assert "failing" not in {frame.name for frame in traceback.extract_tb(info.value.__traceback__)}


async def test_a_promise_can_be_awaited_by_many() -> None:
    future = asyncio.get_running_loop().create_future()
    promise = exposed(lambda: future)()
    tasks = [asyncio.create_task(promise), asyncio.create_task(promise), asyncio.ensure_future(promise)]
    await asyncio.sleep(0)
    assert not promise.done()
    future.set_result([1])
    first, second, third = await asyncio.gather(*tasks)
    assert first == second == third == [1]
    assert first is not second
    assert promise.done()
    assert not promise.cancel()


@pytest.mark.contract("7.9")
async def test_cancelling_a_promise_cancels_the_future() -> None:
    future = asyncio.get_running_loop().create_future()
    promise = exposed(lambda: future)()
    assert promise.cancel()
    assert future.cancelled()
    with pytest.raises(asyncio.CancelledError):
        await promise


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("begun", [True, False])
async def test_cancelling_who_awaits_a_promise_cancels_the_future(begun: bool) -> None:
    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(exposed(lambda: future)())
    if begun:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert future.cancelled()


@pytest.mark.contract("7.9")
async def test_cancelling_who_awaits_a_coroutine_cancels_it() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.create_task(exposed(forever)())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]


async def test_a_promise_is_a_coroutine_in_small_steps_too() -> None:
    future = asyncio.get_running_loop().create_future()
    promise = exposed(lambda: future)()
    promise.close()
    with pytest.raises(ValueError, match="thrown"):
        promise.throw(ValueError("thrown"))
    with pytest.raises(asyncio.CancelledError):
        promise.throw(asyncio.CancelledError, None, None)
    assert future.cancelled()


async def test_a_promise_that_nobody_awaits_is_no_fault() -> None:
    future = asyncio.get_running_loop().create_future()
    exposed(lambda: future)()
    future.set_result(object())
    gc.collect()


async def test_a_coroutine_that_nobody_awaits_is_named() -> None:
    texts = set()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        exposed(answer)(1)
        # Each holds the coroutine it speaks of, and that the one within.
        while said:
            texts.add(str(said.pop().message))
    assert texts == {"coroutine 'answer' was never awaited"}


def test_objects_of_mainbus_that_can_be_awaited_are_refused() -> None:
    renderer = mainbus.connect("memory:nowhere")
    for use in (exposed, argument):
        with pytest.raises(CloneError, match="IpcRenderer"):
            use({"ipc_renderer": renderer})


# -- Async iterators ---------------------------------------------------------------------------------------------------


class Rows:
    """An async generator function that notes how it ended."""

    def __init__(self, *items: object) -> None:
        self.items = items
        self.ended: list[str] = []

    async def __call__(self) -> AsyncIterator[object]:
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            await asyncio.sleep(0)
            self.ended.append("ended")


@pytest.mark.contract("7.9")
async def test_an_async_generator_stays_one_and_its_items_are_copies() -> None:
    first: dict[str, object] = {"a": 1}
    rows = Rows(first, [2])
    stream = exposed(rows)()
    assert type(stream) is BridgedStream
    got = [item async for item in stream]
    assert got == [{"a": 1}, [2]]
    assert got[0] is not first
    assert rows.ended == ["ended"]


@pytest.mark.contract("7.9")
async def test_a_streams_error_is_made_anew_after_the_items_before_it() -> None:
    original = ValueError("broken")
    got: list[object] = []

    async def consume() -> None:
        async for item in exposed(Rows(1, original))():
            got.append(item)

    with pytest.raises(ValueError, match="broken") as info:
        await consume()
    assert got == [1]
    assert info.value is not original
    assert info.value.__context__ is None


async def test_a_stream_is_closed_as_a_context_manager() -> None:
    rows = Rows(1, 2)
    async with exposed(rows)() as stream:
        async for _ in stream:
            break
    assert rows.ended == ["ended"]
    again = Rows(1, 2)
    async with aclosing(exposed(again)()) as stream:
        assert await anext(stream) == 1
    assert again.ended == ["ended"]


async def test_an_item_that_cannot_cross_is_a_clone_error() -> None:
    async with exposed(Rows({"a": int}))() as stream:
        with pytest.raises(CloneError) as info:
            await anext(stream)
    assert str(info.value) == "An object could not be cloned. (item.a: type)"


async def test_an_iterator_that_cannot_be_closed_need_not_be() -> None:
    class Numbers:
        def __aiter__(self) -> "Numbers":
            return self

        async def __anext__(self) -> int:
            return 1

    async with result_of(Numbers()) as stream:
        assert await anext(stream) == 1


async def test_a_stream_may_be_an_argument() -> None:
    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    assert await exposed(total)(Rows(1, 2)()) == 3
    assert await exposed(total)(exposed(Rows(3, 4))()) == 7
