"""Broker: listeners and the main process put together, and the order in which they start and end."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, Self

import anyio
from mainbus.address import Address, default_address, parse
from mainbus.emitter import Emitter
from mainbus.errors import LocalProtocolError, ObjectDestroyedError

from mainbus_broker.config import Config
from mainbus_broker.contents_registry import WebContentsRegistry
from mainbus_broker.entrance import Entrance
from mainbus_broker.hub import Hub
from mainbus_broker.ipc_main import IpcMain
from mainbus_broker.listeners import Listener, listen
from mainbus_broker.web_contents import WebContents

EVENTS: Final = frozenset({"web-contents-created", "listener-error", "slow-consumer", "message-error"})

log = logging.getLogger("mainbus.broker")


class Spawned(NamedTuple):
    """A renderer that the broker has started."""

    process: asyncio.subprocess.Process
    """Its process; `await process.wait()` waits for its end."""
    contents: WebContents
    """The renderer, connected."""


class Broker:
    """The main process: it owns the connections, routes channels and answers invokes.

    Used as `async with Broker(...)`, or with `start` and `stop`. It belongs to the loop and thread that start it, and
    installs no signal handler.

    Args:
        addresses: Where to listen, such as "unix:/run/user/1000/app.sock"; none: the default address.
        ipc_main: The listeners and handlers of the main process; a fresh `IpcMain` if None.
        config: Limits and times; the defaults if None.
        sockets: Listening sockets that somebody else has bound (socket activation), beside the addresses.

    Raises:
        AddressError: An address that is none, or too long.
    """

    def __init__(
        self,
        *addresses: str,
        ipc_main: IpcMain | None = None,
        config: Config | None = None,
        sockets: Sequence[Any] = (),
    ) -> None:
        self.ipc_main = ipc_main if ipc_main is not None else IpcMain()
        self.config = config if config is not None else Config()
        self._wanted = [parse(address) for address in addresses]
        self._sockets = sockets
        self._emitter = Emitter(EVENTS)
        self._listeners: list[Listener] = []
        self._hub: Hub | None = None
        self._stopped: asyncio.Event | None = None

    # Public: life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen at every address. Cancelling it leaves nothing behind.

        Raises:
            AddressError: Somebody else listens there, or nobody can.
            LocalProtocolError: The broker runs already.
        """
        if self._hub is not None:
            raise LocalProtocolError("this broker runs already")
        hub = Hub(self.ipc_main, self.config, self._emitter.emit)
        wanted = self._wanted or ([] if self._sockets else [default_address()])
        try:
            for address in wanted:
                self._listeners.append(await listen(address, partial(Entrance, hub, str(address))))
            for sock in self._sockets:
                address = Address("unix", os.path.abspath(os.fsdecode(sock.getsockname())))
                self._listeners.append(await listen(address, partial(Entrance, hub, str(address)), sock=sock))
        except BaseException:
            await self._close_listeners()
            raise
        hub.start()
        self._hub = hub
        self._stopped = asyncio.Event()

    async def stop(self, drain: float = 5.0) -> None:
        """Accept nothing more, let running handlers finish, answer or fail everything, and end.

        Args:
            drain: Seconds that running handlers have to finish; then they are cancelled.

        Cancelling it ends everything at once.
        """
        hub = self._hub
        if hub is None or hub.stopping:
            if self._stopped is not None:
                await self._stopped.wait()
            return
        hub.stopping = hub.main.draining = True
        for listener in self._listeners:
            listener.stop_accepting()
        try:
            try:
                await self._drain(hub, drain)
            finally:
                self._end(hub)
            await self._part(hub)
        finally:
            # Also when it is a handler that stops the broker, and was cancelled just now.
            for farewell in list(hub.leaving):
                farewell.close()
            await self._close_listeners()
            assert self._stopped is not None
            self._stopped.set()
            self._hub = None

    async def serve_forever(self) -> None:
        """Wait until the broker is stopped. Safe to cancel; cancelling does not stop it.

        Raises:
            LocalProtocolError: The broker does not run.
        """
        self._running()
        assert self._stopped is not None
        await self._stopped.wait()

    # Public: what it knows

    @property
    def addresses(self) -> list[str]:
        """The addresses that are really bound."""
        return [str(listener.address) for listener in self._listeners]

    @property
    def web_contents(self) -> WebContentsRegistry:
        """The connected renderers."""
        return self._running().web_contents

    def stats(self) -> dict[str, int]:
        """Return counters since the start, and how much there is of what comes and goes.

        Raises:
            LocalProtocolError: The broker does not run.
        """
        hub = self._running()
        return {
            "renderers": len(hub.renderers),
            "connections": hub.counters["connections"],
            "refused": hub.counters["refused"],
            "pending_replies": len(hub.replies) - len(hub.replies.streams),
            "streams": hub.streams,
            "running": len(hub.main.dispatch.tasks),
            "denied": hub.counters["denied"],
            "too_many": hub.counters["too_many"],
            "faults": hub.counters["faults"],
            "bad_messages": hub.counters["bad_messages"],
            "slow_consumers": hub.counters["slow_consumers"],
            "overruns": hub.counters["overruns"],
            "pauses": hub.counters["pauses"],
            "queue_full": hub.counters["queue_full"],
            "timeouts": hub.counters["timeouts"] + hub.replies.expired,
            "late_answers": hub.counters["late_answers"],
            "undeliverable": hub.counters["undeliverable"],
            "gaps": hub.counters["gaps"],
            "broken_ports": hub.ports.broken,
            "refused_ports": hub.ports.closed_at_once,
            "dropped_notices": hub.counters["dropped_notices"],
            "over_total": hub.counters["over_total"],
            "out_of_memory": hub.counters["out_of_memory"],
            "direct_ports": hub.direct_pairs.open,
            "pools": len(hub.shared_pools),
            "pooled": hub.shared_pools.held,
            "queued": sum(peer.queued for peer in hub.renderers),
            "held": hub.holdings.total,
        }

    # Public: events

    def on(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function with every event of the broker.

        Args:
            event: "web-contents-created" (contents), "listener-error" (error, channel, contents), "slow-consumer"
                (contents) or "message-error" (contents, channel).
            fn: The listener; without one this is a decorator, with one it returns a `Registration`.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: No such event.
        """
        return self._emitter.on(event, fn) if fn is not None else self._emitter.on(event)

    def once(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function with the next such event only. Else as `on`.

        Args:
            event: The event's name, as in `on`.
            fn: The listener; without one this is a decorator.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: No such event.
        """
        return self._emitter.once(event, fn) if fn is not None else self._emitter.once(event)

    def off(self, event: str, fn: Callable[..., object]) -> None:
        """Take out the latest registration of a function.

        Args:
            event: The event's name, as in `on`.
            fn: The listener; of one that is not registered nothing happens.

        Raises:
            ValueError: No such event.
        """
        self._emitter.off(event, fn)

    # Public: renderers of its own

    async def spawn(
        self, argv: Sequence[str], name: str | None = None, role: str | None = None, *, timeout: float = 30.0
    ) -> Spawned:
        """Start a renderer process and wait until it has connected.

        It finds the address and a one-time token in its environment, and `mainbus.connect()` without arguments uses
        both. The token decides its name and role.

        Args:
            argv: The program and its arguments.
            name: The name that it will have; None lets it choose.
            role: The role that it will have.
            timeout: Seconds it has to connect.

        Returns:
            Its process and its `WebContents`.

        Raises:
            ValueError: The config has roles, and not this one.
            TimeoutError: It did not connect in time; it was killed.
            ChildProcessError: It ended without having connected.

        Cancelling it kills the process.
        """
        hub = self._running()
        if role is not None and hub.policies and role not in hub.policies:
            raise ValueError(f"The config has no role {role!r}")
        token = hub.tokens.issue(name, role)
        connected: asyncio.Future[WebContents] = hub.loop.create_future()
        hub.tokens.when_redeemed(token, connected)
        env = {**os.environ, "MAINBUS_ADDRESS": self.addresses[0], "MAINBUS_TOKEN": token}
        try:
            process = await asyncio.create_subprocess_exec(*argv, env=env, stdin=subprocess.DEVNULL)
        except BaseException:
            hub.tokens.revoke(token)
            raise
        ended = asyncio.ensure_future(process.wait())
        either: set[asyncio.Future[Any]] = {connected, ended}
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not connected.done():
                raise ChildProcessError(f"{argv[0]} ended with {process.returncode} without having connected")
            return Spawned(process, connected.result())
        except BaseException:
            if process.returncode is None:
                process.kill()
                with anyio.CancelScope(shield=True):
                    await process.wait()
            raise
        finally:
            ended.cancel()
            hub.tokens.revoke(token)

    # Private

    def _running(self) -> Hub:
        if self._hub is None:
            raise LocalProtocolError("this broker does not run: use `async with` or `await start()`")
        return self._hub

    async def _drain(self, hub: Hub, drain: float) -> None:
        for peer in hub.renderers:
            peer.put_credit(0)
        with anyio.move_on_after(drain):
            while left := self._others(hub):
                await asyncio.wait(left)
            # What they have answered leaves in pieces where it is large, and a connection that closes cuts it off.
            for contents in hub.web_contents.get_all_web_contents():
                with suppress(ObjectDestroyedError):
                    await contents.drain()

    async def _part(self, hub: Hub) -> None:
        """Wait a bounded time for what was cancelled to clean up, and for the renderers to close."""
        if left := self._others(hub):
            await asyncio.wait(left, timeout=self.config.cancel_grace)
        if hub.leaving:
            await asyncio.wait(list(hub.leaving.values()))

    @staticmethod
    def _others(hub: Hub) -> set[asyncio.Task[Any]]:
        """Return what runs, but for the handler that stops the broker: it would wait for itself."""
        current = asyncio.current_task()
        return {task for task in hub.main.dispatch.tasks if task is not current}

    def _end(self, hub: Hub) -> None:
        for entrance in list(hub.entering.values()):
            entrance.close()
        for peer in hub.renderers:
            hub.main.abandon(peer)
            # This cancels its handlers.
            peer.close("the broker stops", stops=True)
        hub.main.dispatch.cancel_listeners()
        hub.stop()

    async def _close_listeners(self) -> None:
        for listener in self._listeners:
            await listener.aclose()
        self._listeners.clear()
