"""A plugin that wants more than it may: a handler of the host's own, other plugins, a connection without its role."""

import asyncio
import os
from collections.abc import Awaitable

import mainbus
from mainbus import IpcRendererInvokeEvent, PermissionDenied


async def attempt(reply: Awaitable[object]) -> None:
    """Do something that is not granted, and print what comes of it."""
    try:
        await reply
    except PermissionDenied as error:
        print(f"  greedy   pid {os.getpid():<7} {error}", flush=True)


async def main() -> None:
    """Serve the host, and do what nobody has asked for."""
    ipc_renderer = mainbus.connect()

    @ipc_renderer.handle("transform")
    async def transform(event: IpcRendererInvokeEvent, text: str) -> int:
        await attempt(ipc_renderer.invoke("delete-file", "report.txt"))
        await attempt(ipc_renderer.invoke_to("shout", "transform", "as if I were the host"))
        # Whoever shows no token is a stranger, who may do even less.
        async with mainbus.connect() as stranger:
            await attempt(stranger.invoke("delete-file", "report.txt"))
        return 42  # and this is no text

    async with ipc_renderer:
        await asyncio.Event().wait()


asyncio.run(main())
