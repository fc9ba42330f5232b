"""The host: it starts a plugin in a process of its own, has it do something, and shows the result in a frame."""

import asyncio
import os
import sys
from pathlib import Path

import mainbus
from mainbus import Guest, IpcMessageEvent, IpcRenderer

PLUGIN = Path(__file__).parent / "plugin.py"


async def ask_plugin(guest: Guest, text: str) -> str:
    """Send a text to the plugin and wait for what it makes of it."""
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def take(event: IpcMessageEvent) -> None:
        answer.set_result(str(event.args[0]))

    guest.once("ipc-message", take)
    guest.send("transform", text)
    return await answer


async def run(ipc_renderer: IpcRenderer) -> None:
    """Run the plugin once."""
    guest = await ipc_renderer.create_guest("plugin")
    # The token is for this process alone, and good for one connection.
    env = {**os.environ, "MAINBUS_TOKEN": guest.token}
    process = await asyncio.create_subprocess_exec(sys.executable, str(PLUGIN), env=env)
    try:
        async with asyncio.timeout(20):
            await guest.ready()
            text = await ask_plugin(guest, "hello")
    finally:
        process.terminate()
        await process.wait()

    async with await ipc_renderer.create_frame("status bar") as frame:
        frame.send("note", text)
        event, noted = await frame.wait_for("noted", timeout=20)
        print(f"editor, frame {frame.name}: {event.channel} {noted}", flush=True)


async def main() -> None:
    """Connect and run."""
    async with mainbus.connect(name="editor", connect_timeout=10) as ipc_renderer:
        await run(ipc_renderer)


asyncio.run(main())
