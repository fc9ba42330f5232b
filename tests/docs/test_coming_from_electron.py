"""The page for people who know Electron names every member of Electron's IPC, as its documentation lists them."""

import re

import mainbus
import mainbus_broker
import pytest

from docs.public_names import public
from tests.checks.tree import ROOT

PAGE = (ROOT / "docs" / "coming-from" / "electron.md").read_text(encoding="utf-8")

EMITTER = ["on", "off", "once", "addListener", "removeListener", "removeAllListeners"]
EVENT = ["type", "processId", "frameId", "sender", "senderFrame"]
MEMBERS = {
    "ipcMain": ["ipcMain." + name for name in (*EMITTER, "handle", "handleOnce", "removeHandler")],
    "The event of a listener": ["event." + name for name in (*EVENT, "returnValue", "ports", "reply")],
    "The event of a handler": ["event." + name for name in EVENT],
    "ipcRenderer": [
        "ipcRenderer." + name for name in (*EMITTER, "send", "invoke", "sendSync", "postMessage", "sendToHost")
    ],
    "The event of a renderer": ["event.sender", "event.ports"],
    "webContents": [
        "webContents.getAllWebContents",
        "webContents.fromId",
        "webContents.fromFrame",
        *("'destroyed'", "'ipc-message'", "'ipc-message-sync'"),
        *(
            "contents." + name
            for name in ("id", "ipc", "mainFrame", "hostWebContents", "send", "sendToFrame", "postMessage")
        ),
    ],
    "webFrameMain": [
        *("webFrameMain.fromId", "webFrameMain.fromFrameToken", "'dom-ready'"),
        *(
            "frame." + name
            for name in (
                *("executeJavaScript", "reload", "isDestroyed", "send", "postMessage", "collectJavaScriptCallStack"),
                *("copyVideoFrameAt", "saveVideoFrameAs", "printToPDF", "ipc", "url", "origin", "top", "parent"),
                *("frames", "framesInSubtree", "frameTreeNodeId", "name", "frameToken", "osProcessId", "processId"),
                *("routingId", "visibilityState", "detached"),
            )
        ),
    ],
    "MessageChannelMain and MessagePortMain": [
        *("channel.port1", "channel.port2", "port.postMessage", "port.start", "port.close"),
        *("port.on('message'", "port.on('close'"),
    ],
    "contextBridge": [
        "contextBridge." + name for name in ("exposeInMainWorld", "exposeInIsolatedWorld", "executeInMainWorld")
    ],
    "The old ipc module": [
        *("ipc.on", "ipc.send", "ipc.sendSync", "ipc.sendToHost", "ipc.sendChannel", "ipc.sendChannelSync"),
        *("event.returnValue", "event.sender", "event.sender.send"),
    ],
}
CLASSES = {
    "ipc_main": mainbus_broker.IpcMain,
    "ipc_renderer": mainbus.IpcRenderer,
    "contents": mainbus_broker.WebContents,
    "frame": mainbus_broker.WebFrameMain,
    "port": mainbus.MessagePort,
}


def section(title: str) -> str:
    (text,) = re.findall(rf"^## {title}[^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return str(text)


@pytest.mark.parametrize("title", MEMBERS)
def test_every_member_of_electron_has_a_row(title: str) -> None:
    first_cells = " ".join(re.findall(r"^\| ([^|]*) \|", section(title), re.M))
    assert not [member for member in MEMBERS[title] if not re.search(rf"`{re.escape(member)}(?!\w)", first_cells)]


@pytest.mark.parametrize("name", CLASSES)
def test_what_it_is_here_exists(name: str) -> None:
    second_cells = " ".join(re.findall(r"^\| [^|]* \| ([^|]*) \|", PAGE, re.M))
    written = set(re.findall(rf"`(?:await )?{name}\.([a-z_]+)", second_cells))
    assert written
    assert written <= {member for member, _ in public(CLASSES[name])}
