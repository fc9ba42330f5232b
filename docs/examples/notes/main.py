"""The main process: it owns the notes, says who answers on which channel, and starts the renderers."""

import sys
import tempfile

from mainbus_broker import Broker, IpcMainInvokeEvent, Spawned

from . import channels
from .channels import Note
from .store import Store


def serve_notes(broker: Broker, store: Store) -> None:
    """Register the handlers of the notes. They translate between channels and the store, and do nothing else."""

    @broker.ipc_main.handle(channels.ADD)
    def add(event: IpcMainInvokeEvent, title: str, text: str) -> int:
        note = store.add(title, text)
        broker.web_contents.broadcast(channels.ADDED, note)
        return note.id

    @broker.ipc_main.handle(channels.GET)
    def get(event: IpcMainInvokeEvent, id: int) -> Note:
        return store.get(id)


async def start(broker: Broker, name: str) -> Spawned:
    """Start a renderer of that name."""
    return await broker.spawn([sys.executable, "-m", f"{__package__}.{name}"], name=name)


async def main() -> int:
    """Serve the notes until the editor has ended; returns its exit code."""
    with tempfile.TemporaryDirectory(prefix="mainbus-notes-") as folder:
        async with Broker(f"unix:{folder}/app.sock") as broker:
            serve_notes(broker, Store())
            viewer = await start(broker, "viewer")
            await viewer.contents.ready()
            editor = await start(broker, "editor")
            code = await editor.process.wait()
            viewer.contents.send(channels.QUIT)
            await viewer.process.wait()
    return code
