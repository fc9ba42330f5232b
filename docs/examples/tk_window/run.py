"""A Tk window as the renderer of an asyncio main process: a bar shows how far a download is, a button stops it."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from mainbus import ObjectDestroyedError
from mainbus_broker import Broker, IpcMain, IpcMainEvent, WebContents

WINDOW = Path(__file__).resolve().parent / "window.py"
PATIENCE = 60.0
SECONDS = 2.0

ipc_main = IpcMain()


def show(name: str, pid: int, text: str) -> None:
    """Print what a process has to say."""
    print(f"  {name:<6} pid {pid:<7} {text}", flush=True)


async def download(window: WebContents) -> None:
    """Play a download. A real one is a task like this, which awaits the network."""
    try:
        for percent in range(101):
            window.send("progress", percent)
            await asyncio.sleep(SECONDS / 100)
        show("main", os.getpid(), "done")
        window.send("quit")
    except ObjectDestroyedError:
        show("main", os.getpid(), "the window is gone")


@ipc_main.on("start")
def start(event: IpcMainEvent) -> None:
    """Begin when the window is there; `data` is where the application keeps what belongs to a renderer."""
    event.sender.data["download"] = asyncio.create_task(download(event.sender))


@ipc_main.on("stop")
def stop(event: IpcMainEvent) -> None:
    """End it: the button was pressed."""
    event.sender.data["download"].cancel()
    show("main", os.getpid(), "stopped")
    event.reply("quit")


@ipc_main.on("shown")
def shown(event: IpcMainEvent, percent: int) -> None:
    """Print each quarter of the way that the window has shown."""
    if percent % 25 == 0:
        show("window", event.process_id, f"shows {percent} %")


async def main() -> int:
    """Start the window and wait until it has ended; returns its exit code."""
    with tempfile.TemporaryDirectory(prefix="mainbus-tk-") as folder:
        async with Broker(f"unix:{folder}/app.sock", ipc_main=ipc_main) as broker, asyncio.timeout(PATIENCE):
            window = await broker.spawn([sys.executable, str(WINDOW)], name="window")
            return await window.process.wait()


if __name__ == "__main__":
    print("A Tk window", flush=True)
    sys.exit(asyncio.run(main()))
