"""A plugin that hangs: it does not even hear that nobody waits for it any more."""

import threading

import mainbus.blocking
from mainbus import IpcRendererInvokeEvent

ipc_renderer = mainbus.blocking.connect()


@ipc_renderer.handle("transform")
def transform(event: IpcRendererInvokeEvent, text: str) -> str:
    """Wait for what never happens."""
    threading.Event().wait()
    return text


with ipc_renderer:
    threading.Event().wait()
