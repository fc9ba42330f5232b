"""Reply: a promise, a future and a coroutine, in all the ways that asyncio and anyio take one."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import mainbus
import pytest
from mainbus import IpcRenderer, Reply

from tests.support.bus import Bus, until, within


class Served:
    """A handler that waits to be told to answer, and counts what became of it."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = self.cancelled = 0

    async def __call__(self, event: Any, value: object = None) -> object:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return value


async def direct(renderer: IpcRenderer) -> object:
    return await renderer.invoke("echo", 7)


async def twice(renderer: IpcRenderer) -> object:
    reply = renderer.invoke("echo", 7)
    assert await reply == 7
    return await reply


async def by_create_task(renderer: IpcRenderer) -> object:
    return await asyncio.create_task(renderer.invoke("echo", 7))


async def by_two_tasks(renderer: IpcRenderer) -> object:
    reply = renderer.invoke("echo", 7)
    assert tuple(await asyncio.gather(asyncio.create_task(reply), asyncio.create_task(reply))) == (7, 7)
    return await asyncio.create_task(reply)


async def by_ensure_future(renderer: IpcRenderer) -> object:
    reply = renderer.invoke("echo", 7)
    assert asyncio.ensure_future(reply) is reply
    return await reply


async def by_task_group(renderer: IpcRenderer) -> object:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(renderer.invoke("echo", 7))
    return task.result()


async def by_gather(renderer: IpcRenderer) -> object:
    first, second = await asyncio.gather(renderer.invoke("echo", 7), renderer.invoke("echo", 8))
    assert second == 8
    return first


async def by_wait_for(renderer: IpcRenderer) -> object:
    return await asyncio.wait_for(renderer.invoke("echo", 7), 5)


async def by_wait(renderer: IpcRenderer) -> object:
    done, _ = await asyncio.wait([asyncio.create_task(renderer.invoke("echo", 7))])
    return done.pop().result()


async def by_as_completed(renderer: IpcRenderer) -> object:
    for reply in asyncio.as_completed([renderer.invoke("echo", 7)]):
        return await reply
    return None


async def by_shield(renderer: IpcRenderer) -> object:
    return await asyncio.shield(renderer.invoke("echo", 7))


async def by_start_soon(renderer: IpcRenderer) -> object:
    results: list[object] = []

    async def ask() -> None:
        results.append(await renderer.invoke("echo", 7))

    async with anyio.create_task_group() as group:
        group.start_soon(renderer.invoke, "echo", 1)
        group.start_soon(ask)
    return results[0]


async def by_callback(renderer: IpcRenderer) -> object:
    got = asyncio.get_running_loop().create_future()
    renderer.invoke("echo", 7).add_done_callback(lambda reply: got.set_result(reply.result()))
    return await got


WAYS = [
    direct,
    twice,
    by_create_task,
    by_two_tasks,
    by_ensure_future,
    by_task_group,
    by_gather,
    by_wait_for,
    by_wait,
    by_as_completed,
    by_shield,
    by_start_soon,
    by_callback,
]


@pytest.mark.contract("3.3")
@pytest.mark.parametrize("way", WAYS)
async def test_a_reply_can_be_awaited(address: str, way: Callable[[IpcRenderer], Awaitable[object]]) -> None:
    async with Bus(address) as bus:
        bus.ipc_main.handle("echo", lambda event, value: value)
        assert await within(way(await bus.renderer())) == 7


@pytest.mark.contract("3.3")
@pytest.mark.parametrize("way", [way for way in WAYS if way not in (by_start_soon, by_callback)])
async def test_an_error_comes_out_of_every_way(address: str, way: Callable[[IpcRenderer], Awaitable[object]]) -> None:
    async with Bus(address) as bus:

        async def fail(event: Any, value: int) -> None:
            raise KeyError("gone")

        bus.ipc_main.handle("echo", fail)
        renderer = await bus.renderer()
        with pytest.raises((KeyError, ExceptionGroup), match=r"gone|TaskGroup"):
            await within(way(renderer))


@pytest.mark.contract("3.3")
async def test_what_contents_invoke_and_invoke_to_return_is_a_reply_too(address: str) -> None:
    async with Bus(address) as bus:
        left, right = await bus.renderer("left"), await bus.renderer("right")
        right.handle("echo", lambda event, value: value, senders="any")
        for reply in (left.invoke_to("right", "echo", 7), bus.contents(right).invoke("echo", 7)):
            assert isinstance(reply, Reply)
            assert isinstance(reply, asyncio.Future)
            assert isinstance(reply, Coroutine)
            assert await asyncio.create_task(reply) == 7


@pytest.mark.contract("3.3")
async def test_the_request_leaves_at_the_call_awaited_or_not(address: str) -> None:
    async with Bus(address) as bus:
        seen: list[int] = []
        bus.ipc_main.handle("note", lambda event, number: seen.append(number))
        bus.ipc_main.on("note", lambda event, number: seen.append(number))
        renderer = await bus.renderer()
        first = renderer.invoke("note", 1)
        renderer.send("note", 2)
        await renderer.invoke("note", 3)
        assert seen == [1, 2, 3]
        assert first.done()


