"""The other processes of `mainbus bench`: a broker, and a renderer that answers; they end with their standard input."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import mainbus
from mainbus.address import parse
from mainbus.errors import AddressError

from mainbus_broker.cli.failures import ExitCode, Failure

ECHO: Final = "echo"
MESSAGE: Final = "message"
COUNT: Final = "count"
NAME: Final = "bench"
"""The name of the renderer that answers."""
PATIENCE: Final = 20.0
"""Seconds that the processes have to start, or to end."""


class Ends:
    """A broker with a private address and a renderer, while the context is entered.

    Attributes:
        address: Where the broker is.
    """

    def __init__(self) -> None:
        self.address = ""
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            if sys.platform == "win32":
                self.address = f"pipe:mainbus-{secrets.token_hex(8)}"
            else:
                self.address = f"unix:{undo.enter_context(TemporaryDirectory(prefix='mainbus-'))}/s"
            try:
                parse(self.address)
            except AddressError as error:
                raise Failure(f"{error}; set TMPDIR to a folder with a shorter path", ExitCode.UNREACHABLE) from None
            self._start(undo, "broker")
            self._start(undo, "renderer")
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _start(self, undo: contextlib.ExitStack, role: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, role, self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the command, which ends them.
            start_new_session=True,
        )
        undo.callback(_end, process)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise Failure(f"the {role} to be measured did not start", ExitCode.FAILED)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loops: uvloop's where it is installed, as for `mainbus serve`."""
    if find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


class _Answers:
    """What both ends do: echo, and count."""

    def __init__(self, ipc: Any, **options: Any) -> None:
        self._count = 0
        ipc.handle(ECHO, lambda event, value: value, **options)
        ipc.handle(COUNT, lambda event: self._count, **options)
        ipc.on(MESSAGE, self._hit, **options)

    def _hit(self, event: object, value: object) -> None:
        self._count += 1


def _broker(address: str) -> None:
    from mainbus_broker.broker import Broker
    from mainbus_broker.daemon import run

    def setup(broker: Broker) -> None:
        _Answers(broker.ipc_main)
        asyncio.get_running_loop().call_soon(_ready)

    run(setup, addresses=[address], drain=0)


def _renderer(address: str) -> None:
    async def answer() -> None:
        async with mainbus.connect(address, name=NAME, connect_timeout=PATIENCE, reconnect=False) as ipc_renderer:
            _Answers(ipc_renderer, senders="renderers")
            _ready()
            await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(answer())


def _ready() -> None:
    print(flush=True)  # noqa: T201 - the parent waits for this line


def _end_with_stdin() -> None:
    # However the parent ends.
    sys.stdin.read()
    if sys.platform == "win32":
        # There, kill would end it at once.
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    {"broker": _broker, "renderer": _renderer}[sys.argv[1]](sys.argv[2])
