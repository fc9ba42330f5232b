"""The window: it asks once, and takes as many answers as it likes."""

import asyncio

import mainbus
from mainbus import IpcRenderer, MessageChannel


async def along_a_port(ipc_renderer: IpcRenderer) -> None:
    """Ask as Electron does: one port of a channel goes along with the question."""
    channel = MessageChannel()
    ipc_renderer.post_message("give-me-a-stream", {"element": 42, "count": 3}, [channel.port2])
    async for message in channel.port1:
        ipc_renderer.send("report", f"got response data: {message.data}")
    ipc_renderer.send("report", "stream ended")


async def from_a_generator(ipc_renderer: IpcRenderer) -> None:
    """Ask with `stream`: the generator at the other end waits for us, and ends with us."""
    async with ipc_renderer.stream("search", "port") as lines:
        async for line in lines:
            ipc_renderer.send("report", f"found {line}")
            if line == "port in line 3":
                break


async def main() -> None:
    """Ask in both ways."""
    async with mainbus.connect() as ipc_renderer:
        await along_a_port(ipc_renderer)
        await from_a_generator(ipc_renderer)


asyncio.run(main())
