"""Processes that start at once on Windows, where nothing forks: Pythons that have imported mainbus and wait for orders.

Run by `tests.support.nursery`. This module is both ends: the tests', and what waits.
"""

from __future__ import annotations

import asyncio
import asyncio.windows_utils
import json
import msvcrt
import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Final

assert sys.platform == "win32"

ROOT: Final = Path(__file__).resolve().parents[2]

KEPT: Final = 2
"""How many wait, once the first was asked for."""


class Spare:
    """A process that waits for an order. What it will say is read by whichever loop orders."""

    def __init__(self) -> None:
        ours, its = asyncio.windows_utils.pipe(overlapped=(True, False))
        self.said = asyncio.windows_utils.PipeHandle(ours)
        number = msvcrt.open_osfhandle(its, 0)
        command = [sys.executable, "-m", "tests.support.spares"]
        try:
            self.popen = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=number, cwd=ROOT)
        finally:
            os.close(number)

    def end(self) -> None:
        """End it; it has not been ordered anything."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        self.said.close()
        self.popen.wait()


class Spares:
    """Those that wait, which start with the first order."""

    def __init__(self) -> None:
        self._waiting: deque[Spare] = deque()

    def take(self) -> Spare:
        """Return one, and let others start in its place."""
        while len(self._waiting) <= KEPT:
            self._waiting.append(Spare())
        return self._waiting.popleft()

    def close(self) -> None:
        """End all that wait."""
        for spare in self._waiting:
            spare.end()
        self._waiting.clear()


SPARES: Final = Spares()


class _Output(asyncio.StreamReaderProtocol):
    """Ends its transport with what is read."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


class Process:
    """A process that was given its order, with the words of `asyncio.subprocess.Process`."""

    def __init__(self, popen: subprocess.Popen[bytes], stdout: asyncio.StreamReader) -> None:
        assert popen.stdin is not None
        self.pid = popen.pid
        self.stdin = popen.stdin
        self.stdout = stdout
        self.handle = int(popen._handle)  # type: ignore[attr-defined]
        self._popen = popen

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    async def wait(self) -> int:
        return await asyncio.to_thread(self._popen.wait)

    def kill(self) -> None:
        self._popen.kill()

    terminate = kill


async def start(source: str, *args: str, env: dict[str, str] | None = None) -> Process:
    """Run source in a process of its own, with pipes for its standard input and output."""
    spare = SPARES.take()
    order = {"source": source, "args": args, "env": env or dict(os.environ), "folder": os.getcwd()}
    loop, stdout = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: _Output(stdout), spare.said)
    process = Process(spare.popen, stdout)
    process.stdin.write(json.dumps(order).encode() + b"\n")
    return process


if __name__ == "__main__":
    import mainbus.blocking  # noqa: F401
    import mainbus_broker.broker  # noqa: F401

    from tests.support.nursery import run

    if line := sys.stdin.buffer.readline():
        run(json.loads(line))
