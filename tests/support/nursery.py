"""Processes that need not start a Python: forked from one that has imported mainbus, and in all else like any other.

Run by `tests.support.bus.Program`. This module is both ends: the tests', and the process that forks.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from io import FileIO
from pathlib import Path
from types import ModuleType
from typing import Any, Final

if sys.platform == "win32":
    from tests.support import spares

ROOT: Final = Path(__file__).resolve().parents[2]
HEAD: Final = struct.Struct(">I")

# The tests' end.


class Nursery:
    """The process that forks, which starts with the first order."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket

    @property
    def pid(self) -> int | None:
        """Its process, or None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def fileno(self) -> int | None:
        """What this process holds open for it."""
        return self._orders.fileno() if self._process is not None else None

    def fork(self, order: dict[str, object], files: list[int]) -> None:
        """Let a program be forked whose standard files these are; the last one is told its pid, and how it ended."""
        if self._process is None:
            self._start()
        written = json.dumps(order).encode()
        socket.send_fds(self._orders, [HEAD.pack(len(written))], files)
        self._orders.sendall(written)

    def close(self) -> None:
        """End it; what it has forked goes on."""
        if self._process is not None:
            self._orders.close()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        self._orders, its = socket.socketpair()
        with its:
            # As what it forks will have: no seekable files, or text would be buffered in another way.
            command = [sys.executable, "-m", "tests.support.nursery"]
            self._process = subprocess.Popen(command, stdin=its.fileno(), stdout=subprocess.PIPE, cwd=ROOT)
            assert self._process.stdout is not None
            self._process.stdout.close()


NURSERY: Final = Nursery()


class _Fate(asyncio.Protocol):
    """What is told of a process: its pid, and then how it ended."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pid: asyncio.Future[int] = loop.create_future()
        self.code: asyncio.Future[int] = loop.create_future()
        self._told = b""

    def data_received(self, data: bytes) -> None:
        self._told += data
        pid, told, _ = self._told.partition(b"\n")
        if told and not self.pid.done():
            self.pid.set_result(int(pid))

    def connection_lost(self, error: Exception | None) -> None:
        # Not before: whoever knows the end may close the loop. Without a number the loop is what ends.
        for code in self._told.splitlines()[1:]:
            self.code.set_result(int(code))


class _Output(asyncio.StreamReaderProtocol):
    """Ends its transport with what is read, on every loop."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


class Process:
    """A process that was forked, with the words of `asyncio.subprocess.Process`."""

    def __init__(self, fate: _Fate, stdin: int, stdout: asyncio.StreamReader) -> None:
        self.pid = fate.pid.result()
        self.stdin = FileIO(stdin, "w")
        self.stdout = stdout
        self._code = fate.code

    @property
    def returncode(self) -> int | None:
        return self._code.result() if self._code.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    def send_signal(self, number: int) -> None:
        # It may have ended and not been told of.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def start(source: str, *args: str, env: dict[str, str] | None = None) -> Process:
    """Run source in a process of its own, with pipes for its standard input and output."""
    if sys.platform == "win32":
        # Where nothing forks, with the same words.
        return await spares.start(source, *args, env=env)  # type: ignore[return-value]
    its_in, stdin = os.pipe()
    out, its_out = os.pipe()
    fate, its_fate = os.pipe()
    its = [its_in, its_out, 2, its_fate]
    order: dict[str, object] = {"source": source, "args": args, "env": env or dict(os.environ), "folder": os.getcwd()}
    try:
        NURSERY.fork(order, its)
    finally:
        for number in (its_in, its_out, its_fate):
            os.close(number)
    loop, stdout = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: _Output(stdout), FileIO(out))
    _, told = await loop.connect_read_pipe(_Fate, FileIO(fate))
    await told.pid
    return Process(told, stdin, stdout)


# The process that forks.


def serve(orders: socket.socket) -> dict[str, Any] | None:
    """Fork for each order; returns the order in what was forked, and None when nobody orders any more."""
    running: dict[int, int] = {}
    woken, wake = os.pipe()
    for number in (woken, wake):
        os.set_blocking(number, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    while True:
        ready, _, _ = select.select([orders.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            bury(running)
        if orders.fileno() not in ready:
            continue
        head, files, _, _ = socket.recv_fds(orders, HEAD.size, 4)
        if not head:
            return None
        *standard, fate = files
        order: dict[str, Any] = json.loads(orders.recv(HEAD.unpack(head)[0], socket.MSG_WAITALL))
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            orders.detach()
            for number, file in enumerate(standard):
                os.dup2(file, number)
            for file in (*files, woken, wake, *running.values()):
                os.close(file)
            return order
        running[pid] = fate
        tell(fate, pid)
        for file in standard:
            os.close(file)


def bury(running: dict[int, int]) -> None:
    """Tell how those ended that have."""
    for pid, fate in list(running.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            tell(fate, os.waitstatus_to_exitcode(status))
            os.close(running.pop(pid))


def tell(fate: int, number: int) -> None:
    """Tell a number to whoever wanted to know it, who may be gone."""
    with contextlib.suppress(BrokenPipeError):
        os.write(fate, b"%d\n" % number)


def run(order: dict[str, Any]) -> None:
    """Be the program."""
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    sys.argv = ["-c", *order["args"]]
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(order["source"], "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    import mainbus.blocking  # noqa: F401
    import mainbus_broker.broker  # noqa: F401
    import uvloop  # noqa: F401

    gc.collect()
    gc.freeze()
    if (order := serve(socket.socket(fileno=0))) is not None:
        run(order)