# Cancelling.


async def cancel_reply(reply: Reply) -> None:
    assert reply.cancel()
    assert not reply.cancel()


async def cancel_awaiter(reply: Reply) -> None:
    async def waits() -> None:
        await reply

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def cancel_task(reply: Reply) -> None:
    task = asyncio.create_task(reply)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def cancel_task_before_its_first_step(reply: Reply) -> None:
    task = asyncio.create_task(reply)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def cancel_by_wait_for(reply: Reply) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reply, 0.001)


async def cancel_by_timeout(reply: Reply) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await reply


async def cancel_by_anyio_scope(reply: Reply) -> None:
    with anyio.move_on_after(0.001) as scope:
        await reply
    assert scope.cancelled_caught


async def cancel_by_gather(reply: Reply) -> None:
    gathered = asyncio.gather(reply, asyncio.sleep(0))
    gathered.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gathered


async def cancel_by_task_group(reply: Reply) -> None:
    async def fail() -> None:
        raise LookupError

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(reply)
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await together()


@pytest.mark.contract("3.3", "5.7")
@pytest.mark.parametrize(
    "cancel",
    [
        cancel_reply,
        cancel_awaiter,
        cancel_task,
        cancel_task_before_its_first_step,
        cancel_by_wait_for,
        cancel_by_timeout,
        cancel_by_anyio_scope,
        cancel_by_gather,
        cancel_by_task_group,
    ],
)
async def test_cancelling_in_any_way_cancels_the_handler_once(
    address: str, cancel: Callable[[Reply], Awaitable[None]]
) -> None:
    async with Bus(address) as bus:
        served = Served()
        bus.ipc_main.handle("wait", served)
        renderer = await bus.renderer()
        reply = renderer.invoke("wait")
        await until(lambda: served.begun)
        await within(cancel(reply))
        assert reply.cancelled()
        await until(lambda: served.cancelled)
        await bus.served(renderer)
        assert (served.begun, served.cancelled) == (1, 1)
        assert renderer.stats()["pending"] == 0


@pytest.mark.contract("3.3")
async def test_shield_keeps_the_handler_running(address: str) -> None:
    async with Bus(address) as bus:
        served = Served()
        bus.ipc_main.handle("wait", served)
        renderer = await bus.renderer()
        reply = renderer.invoke("wait", 7)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(reply), 0.001)
        served.go.set()
        assert await within(reply) == 7
        assert not served.cancelled


async def test_a_reply_that_is_done_cannot_be_cancelled(address: str) -> None:
    async with Bus(address) as bus:
        bus.ipc_main.handle("echo", lambda event, value: value)
        renderer = await bus.renderer()
        reply = renderer.invoke("echo", 7)
        await reply
        assert not reply.cancel()
        assert await reply == 7


async def test_one_of_two_tasks_that_is_cancelled_cancels_the_reply_for_both(address: str) -> None:
    async with Bus(address) as bus:
        served = Served()
        bus.ipc_main.handle("wait", served)
        reply = (await bus.renderer()).invoke("wait")
        first, second = asyncio.create_task(reply), asyncio.create_task(reply)
        await until(lambda: served.begun)
        first.cancel()
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert second.cancelled()
        await until(lambda: served.cancelled)


async def test_closing_a_reply_as_a_coroutine_leaves_the_invoke_alone(address: str) -> None:
    async with Bus(address) as bus:
        bus.ipc_main.handle("echo", lambda event, value: value)
        reply = (await bus.renderer()).invoke("echo", 7)
        reply.close()
        assert await reply == 7


# Errors that nobody retrieves.


async def reported(address: str, use: Callable[[Reply], Awaitable[None]]) -> list[dict[str, Any]]:
    """Let an invoke fail, `use` its reply, drop it, and return what the loop was told."""
    loop, reports = asyncio.get_running_loop(), []
    usual = loop.get_exception_handler()
    async with Bus(address) as bus:

        def fail(event: Any) -> None:
            raise ValueError("nobody sees this")

        bus.ipc_main.handle("fail", fail)
        renderer = await bus.renderer()
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        try:
            reply = renderer.invoke("fail")
            await until(reply.done)
            await use(reply)
            del reply
            gc.collect()
            await asyncio.sleep(0)
        finally:
            loop.set_exception_handler(usual)
    return reports


@pytest.mark.contract("3.3")
async def test_an_error_that_nobody_retrieved_is_logged(address: str) -> None:
    async def ignore(reply: Reply) -> None:
        pass

    (report,) = await reported(address, ignore)
    assert report["message"] == "Reply exception was never retrieved"
    assert isinstance(report["exception"], mainbus.RemoteError)


@pytest.mark.contract("3.3")
async def test_an_error_that_somebody_retrieved_is_not_logged(address: str) -> None:
    async def retrieve(reply: Reply) -> None:
        with pytest.raises(ValueError, match="nobody sees this"):
            await reply

    async def retrieve_in_a_task(reply: Reply) -> None:
        with pytest.raises(ValueError, match="nobody sees this"):
            await asyncio.create_task(reply)

    assert await reported(address, retrieve) == []
    assert await reported(f"{address}2", retrieve_in_a_task) == []
