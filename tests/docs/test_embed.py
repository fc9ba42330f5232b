"""What the page embed.md says of Tk works: its window.py on a display, and the same on Tcl's own loop, without one."""

import asyncio
import sys
from pathlib import Path

import pytest
from mainbus_broker import Broker, IpcMain

from tests.support.snippets import DOCS, named

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


@pytest.mark.contract("3.14")
async def test_the_window_asks_and_shows_the_answer(
    display: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = named(DOCS / "how-to" / "embed.md")["window.py"]
    for before, after in [
        ("label.configure(text=title)", "(label.configure(text=title), print(label['text']), root.destroy())"),
        ("root.mainloop()", "(root.after_idle(button.invoke), root.mainloop())"),
    ]:
        assert before in text
        text = text.replace(before, after)
    (tmp_path / "window.py").write_text(text)
    monkeypatch.setenv("MAINBUS_ADDRESS", address)
    monkeypatch.setenv("DISPLAY", display)
    ipc_main = IpcMain()
    ipc_main.on("ask", lambda event: event.reply("title-changed", "Hello"))
    async with Broker(address, ipc_main=ipc_main):
        window = await asyncio.create_subprocess_exec(
            sys.executable, tmp_path / "window.py", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await window.communicate()
    assert (window.returncode, out) == (0, b"Hello\n")


async def test_listeners_run_in_the_loop_of_tk(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("_tkinter", reason="this Python has no Tk")
    monkeypatch.setenv("MAINBUS_ADDRESS", address)
    ipc_main = IpcMain()
    ipc_main.on("ask", lambda event: event.reply("title-changed", "Hello"))
    async with Broker(address, ipc_main=ipc_main):
        window = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE)
        out, _ = await window.communicate()
    assert (window.returncode, out) == (0, b"Hello\n")
