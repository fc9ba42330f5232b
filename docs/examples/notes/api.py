"""What the renderers call, Electron's preload: typed functions instead of channels."""

from collections.abc import Callable

from mainbus import IpcRenderer, IpcRendererEvent, Registration

from . import channels
from .channels import Note


class Notes:
    """The notes, as a renderer sees them."""

    def __init__(self, ipc_renderer: IpcRenderer) -> None:
        self._ipc = ipc_renderer

    async def add(self, title: str, text: str) -> int:
        """Keep a new note and return its id."""
        id: int = await self._ipc.invoke(channels.ADD, title, text, timeout=10)
        return id

    async def get(self, id: int) -> Note:
        """Return a note; `NoSuchNote` if there is none."""
        return Note(**await self._ipc.invoke(channels.GET, id, timeout=10))

    def on_added(self, callback: Callable[[Note], None]) -> Registration:
        """Call a function with each note that somebody adds from now on."""

        def added(event: IpcRendererEvent, note: dict[str, object]) -> None:
            callback(Note(**note))  # type: ignore[arg-type]

        return self._ipc.on(channels.ADDED, added)
