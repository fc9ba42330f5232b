"""The demo's first renderer: it starts each of the patterns."""

import asyncio
import json
import os

import mainbus
from mainbus import IpcRenderer, IpcRendererEvent


def show(ipc_renderer: IpcRenderer, verb: str, sender: int, channel: str, *data: object) -> None:
    """Report a message that has arrived."""
    ends = {"from": sender, "to": ipc_renderer.id, "to_pid": os.getpid()}
    print(json.dumps({"verb": verb, "channel": channel, "data": data, **ends}), flush=True)


async def patterns_with_main(ipc_renderer: IpcRenderer) -> None:
    """Patterns 1 to 3 of Electron's tutorial, and `send_sync`."""
    ipc_renderer.send("set-title", "report.txt - editor")

    path = await ipc_renderer.invoke("dialog:open-file", "docs", timeout=10)
    show(ipc_renderer, "result", 0, "dialog:open-file", path)

    updated = asyncio.Event()

    @ipc_renderer.on("update-counter")
    def update_counter(event: IpcRendererEvent, value: int) -> None:
        show(ipc_renderer, "send", event.sender_id, event.channel, value)
        event.reply("counter-value", value)
        updated.set()

    ipc_renderer.send("menu:click", "increment")
    await updated.wait()

    # It keeps its place behind the reply above, so the main process has counted by now.
    counter = ipc_renderer.send_sync("get-counter", timeout=10)
    show(ipc_renderer, "result", 0, "get-counter", counter)


async def pattern_with_preview(ipc_renderer: IpcRenderer) -> None:
    """Pattern 4: renderer to renderer, forwarded by the broker."""
    ipc_renderer.send_to("preview", "show-text", "four words of text")
    words = await ipc_renderer.invoke_to("preview", "count-words", timeout=10)
    (preview,) = [peer for peer in await ipc_renderer.peers() if peer.name == "preview"]
    show(ipc_renderer, "result", preview.id, "count-words", words)


async def main() -> None:
    """Connect and run the patterns one after the other."""
    async with mainbus.connect(name="editor", connect_timeout=10) as ipc_renderer:
        print(json.dumps({"id": ipc_renderer.id, "name": "editor", "pid": os.getpid()}), flush=True)
        await patterns_with_main(ipc_renderer)
        await pattern_with_preview(ipc_renderer)


asyncio.run(main())
