"""The window: Tk's loop runs, and polls the renderer whenever something has arrived. No thread, no asyncio."""

import tkinter
from tkinter import ttk

import mainbus.blocking
from mainbus import IpcRendererEvent
from mainbus.blocking import BlockingRenderer

EVERY_MS = 20
"""How often to look, where Tk cannot watch a descriptor."""


class Window:
    """A bar that shows how far the main process is, and a button that stops it."""

    def __init__(self, ipc_renderer: BlockingRenderer) -> None:
        self._ipc_renderer = ipc_renderer
        self._root = tkinter.Tk()
        self._root.title("Download")
        self._bar = ttk.Progressbar(self._root, length=300)
        self._bar.pack(padx=20, pady=20)
        self._button = ttk.Button(self._root, text="Stop", command=self._stop)
        self._button.pack(pady=(0, 20))
        ipc_renderer.on("progress", self._show)
        ipc_renderer.on("quit", lambda event: self._root.quit())
        # Without the main process there is nothing to show.
        ipc_renderer.events.on("disconnected", lambda reason: self._root.quit())

    def run(self) -> None:
        """Run until the main process says that it is over, or somebody closes the window."""
        self._ipc_renderer.send("start")
        if hasattr(self._root, "createfilehandler"):
            self._root.createfilehandler(self._ipc_renderer, tkinter.READABLE, lambda *_: self._ipc_renderer.poll())
        else:
            self._poll_again()  # Tk on Windows watches no descriptors
        self._root.mainloop()

    def _poll_again(self) -> None:
        self._ipc_renderer.poll()
        self._root.after(EVERY_MS, self._poll_again)

    def _show(self, event: IpcRendererEvent, percent: int) -> None:
        # Listeners run in poll(), so in Tk's own thread: they may touch what they like.
        self._bar["value"] = percent
        event.reply("shown", percent)

    def _stop(self) -> None:
        self._button.state(["disabled"])
        self._ipc_renderer.send("stop")


# The address and a token are in the environment. A window that has lost its main process does not wait for another one.
with mainbus.blocking.connect(reconnect=False, poll=True) as ipc_renderer:
    Window(ipc_renderer).run()
