"""A broker with renderers on the test's own loop, and programs in processes of their own that can be killed.

At its end a `Bus` looks into every registry: what one test leaves behind there would be another one's trouble.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from textwrap import dedent
from typing import Any, Self, TypeVar

import mainbus
from mainbus import IpcRenderer
from mainbus_broker import Broker, Config, IpcMain, WebContents
from mainbus_broker.hub import Hub
from mainbus_broker.peer import Peer

from tests.support import nursery

if sys.platform == "win32":
    from mainbus import windows

T = TypeVar("T")

PATIENCE = 10.0 if sys.platform != "win32" else 60.0
"""Seconds after which a wait has failed; a passing test never gets near."""

PING = "bus:ping"

USER: int | str
if sys.platform == "win32":
    USER = windows.current_user()
else:
    USER = os.geteuid()
"""The user of this process, as the system names it."""

KILL = 9
"""The signal that nobody can catch; to Windows an exit status."""
KILLED = KILL if sys.platform == "win32" else -KILL
INTERRUPTED = 0xC000_013A if sys.platform == "win32" else -signal.SIGINT
"""The exit statuses of programs that have killed themselves with it, or died of Ctrl-C."""

PRELUDE = """
import asyncio, os, signal, sys
import mainbus
from mainbus_broker import Broker, IpcMain

KILL = 9

def say(*words):
    print(*words, flush=True)

async def forever():
    await asyncio.Event().wait()

"""


class Bus:
    """A running broker, and the renderers that the test makes.

    Args:
        address: Where it listens.
        ipc_main: What it starts with; a fresh one if None.
        config: As the broker's.
    """

    def __init__(self, address: str, *, ipc_main: IpcMain | None = None, config: Config | None = None) -> None:
        self.address = address
        self.broker = Broker(address, ipc_main=ipc_main, config=config)
        self.ipc_main = self.broker.ipc_main
        self.errors: list[tuple[BaseException, str, WebContents]] = []
        """What "listener-error" has told."""
        self.hub: Hub
        self._peers: list[Peer] = []
        self._renderers: list[IpcRenderer] = []

    async def __aenter__(self) -> Self:
        self.broker.on("listener-error", lambda *told: self.errors.append(told))
        self.broker.on("web-contents-created", lambda contents: self._peers.append(contents._peer))
        await self.broker.start()
        assert self.broker._hub is not None
        self.hub = self.broker._hub
        self.ipc_main.handle(PING, lambda event: None, replace=True)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            # Whatever the failed test has left paused or full: nothing is to be waited for any more.
            await self.broker.stop(drain=0)
        sessions = [renderer._session for renderer in self._renderers]
        for renderer in self._renderers:
            await within(renderer.aclose())
        await self.broker.stop(drain=0)
        if kind is None:
            # Where the broker's end was cut short.
            await until(lambda: not self.hub.leaving)
            check_empty(self.hub, self._peers)
            for session in sessions:
                assert session is None or session.ports.is_empty, "a renderer still has ports"

    async def renderer(self, name: str | None = None, **options: Any) -> IpcRenderer:
        """Return an open renderer, which dispatches what it is sent; it is closed with the bus."""
        renderer = mainbus.connect(self.address, name=name, **options)
        renderer.handle(PING, lambda event: None)
        _ = await renderer
        self._renderers.append(renderer)
        await self.contents(renderer).ready()
        return renderer

    def peer(self, renderer: IpcRenderer) -> Peer:
        """Return the broker's end of a renderer."""
        return self.hub.renderers.ids[renderer.id]

    def contents(self, renderer: IpcRenderer) -> WebContents:
        """Return a renderer as the main process sees it."""
        return self.peer(renderer).contents

    async def served(self, renderer: IpcRenderer) -> None:
        """Wait until the main process has started all that a renderer has sent to it."""
        await renderer.invoke(PING)

    async def reached(self, renderer: IpcRenderer) -> None:
        """Wait until a renderer has started all that the main process has sent to it."""
        await self.contents(renderer).invoke(PING)


