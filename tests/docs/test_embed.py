"""What the page about embedding says of Tk works on Tcl's own loop, which needs no window."""

import asyncio
import sys

import pytest
from mainbus_broker import Broker, IpcMain

# A process of its own: Tcl starts a thread that never ends.
PROGRAM = """
import tkinter

import mainbus.blocking

root = tkinter.Tcl()
seen = []
with mainbus.blocking.connect(name="window", poll=True) as ipc_renderer:
    ipc_renderer.on("title-changed", lambda event, title: seen.append(title))
    ipc_renderer.send("ask")
    root.createfilehandler(ipc_renderer, tkinter.READABLE, lambda *_: ipc_renderer.poll())
    while not seen:
        root.dooneevent()
print(*seen)
"""


async def test_listeners_run_in_the_loop_of_tk(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("_tkinter", reason="this Python has no Tk")
    monkeypatch.setenv("MAINBUS_ADDRESS", address)
    ipc_main = IpcMain()
    ipc_main.on("ask", lambda event: event.reply("title-changed", "Hello"))
    async with Broker(address, ipc_main=ipc_main):
        window = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE)
        out, _ = await window.communicate()
    assert (window.returncode, out) == (0, b"Hello\n")
