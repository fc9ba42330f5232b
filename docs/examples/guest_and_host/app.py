"""The main process: `mainbus serve app:ipc_main` runs it. It sees who speaks, and whose guest that is."""

from mainbus_broker import IpcMain, IpcMainEvent

ipc_main = IpcMain()


@ipc_main.on("note")
def note(event: IpcMainEvent, text: str) -> None:
    """Print what a renderer, a frame of it or a guest has to say."""
    frame = event.sender_frame
    who = event.sender.name or "nobody"
    if frame is not None and frame.frame_id:
        who += f", frame {frame.name}"
    if event.sender.host_web_contents is not None:
        who += f", guest of {event.sender.host_web_contents.name}"
    print(f"{who}: {text}", flush=True)
    event.reply("noted", text)
