"""The demo's main process: `mainbus serve app:ipc_main` runs it."""

import json
import os

from mainbus_broker import IpcMain, IpcMainEvent, IpcMainInvokeEvent

ipc_main = IpcMain()
counter = 0


def show(event: IpcMainEvent | IpcMainInvokeEvent, verb: str, *data: object) -> None:
    """Report a message that has arrived; the process ID of its sender is the kernel's."""
    ends = {"from": event.sender.id, "from_pid": event.process_id, "to": 0, "to_pid": os.getpid()}
    print(json.dumps({"verb": verb, "channel": event.channel, "data": data, **ends}), flush=True)


@ipc_main.on("set-title")
def set_title(event: IpcMainEvent, title: str) -> None:
    """Pattern 1: a renderer tells the main process something."""
    show(event, "send", title)


@ipc_main.handle("dialog:open-file")
async def open_file(event: IpcMainInvokeEvent, folder: str) -> str:
    """Pattern 2: a renderer asks the main process and awaits the answer."""
    show(event, "invoke", folder)
    return f"{folder}/report.txt"


@ipc_main.on("menu:click")
def click(event: IpcMainEvent, item: str) -> None:
    """Pattern 3: the main process tells a renderer something. There is no menu here, so the renderer plays it."""
    show(event, "send", item)
    event.sender.send("update-counter", 1)


@ipc_main.on("counter-value")
def counter_value(event: IpcMainEvent, value: int) -> None:
    """Pattern 3: the renderer replies."""
    global counter
    counter = value
    show(event, "send", value)


@ipc_main.on("get-counter")
def get_counter(event: IpcMainEvent) -> None:
    """send_sync: a renderer stands still until `return_value` is set."""
    show(event, "send_sync")
    event.return_value = counter


print(json.dumps({"id": 0, "name": "main", "pid": os.getpid()}), flush=True)
