"""A plugin that does what it should: it answers the one question that it may be asked."""

import asyncio

import mainbus
from mainbus import IpcRendererInvokeEvent


async def main() -> None:
    """Serve the host until it ends this process. The address and a token are in the environment."""
    ipc_renderer = mainbus.connect()

    @ipc_renderer.handle("transform")
    def transform(event: IpcRendererInvokeEvent, text: str) -> str:
        return text.upper()

    async with ipc_renderer:
        await asyncio.Event().wait()


asyncio.run(main())
