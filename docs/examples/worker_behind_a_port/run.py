"""A worker behind a port, as in Electron's MessagePort tutorial: the main process introduces a window to a worker.

It makes a channel, gives one port to each, and sees none of what they say to each other then.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from mainbus_broker import Broker, IpcMain, IpcMainEvent, MessageChannelMain

FOLDER = Path(__file__).resolve().parent
PATIENCE = 30.0


def show(name: str, pid: int, text: str) -> None:
    """Print what a process has to say."""
    print(f"  {name:<6} pid {pid:<7} {text}", flush=True)


def introduce(broker: Broker, event: IpcMainEvent) -> None:
    """Give whoever asks one port of a new channel, and the worker the other one."""
    worker = broker.web_contents.from_name("worker")
    assert worker is not None
    channel = MessageChannelMain()
    worker.post_message("new-client", event.sender.name, [channel.port1])
    event.sender.post_message("worker-channel", None, [channel.port2])
    show("main", os.getpid(), f"introduced {event.sender.name} to worker")


async def start(broker: Broker, name: str) -> asyncio.subprocess.Process:
    """Start one of the two as a renderer process of that name."""
    return (await broker.spawn([sys.executable, str(FOLDER / f"{name}.py")], name=name)).process


async def main() -> int:
    """Start the two and wait until both have ended; returns the exit code."""
    ipc_main = IpcMain()
    ipc_main.on("report", lambda event, text: show(event.sender.name, event.process_id, text))
    with tempfile.TemporaryDirectory(prefix="mainbus-port-") as folder:
        async with Broker(f"unix:{folder}/app.sock", ipc_main=ipc_main) as broker, asyncio.timeout(PATIENCE):
            ipc_main.on("request-worker-channel", lambda event: introduce(broker, event))
            worker = await start(broker, "worker")
            window = await start(broker, "window")
            codes = [await process.wait() for process in (window, worker)]
    return max(codes)


if __name__ == "__main__":
    print("A worker behind a port", flush=True)
    sys.exit(asyncio.run(main()))
