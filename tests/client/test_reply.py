"""The promise of an invoke's result: a future that also is a coroutine."""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest
from mainbus.outbox import Outbox
from mainbus.reply import Reply
from mainbus.routes import Route


class Promise:
    """A reply of the running loop, and whether its invoke was cancelled."""

    def __init__(self) -> None:
        self.cancelled = 0
        loop = asyncio.get_running_loop()
        route = Route(Outbox(loop, 1), 1)
        self.reply = Reply(loop, "x", 1, route, None, self._cancel)

    def _cancel(self, reply: Reply) -> None:
        assert reply is self.reply
        self.cancelled += 1

    def settle_soon(self, value: object = 42) -> Reply:
        asyncio.get_running_loop().call_soon(self.reply.set_result, value)
        return self.reply


pytestmark = pytest.mark.contract("3.3")


async def test_it_can_be_awaited_more_than_once() -> None:
    reply = Promise().settle_soon()
    assert await reply == 42
    assert await reply == 42


async def test_two_tasks_may_await_it() -> None:
    reply = Promise().settle_soon()

    async def wait() -> object:
        return await reply

    assert list(await asyncio.gather(wait(), wait())) == [42, 42]


async def test_it_counts_as_a_coroutine_and_as_a_future() -> None:
    reply = Promise().settle_soon()
    assert isinstance(reply, Coroutine)
    assert asyncio.iscoroutine(reply)
    assert asyncio.isfuture(reply)
    await reply


async def test_create_task() -> None:
    task: asyncio.Task[Any] = asyncio.create_task(Promise().settle_soon())
    assert await task == 42


async def test_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        task: asyncio.Task[Any] = group.create_task(Promise().settle_soon())
    assert task.result() == 42


async def test_gather_and_wait_for() -> None:
    assert list(await asyncio.gather(Promise().settle_soon(1), Promise().settle_soon(2))) == [1, 2]
    assert await asyncio.wait_for(Promise().settle_soon(), 10) == 42


async def test_anyio_start_soon() -> None:
    promise = Promise()

    def invoke() -> Reply:
        return promise.settle_soon()

    async with anyio.create_task_group() as group:
        group.start_soon(invoke)
    assert promise.reply.result() == 42


async def test_an_error_comes_through_a_task() -> None:
    promise = Promise()
    task: asyncio.Task[Any] = asyncio.create_task(promise.reply)
    asyncio.get_running_loop().call_soon(promise.reply.set_exception, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await task


async def test_cancelling_it_cancels_the_invoke_once() -> None:
    promise = Promise()
    assert promise.reply.cancel()
    assert not promise.reply.cancel()
    assert promise.cancelled == 1
    with pytest.raises(asyncio.CancelledError):
        await promise.reply


async def test_cancelling_a_task_that_awaits_it_cancels_the_invoke() -> None:
    promise = Promise()

    async def wait() -> object:
        return await promise.reply

    for task in (asyncio.create_task(wait()),):
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert promise.cancelled == 1


async def test_cancelling_the_task_made_of_it_cancels_the_invoke() -> None:
    promise = Promise()
    task: asyncio.Task[Any] = asyncio.create_task(promise.reply)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert promise.cancelled == 1


async def test_a_time_limit_cancels_the_invoke() -> None:
    promise = Promise()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(promise.reply, 0.01)
    assert promise.cancelled == 1


async def test_with_its_outcome_it_cannot_be_cancelled() -> None:
    promise = Promise()
    await promise.settle_soon()
    assert not promise.reply.cancel()
    assert not promise.cancelled


async def test_closed_as_a_coroutine_the_invoke_goes_on() -> None:
    promise = Promise()
    promise.reply.close()
    coroutine: Coroutine[Any, Any, Any] = promise.reply
    waits_for = coroutine.send(None)
    # As a task does, which takes note of what it waits for.
    waits_for._asyncio_future_blocking = False
    coroutine.close()
    assert not promise.cancelled
    assert await promise.settle_soon() == 42


async def test_an_exception_can_be_thrown_where_a_task_waits() -> None:
    promise = Promise()
    with pytest.raises(KeyError):
        promise.reply.throw(KeyError("thrown"))
    assert not promise.reply.done()


async def test_an_error_that_nobody_retrieved_is_logged() -> None:
    loop = asyncio.get_running_loop()
    contexts: list[dict[str, Any]] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    try:
        Promise().reply.set_exception(ValueError("lost"))
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    assert "never retrieved" in contexts[0]["message"]
    assert str(contexts[0]["exception"]) == "lost"
