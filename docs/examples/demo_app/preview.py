"""The demo's second renderer: it serves the first one until that leaves."""

import asyncio
import json
import os

import mainbus
from mainbus import IpcRendererEvent, IpcRendererInvokeEvent


def show(event: IpcRendererEvent | IpcRendererInvokeEvent, verb: str, *data: object) -> None:
    """Report a message that has arrived."""
    ends = {"from": event.sender_id, "to": event.sender.id, "to_pid": os.getpid()}
    print(json.dumps({"verb": verb, "channel": event.channel, "data": data, **ends}), flush=True)


async def main() -> None:
    """Listen to renderers, which a renderer does only where it says so."""
    text = ""
    left = asyncio.Event()
    async with mainbus.connect(name="preview", connect_timeout=10) as ipc_renderer:

        @ipc_renderer.on("show-text", senders="renderers")
        def show_text(event: IpcRendererEvent, new: str) -> None:
            nonlocal text
            text = new
            show(event, "send_to", new)

        @ipc_renderer.handle("count-words", senders="renderers")
        def count_words(event: IpcRendererInvokeEvent) -> int:
            show(event, "invoke_to")
            return len(text.split())

        ipc_renderer.events.on("peer-left", lambda peer, name: left.set())
        print(json.dumps({"id": ipc_renderer.id, "name": "preview", "pid": os.getpid()}), flush=True)
        await left.wait()


asyncio.run(main())
