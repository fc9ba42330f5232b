"""A reply stream, as in Electron's MessagePort tutorial: one question, many answers.

The main process answers twice: along a port that came with the question, which is Electron's way, and with a handler
that is an async generator, which goes at the pace of whoever asks and ends when that one leaves.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from mainbus_broker import Broker, IpcMain, IpcMainEvent, IpcMainInvokeEvent

WINDOW = Path(__file__).resolve().parent / "window.py"
PATIENCE = 30.0

ipc_main = IpcMain()


def show(name: str, pid: int, text: str) -> None:
    """Print what a process has to say."""
    print(f"  {name:<6} pid {pid:<7} {text}", flush=True)


@ipc_main.on("give-me-a-stream")
def answer(event: IpcMainEvent, message: dict[str, Any]) -> None:
    """Answer along the port that has come, and close it."""
    (reply_port,) = event.ports
    for _ in range(message["count"]):
        reply_port.post_message(message["element"])
    reply_port.close()


@ipc_main.handle("search")
async def search(event: IpcMainInvokeEvent, word: str) -> AsyncIterator[str]:
    """Find a word for ever, or as long as somebody wants more."""
    number = 0
    try:
        while True:
            number += 1
            yield f"{word} in line {number}"
    finally:
        show("main", os.getpid(), f"nobody wants more of {word!r}")


@ipc_main.on("report")
def report(event: IpcMainEvent, text: str) -> None:
    """Print what the window says."""
    show(event.sender.name or "", event.process_id, text)


async def main() -> int:
    """Start the window and wait until it has ended; returns its exit code."""
    with tempfile.TemporaryDirectory(prefix="mainbus-stream-") as folder:
        async with Broker(f"unix:{folder}/app.sock", ipc_main=ipc_main) as broker, asyncio.timeout(PATIENCE):
            window = await broker.spawn([sys.executable, str(WINDOW)], name="window")
            return await window.process.wait()


if __name__ == "__main__":
    print("A reply stream", flush=True)
    sys.exit(asyncio.run(main()))
