"""Renderer and broker programs for tests that stop, kill and restart processes, and a transport on a socket pair."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from mainbus.outbox import Outbox
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
    program.process.send_signal(signal.SIGSTOP)
    stat = Path(f"/proc/{program.process.pid}/stat")
    if stat.exists():
        await until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")


def go_on(program: Program) -> None:
    """Let a stopped program go on."""
    program.process.send_signal(signal.SIGCONT)


class Writing(asyncio.Protocol):
    """The protocol that an `Outbox` is used with: it passes on what the transport says of its buffer."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox

    def pause_writing(self) -> None:
        self.outbox.pause_writing()

    def resume_writing(self) -> None:
        self.outbox.resume_writing()


@asynccontextmanager
async def attached(outbox: Outbox) -> AsyncIterator[Callable[[int], Any]]:
    """Attach an outbox to one end of a socket pair; yields an async function that reads so many bytes at the other."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: Writing(outbox), sock=ours)
    outbox.attach(cast(asyncio.Transport, transport))

    async def read(count: int) -> bytes:
        data = bytearray()
        async with asyncio.timeout(10):
            while len(data) < count:
                data += await loop.sock_recv(theirs, count - len(data))
        return bytes(data)

    try:
        yield read
    finally:
        outbox.detach()
        transport.abort()
        theirs.close()
        await asyncio.sleep(0)