def check_empty(hub: Hub, peers: list[Peer]) -> None:
    """Fail if a broker that has stopped, or one of its renderers that are gone, still holds anything."""
    renderers, flow = hub.renderers, hub.flow
    held: dict[str, object] = {
        "ids": renderers.ids,
        "names": renderers.names,
        "names_raw": renderers.names_raw,
        "secrets": renderers._secrets,
        "watchers": renderers.watchers,
        "entering": hub.entering,
        "leaving": hub.leaving,
        "tokens": hub.tokens._open,
        "links": hub.hosting._links,
        "tokens' waiters": hub.tokens._waiting,
        "replies asked": hub.replies._asked,
        "replies owed": hub.replies._serving,
        "replies cancelled": hub.replies._cancelled,
        "streams": hub.replies.streams,
        "flow": flow._main,
        "demands": len(hub.demands),
        "pools": len(hub.shared_pools),
        "tasks": hub.main.dispatch.tasks,
        "main's ports": hub.main_ports.ports,
        "main's ends": hub.main_ports._remotes,
        "main's parts": hub.main_ports._unfinished,
        "direct ports": hub.direct_pairs.open,
    }
    for peer in peers:
        held |= {
            f"{peer.label}: partners": peer.partners,
            f"{peer.label}: oneway": peer.oneway,
            f"{peer.label}: streams": getattr(peer, "streams", None),
            f"{peer.label}: pausing": peer.pausing,
            f"{peer.label}: guests": peer.guests,
            f"{peer.label}: host": peer.hosted,
            f"{peer.label}: calls": peer._calls,
            f"{peer.label}: handlers": peer.inbox.handlers,
            f"{peer.label}: streams produced": peer.inbox.streams,
            f"{peer.label}: waiting": peer.inbox._waiting,
            f"{peer.label}: waiting bytes": peer.inbox.size,
            f"{peer.label}: running": peer.inbox.running,
            f"{peer.label}: ports": peer.ports.ports if peer.ports is not None else None,
            f"{peer.label}: direct ports": peer.ports.directs if peer.ports is not None else 0,
            f"{peer.label}: descriptors": peer.descriptors,
            f"{peer.label}: posting": peer.posting,
        }
    left = {what: value for what, value in held.items() if value}
    assert not left, f"left behind: {left}"


class Calls:
    """A listener or handler that keeps what it was called with, and can be waited for."""

    def __init__(self, result: object = None) -> None:
        self.result = result
        self.calls: list[tuple[Any, ...]] = []
        self._called = asyncio.Event()

    def __call__(self, *args: Any) -> object:
        self.calls.append(args)
        self._called.set()
        return self.result

    @property
    def args(self) -> list[tuple[Any, ...]]:
        """The messages' arguments, without the event."""
        return [call[1:] for call in self.calls]

    async def wait(self, count: int = 1) -> tuple[Any, ...]:
        """Wait for the `count`-th call; returns what the last one had."""
        async with asyncio.timeout(PATIENCE):
            while len(self.calls) < count:
                self._called.clear()
                await self._called.wait()
        return self.calls[-1]


async def until(condition: Callable[[], object]) -> None:
    """Give the loop turns until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


async def within(awaitable: Awaitable[T]) -> T:
    """Await something that comes at once where all is well."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def in_thread(address: str, use: Callable[[IpcRenderer], Any], name: str | None = None, **options: Any) -> Any:
    """Call `use` with a renderer on a thread and loop of its own, where it may block; returns its (awaited) result."""

    async def main() -> Any:
        async with mainbus.connect(address, name=name, **options) as renderer:
            result = use(renderer)
            return await result if inspect.isawaitable(result) else result

    return await within(asyncio.to_thread(asyncio.run, main()))


class Program:
    """Python source that runs in a process of its own and talks in lines: `say(...)` there, `line()` here.

    Args:
        source: The program, to which `PRELUDE` is put in front; its arguments are in `sys.argv[1:]`.
        args: Those arguments.
        env: Its environment; this one's if None.
    """

    def __init__(self, source: str, *args: str, env: dict[str, str] | None = None) -> None:
        self.process: nursery.Process
        self._source = PRELUDE + dedent(source)
        self._args = args
        self._env = env

    async def __aenter__(self) -> Self:
        self.process = await nursery.start(self._source, *self._args, env=self._env)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.kill()
        await self.end()

    async def line(self) -> str:
        """Return the next line that it says."""
        line = await within(self.process.stdout.readline())
        if not line:
            raise AssertionError(f"the program has ended, with {await self.end()}")
        return line.decode().rstrip("\r\n")

    def kill(self) -> None:
        """Kill it with the signal that nobody can catch."""
        self.process.kill()

    async def end(self) -> int:
        """Wait until it has ended; returns its exit status."""
        self.process.stdin.close()
        await within(self.process.stdout.read())
        return await within(self.process.wait())


def program(source: str, *args: str) -> list[str]:
    """Return the command that runs such a program."""
    return [sys.executable, "-c", PRELUDE + dedent(source), *args]


def stop_reading(renderer: IpcRenderer) -> asyncio.Transport:
    """Let a renderer read nothing more until its transport, which is returned, resumes."""
    assert renderer._session is not None
    link = renderer._session.link
    assert link is not None
    assert link.transport is not None
    link.transport.pause_reading()
    return link.transport
