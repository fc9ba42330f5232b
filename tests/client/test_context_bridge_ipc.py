"""The context bridge in front of a real broker: what Electron's preload scripts do."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import mainbus.testing
import pytest
from mainbus import InvokeTimeout, IpcRenderer, NoHandlerError, RemoteError
from mainbus.testing import Bus

from tests.support.bus import Bus as SocketBus
from tests.support.worlds import exposed


@pytest.fixture
async def bus(anyio_backend: object) -> AsyncIterator[Bus]:
    async with mainbus.testing.broker() as bus:
        yield bus


async def preload(bus: Bus) -> tuple[IpcRenderer, Any]:
    """Return a renderer, and the API in front of it."""
    ipc_renderer = await bus.connect(name="editor")

    def on_title(callback: Any) -> Any:
        return ipc_renderer.on("title", lambda event, title: callback(title))

    api = exposed(
        {
            "invoke": ipc_renderer.invoke,
            "save": lambda document: ipc_renderer.invoke("save", document),
            "set_title": lambda title: ipc_renderer.send("set-title", title),
            "on_title": on_title,
        }
    )
    return ipc_renderer, api


@pytest.mark.contract("7.9")
async def test_an_invoke_behind_the_bridge(bus: Bus) -> None:
    saved: list[object] = []

    @bus.ipc_main.handle("save")
    def save(event: object, document: object) -> object:
        saved.append(document)
        return {"saved": True}

    _, api = await preload(bus)
    assert await api.save({"text": ["a"]}) == {"saved": True}
    # It leaves at the call, awaited or not.
    api.save(1)
    await bus.settle()
    assert saved == [{"text": ["a"]}, 1]


@pytest.mark.contract("7.9")
async def test_a_handlers_error_behind_the_bridge(bus: Bus) -> None:
    @bus.ipc_main.handle("save")
    def save(event: object, document: object) -> None:
        raise ValueError("read only")

    _, api = await preload(bus)
    with pytest.raises(ValueError) as caught:
        await api.save(1)
    assert str(caught.value) == "Error invoking remote method 'save': ValueError: read only"
    assert isinstance(caught.value, RemoteError)
    with pytest.raises(NoHandlerError, match="No handler registered for 'nothing'"):
        await api.invoke("nothing")


@pytest.mark.contract("7.9")
async def test_a_timeout_behind_the_bridge(bus: Bus) -> None:
    cancelled = asyncio.Event()

    @bus.ipc_main.handle("save")
    async def save(event: object, document: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    _, api = await preload(bus)
    with pytest.raises(InvokeTimeout):
        await api.invoke("save", 1, timeout=0.01)
    await asyncio.wait_for(cancelled.wait(), 10)


@pytest.mark.contract("7.9")
async def test_cancelling_behind_the_bridge_cancels_the_handler(bus: Bus) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    @bus.ipc_main.handle("save")
    async def save(event: object, document: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    _, api = await preload(bus)
    task = asyncio.create_task(api.save(1))
    await asyncio.wait_for(begun.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 10)


@pytest.mark.contract("3.4", "7.9")
async def test_who_awaits_behind_the_bridge_resumes_before_later_messages(address: str) -> None:
    async with SocketBus(address) as bus:
        log: list[tuple[str, int]] = []
        renderer = await bus.renderer()
        contents, loop = bus.contents(renderer), asyncio.get_running_loop()

        @bus.ipc_main.handle("ask")
        def answer(event: object, number: int) -> None:
            # Behind the reply, and in one write with it.
            loop.call_soon(contents.send, "later", number)

        renderer.on("later", lambda event, number: log.append(("heard", number)))
        invoke = exposed({"invoke": renderer.invoke}).invoke

        async def ask(number: int) -> None:
            await invoke("ask", number)
            log.append(("resumed", number))

        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(ask(number))
        await bus.reached(renderer)
        for number in range(100):
            assert log.index(("resumed", number)) < log.index(("heard", number))


@pytest.mark.contract("7.9")
async def test_a_subscription_behind_the_bridge(bus: Bus) -> None:
    bus.ipc_main.on("set-title", lambda event, title: event.sender.send("title", title))
    ipc_renderer, api = await preload(bus)
    shown: list[str] = []
    registration = api.on_title(shown.append)
    api.set_title("one")
    await bus.settle()
    registration.cancel()
    api.set_title("two")
    await bus.settle()
    assert shown == ["one"]
    assert ipc_renderer.listener_count("title") == 0


@pytest.mark.contract("7.9")
async def test_a_listener_from_across_the_bridge_can_be_registered_as_it_is(bus: Bus) -> None:
    ipc_renderer = await bus.connect(name="editor")
    api = exposed(
        {
            "handle": lambda callback: ipc_renderer.handle("double", lambda event, number: callback(number)),
            "once": lambda callback: ipc_renderer.events.once("reconnected", callback),
            "off": lambda callback: ipc_renderer.events.off("reconnected", callback),
        }
    )

    async def double(number: int) -> int:
        return 2 * number

    api.handle(double)
    contents = bus.broker.web_contents.from_name("editor")
    assert contents is not None
    assert await contents.invoke("double", 21) == 42

    def reconnected() -> None: ...

    api.once(reconnected)
    assert ipc_renderer.events.listener_count("reconnected") == 1
    api.off(reconnected)
    assert ipc_renderer.events.listener_count("reconnected") == 0
