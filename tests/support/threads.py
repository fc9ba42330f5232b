"""A broker on a thread and loop of its own, for tests of what blocks; and waiting without a loop."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Self, TypeVar, cast

from mainbus.blocking import BlockingRenderer, MessageChannel
from mainbus_broker import Broker, Config, IpcMain, WebContents

T = TypeVar("T")

PATIENCE = 10.0 if sys.platform != "win32" else 30.0
"""Seconds after which a wait has failed; a passing test never gets near."""


class _There:
    """Registers with an `IpcMain` in the thread of its broker."""

    def __init__(self, broker: BrokerThread, ipc_main: IpcMain) -> None:
        self._broker = broker
        self._ipc_main = ipc_main

    def on(self, channel: str, fn: Callable[..., object] | None = None, **options: Any) -> Any:
        if fn is None:
            return partial(self.on, channel, **options)
        return self._broker.call(partial(self._ipc_main.on, channel, fn, **options))

    def handle(self, channel: str, fn: Callable[..., object] | None = None, **options: Any) -> Any:
        if fn is None:
            return partial(self.handle, channel, **options)
        return self._broker.call(partial(self._ipc_main.handle, channel, fn, **options))


class BrokerThread:
    """A broker that serves while this is entered.

    Args:
        address: Where it listens.
        ipc_main: As the broker's. A handler "echo" is added.
        config: As the broker's.
    """

    def __init__(self, address: str, ipc_main: IpcMain | None = None, config: Config | None = None) -> None:
        self.address = address
        self._ipc_main = ipc_main if ipc_main is not None else IpcMain()
        self._ipc_main.handle("echo", lambda event, *args: args, replace=True)
        self.ipc_main = cast(IpcMain, _There(self, self._ipc_main))
        self.broker: Broker
        self._config = config
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), name="broker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)

    def call(self, fn: Callable[..., T], *args: Any) -> T:
        """Call a function on the broker's loop, from whatever thread; returns its result."""
        if threading.current_thread() is self._thread:
            return fn(*args)

        async def run() -> T:
            return fn(*args)

        return self.run(run())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the broker's loop; returns its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def contents(self, name: str) -> WebContents:
        """Return the renderer of that name as the main process sees it."""

        def find() -> WebContents:
            found = self.broker.web_contents.from_name(name)
            assert found is not None
            return found

        return self.call(find)

    def send(self, name: str, channel: str, *args: object) -> None:
        """Send a message from the main process to the renderer of that name."""
        contents = self.contents(name)
        self.call(contents.send, channel, *args)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with Broker(self.address, ipc_main=self._ipc_main, config=self._config) as self.broker:
            self._started.set()
            await self._stop.wait()
            await self.broker.stop(drain=0)


class Box:
    """A listener or handler that keeps what it was called with, for the thread that waits for it."""

    def __init__(self, result: object = None) -> None:
        self.result = result
        self.threads: set[str] = set()
        """The names of the threads it was called in."""
        self._calls: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def __call__(self, *args: Any) -> object:
        self.threads.add(threading.current_thread().name)
        self._calls.put(args)
        return self.result

    def get(self) -> tuple[Any, ...]:
        """Wait for a call; returns its arguments, an event included."""
        return self._calls.get(timeout=PATIENCE)

    def args(self, count: int) -> list[Any]:
        """Wait for so many messages; returns the first argument of each."""
        return [self.get()[1] for _ in range(count)]

    @property
    def empty(self) -> bool:
        return self._calls.empty()


def in_thread(fn: Callable[[], T]) -> Callable[[], T]:
    """Start a function in a thread; what is returned waits for its result, or raises its error."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(fn())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> T:
        thread.join(PATIENCE)
        assert not thread.is_alive()
        if errors:
            raise errors.pop()
        return results[0]

    return wait


def passed(renderer: BlockingRenderer, other: BlockingRenderer) -> tuple[Any, Any]:
    """Return the two ports of a channel, one in each of two renderers."""
    channel, got = MessageChannel(), Box()
    with other.on("pass", got):
        renderer.post_message("pass", None, [channel.port2])
        event, _ = got.get()
    return channel.port1, event.ports[0]
