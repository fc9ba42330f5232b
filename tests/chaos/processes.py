"""The processes of a chaos run as their runner has them: started, told things, killed, frozen, measured."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import IO

PATIENCE = 90.0
"""Seconds in which a process that nothing happens to must have answered."""


class Process:
    """One program, again and again under the same name.

    Args:
        name: Its name.
        module: The module of `tests.chaos` that is run.
        log: Where its standard error goes.
    """

    def __init__(self, name: str, module: str, log: IO[bytes]) -> None:
        self.name = name
        self.incarnation = 0
        self.is_down = True
        """Whether it was killed, or is frozen."""
        self.most = 0
        """The most memory that any of its incarnations has had, in KiB."""
        self._module = module
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, address: str, folder: str, *args: object) -> None:
        """Start it; `args` stand behind those that every program has. Returns before it is ready."""
        self.incarnation += 1
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"tests.chaos.{self._module}", address, folder, *map(str, args),
            stdin=pipe, stdout=pipe, stderr=self._log,
        )  # fmt: skip
        self.is_down = False

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def tell(self, word: str) -> None:
        """Tell it something; it may be frozen or dead."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def heard(self, word: str) -> bool:
        """Wait until it says a word; False if it ends before, or says nothing."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while line := await self._process.stdout.readline():
                    if line.decode().strip() == word:
                        return True
        except TimeoutError:
            pass
        return False

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill it, and wait for its end."""
        self.is_down = True
        self.send(signal.SIGKILL)
        await self.end()

    async def end(self) -> int:
        """Wait for its end; returns its exit status."""
        if self._process is None:
            return 0
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        await self._process.stdout.read()
        return await self._process.wait()

    def measure(self) -> None:
        """Note the memory that it has now."""
        if not self.is_down:
            self.most = max(self.most, memory(self.pid))


def memory(pid: int) -> int:
    """Return the resident memory of a process in KiB; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * (os.sysconf("SC_PAGE_SIZE") // 1024)
