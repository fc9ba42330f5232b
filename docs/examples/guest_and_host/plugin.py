"""The guest: a renderer for which its host counts as the main process."""

import asyncio

import mainbus
from mainbus import IpcRendererEvent


async def main() -> None:
    """Serve the host until it ends this process. The token is in the environment."""
    async with mainbus.connect() as ipc_renderer:

        @ipc_renderer.on("transform")
        def transform(event: IpcRendererEvent, text: str) -> None:
            # Only the main process and the host get here: other renderers need `senders=`.
            ipc_renderer.send("note", f"asked by renderer {event.sender_id}")
            ipc_renderer.send_to_host("transformed", text.upper())

        await asyncio.Event().wait()


asyncio.run(main())
