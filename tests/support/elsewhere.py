"""A renderer on a thread and loop of its own, which may stand still, and a main process that notes what it starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import mainbus
from mainbus import IpcRenderer
from mainbus.session import Session
from mainbus_broker import IpcMain

from tests.support.bus import within

T = TypeVar("T")


class Main:
    """A main process that notes what starts there, in order."""

    def __init__(self) -> None:
        self.got: list[object] = []
        self.events: list[Any] = []
        self.gate = asyncio.Event()
        self.ipc = IpcMain()
        self.ipc.on("c", lambda event, value, *rest: self.got.append(value))
        self.ipc.on("sync", self._sync)
        self.ipc.on("later", self._later)
        self.ipc.on("slow", self._slow)
        self.ipc.handle("slow", self._slow)

    def _sync(self, event: Any, value: object, *rest: object) -> None:
        self.got.append(value)
        event.return_value = value

    def _later(self, event: Any, value: object) -> None:
        self.got.append(value)
        self.events.append(event)

    async def _slow(self, event: Any, value: object, *rest: object) -> object:
        self.got.append(value)
        await self.gate.wait()
        return value


class Elsewhere:
    """A renderer on a thread of its own, which does there what the test says, step by step."""

    def __init__(self, renderer: IpcRenderer, loop: asyncio.AbstractEventLoop) -> None:
        self.renderer = renderer
        self._loop = loop

    @property
    def session(self) -> Session:
        """The renderer's session, to look at."""
        assert self.renderer._session is not None
        return self.renderer._session

    def start(self, step: Callable[[IpcRenderer], T]) -> Future[T]:
        """Begin a step; it may block its thread."""

        async def run() -> T:
            return step(self.renderer)

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    async def do(self, step: Callable[[IpcRenderer], T]) -> T:
        """Do a step while the broker's loop runs."""
        return await within(asyncio.wrap_future(self.start(step)))

    def do_alone(self, step: Callable[[IpcRenderer], T]) -> T:
        """Do a step while the broker's loop stands still."""
        return self.start(step).result(timeout=10)

    async def wait(self, step: Callable[[IpcRenderer], Awaitable[T]]) -> T:
        """Do a step that waits for something there."""

        async def run() -> T:
            return await step(self.renderer)

        return await within(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._loop)))


@asynccontextmanager
async def elsewhere(address: str, **options: Any) -> AsyncIterator[Elsewhere]:
    """Connect a renderer on a thread of its own."""
    ready: asyncio.Future[Elsewhere] = asyncio.get_running_loop().create_future()
    ours = asyncio.get_running_loop()

    async def main() -> None:
        async with mainbus.connect(address, **options) as renderer:
            done = asyncio.Event()
            found = Elsewhere(renderer, asyncio.get_running_loop())
            ended.append(partial(asyncio.get_running_loop().call_soon_threadsafe, done.set))
            ours.call_soon_threadsafe(ready.set_result, found)
            await done.wait()

    ended: list[Callable[[], object]] = []
    running = asyncio.ensure_future(asyncio.to_thread(asyncio.run, main()))
    try:
        yield await within(ready)
    finally:
        ended[0]()
        await within(running)


def send_slow(renderer: IpcRenderer, number: int) -> None:
    """Send something to a listener that waits for the gate."""
    renderer.send("slow", number, "z" * 300)
