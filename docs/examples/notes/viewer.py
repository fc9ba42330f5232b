"""A renderer: it shows each new note until the main process says that it is over."""

import asyncio

import mainbus

from . import channels
from .api import Notes


async def main() -> None:
    """Show notes."""
    ipc_renderer = mainbus.connect()
    # Before it opens, so that it misses nothing.
    Notes(ipc_renderer).on_added(lambda note: print(f"viewer: {note.id} {note.title}", flush=True))
    async with ipc_renderer:
        await ipc_renderer.wait_for(channels.QUIT)


asyncio.run(main())
