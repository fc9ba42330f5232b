"""Renderer and broker programs for tests that stop, kill and restart processes, and a record of what one is told."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mainbus import IpcRenderer

from tests.support.bus import Program, until

COLLECTOR = """
async def main():
    got = []
    renderer = mainbus.connect(sys.argv[1], name=sys.argv[2])
    renderer.on("item", lambda event, *args: got.append(args[0]), senders="any")
    renderer.handle("got", lambda event: got, senders="any")
    renderer.handle("echo", lambda event, *args: args[0], senders="any")

    async def wait(event):
        await forever()

    renderer.handle("wait", wait, senders="any")
    async with renderer:
        say("ready")
        await forever()

asyncio.run(main())
"""
"""A renderer with a name that keeps what comes on "item", and answers "got" with it."""

BROKER = """
async def main():
    got = []
    ipc_main = IpcMain()
    ipc_main.on("item", lambda event, *args: got.append(args[0]))
    ipc_main.handle("got", lambda event: got)
    ipc_main.handle("echo", lambda event, value: value)
    ipc_main.handle("pid", lambda event: os.getpid())

    async def wait(event):
        say("waiting")
        await forever()

    ipc_main.handle("wait", wait)
    async with Broker(sys.argv[1], ipc_main=ipc_main):
        say("ready")
        await forever()

asyncio.run(main())
"""
"""A broker whose main process keeps what comes on "item"."""


@asynccontextmanager
async def collector(address: str, name: str) -> AsyncIterator[Program]:
    """Run `COLLECTOR`, connected when this is entered."""
    async with Program(COLLECTOR, address, name) as program:
        assert await program.line() == "ready"
        yield program


@asynccontextmanager
async def broker_process(address: str) -> AsyncIterator[Program]:
    """Run `BROKER`, listening when this is entered."""
    async with Program(BROKER, address) as program:
        assert await program.line() == "ready"
        yield program


async def stop(program: Program) -> None:
    """Stop a program so that it reads nothing more, and wait until it really stands still."""
    if sys.platform == "win32":
        _all_threads("NtSuspendProcess", program)
        return
    program.process.send_signal(signal.SIGSTOP)
    stat = Path(f"/proc/{program.process.pid}/stat")
    if stat.exists():
        await until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")


def go_on(program: Program) -> None:
    """Let a stopped program go on."""
    if sys.platform == "win32":
        _all_threads("NtResumeProcess", program)
    else:
        program.process.send_signal(signal.SIGCONT)


if sys.platform == "win32":

    def _all_threads(verb: str, program: Program) -> None:
        """Suspend or resume all threads of a program: the debuggers' way, for want of a signal."""
        process = ctypes.c_void_p(program.process.handle)  # type: ignore[attr-defined]
        assert getattr(ctypes.WinDLL("ntdll"), verb)(process) == 0


class Told:
    """Every event of a renderer's connection and every message, in the order that they came."""

    def __init__(self, renderer: IpcRenderer) -> None:
        self.log: list[str] = []
        for event in ("disconnected", "reconnected", "gap"):
            renderer.events.on(event, lambda *_, event=event: self.log.append(event))
        renderer.on("item", lambda event, value: self.log.append(f"item {value}"), senders="any")

    async def wait(self, what: str, count: int = 1) -> None:
        await until(lambda: self.log.count(what) >= count)
