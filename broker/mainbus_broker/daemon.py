"""A broker as a process of its own: its loop, its signals, how it starts and how it ends.

The first SIGTERM or SIGINT stops it in order, the second cuts that short, the third is the system's own. Handlers are
set below the loop, not with `add_signal_handler`: the third signal ends a process whose loop stands still, too.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from enum import StrEnum
from socket import socket
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, Self

from mainbus.address import default_address, parse
from mainbus.errors import ConfigError

from mainbus_broker import logs
from mainbus_broker.broker import Broker
from mainbus_broker.config import Config
from mainbus_broker.ipc_main import IpcMain
from mainbus_broker.versions import loop_version, python_version, version_of

Setup = Callable[[Broker], object]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_MOMENT: Final = 0.2
"""Seconds that what was cancelled has to end when there is no time; idle worker threads need it, too."""

log = logging.getLogger("mainbus.broker")


class Loop(StrEnum):
    """Which event loop runs the broker."""

    AUTO = "auto"
    UVLOOP = "uvloop"
    ASYNCIO = "asyncio"


class SetupFailed(Exception):
    """The application's setup function raised; the cause is what it raised."""


def run(
    target: IpcMain | Setup | None = None,
    *,
    addresses: Sequence[str] = (),
    sockets: Sequence[socket] = (),
    config: Config | None = None,
    drain: float = 5.0,
    loop: Loop = Loop.AUTO,
) -> int:
    """Serve until a signal ends it. For the main thread of a process that does nothing else.

    Args:
        target: What the main process listens to and handles; or a function, plain or async, that is called with the
            broker before it starts to listen. None: the broker only forwards between renderers.
        addresses: Where to listen; none, and no sockets: the default address.
        sockets: Listening sockets that somebody else has bound.
        config: Limits and times; the defaults if None.
        drain: Seconds that running handlers have to finish after the first signal.
        loop: Which event loop; AUTO is uvloop where it is installed.

    Returns:
        The exit code: 0, or 128 and the signal's number if a second one cut the end short. If a task or a thread of
        the application cannot be ended it does not return: the process ends with that code.

    Raises:
        AddressError: An address cannot be used.
        ConfigError: uvloop was asked for and is not installed.
        SetupFailed: The function raised.
    """
    wanted = [parse(text, across=True) for text in addresses]
    if not (wanted or sockets):
        wanted = [default_address(across=True)]
    broker = Broker(
        *map(str, wanted), ipc_main=target if isinstance(target, IpcMain) else None, config=config, sockets=sockets
    )
    setup = None if target is None or isinstance(target, IpcMain) else target
    runner = asyncio.Runner(loop_factory=_loop_factory(loop))
    daemon = _Daemon(broker, setup, drain)
    try:
        # Cancelled by a second signal only.
        with _Signals(runner.get_loop(), daemon.ask), suppress(asyncio.CancelledError):
            runner.run(daemon.main())
        code = 128 + daemon.hurried if daemon.hurried else 0
        if daemon.left:
            _leave(code, daemon.left)
    finally:
        if not daemon.left:
            runner.close()
    return code


class _Daemon:
    """One broker from its start to its end."""

    def __init__(self, broker: Broker, setup: Setup | None, drain: float) -> None:
        self.left: list[str] = []
        """What could not be ended, by name."""
        self.hurried: signal.Signals | None = None
        """The second signal, if it came before the end."""
        self._broker = broker
        self._setup = setup
        self._drain = drain
        self._asked = asyncio.Event()
        self._hurry: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None

    def ask(self, number: signal.Signals) -> None:
        """Stop as soon as may be; asked again, at once."""
        if not self._asked.is_set():
            log.info("%s: stopping, running handlers have %g s to finish", number.name, self._drain)
            self._asked.set()
        elif self._task is not None:
            log.warning("%s again: stopping at once", number.name)
            self.hurried = number
            self._hurry_up(self._task)

    async def main(self) -> None:
        """Start, serve, stop, and end what the application has left running."""
        self._task = asyncio.current_task()
        try:
            await self._serve()
        finally:
            if self._hurry is not None:
                self._hurry.cancel()
            self.left = await _end_all(_MOMENT if self._hurry else self._broker.config.cancel_grace)

    def _hurry_up(self, task: asyncio.Task[Any]) -> None:
        """End what the end waits for, one thing after the other: handlers to finish, those cancelled to clean up."""
        task.cancel()
        self._hurry = task.get_loop().call_later(_MOMENT, self._hurry_up, task)

    async def _serve(self) -> None:
        try:
            result = self._setup(self._broker) if self._setup is not None else None
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            raise SetupFailed from error
        if self._asked.is_set():
            return
        await self._broker.start()
        _log_start(self._broker)
        try:
            # The application may stop its broker, too.
            await _first(self._broker.serve_forever(), self._asked.wait())
        finally:
            await self._broker.stop(self._drain)
        log.info("stopped")


class _Signals:
    """Counts the signals that ask this process to end, and passes the first two on to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ask: Callable[[signal.Signals], None]) -> None:
        self._received = 0
        self._loop = loop
        self._ask = ask
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._former[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        self._received += 1
        if self._received > 2:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._loop.call_soon_threadsafe(self._ask, signal.Signals(number))


def _loop_factory(loop: Loop) -> Callable[[], asyncio.AbstractEventLoop]:
    if loop is not Loop.ASYNCIO:
        try:
            import uvloop
        except ImportError:
            if loop is Loop.UVLOOP:
                raise ConfigError("uvloop is not installed; --loop asyncio does without it") from None
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


def _log_start(broker: Broker) -> None:
    facts = {
        "addresses": broker.addresses,
        "pid": os.getpid(),
        "loop": loop_version(asyncio.get_running_loop()),
        "mainbus": version_of("mainbus"),
        "python": python_version(),
    }
    said = "{} (pid {pid}, {loop}, mainbus {mainbus}, Python {python})".format(" ".join(broker.addresses), **facts)
    log.info("serving", extra={**facts, logs.DETAIL: said})


async def _first(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them has ended; the others are cancelled."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end_all(grace: float) -> list[str]:
    """Cancel the tasks that the application left, wait for them and for worker threads; returns what goes on."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    # The broker has cancelled its handlers, once and for all.
    fresh = {task for task in others if not task.cancelling()}
    for task in fresh:
        task.cancel()
    if fresh:
        await asyncio.wait(fresh, timeout=grace)
    if rest := others - fresh:
        # Where the broker's end was cut short they had no time to clean up.
        await asyncio.wait(rest, timeout=_MOMENT)
    left = [f"task {task.get_name()!r}" for task in others if not task.done()]
    # In a task of its own that is never cancelled: cancelling this joins the threads, whatever they do.
    ending = asyncio.create_task(asyncio.get_running_loop().shutdown_default_executor())
    await asyncio.wait({ending}, timeout=max(grace, _MOMENT))
    return left if ending.done() else [*left, "a worker thread"]


def _leave(code: int, left: list[str]) -> NoReturn:
    """End the process with what cannot be ended in it."""
    log.warning("still running %s; ending without", " and ".join(left))
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
