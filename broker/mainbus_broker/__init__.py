"""The main process of mainbus: a broker to embed, and its daemon.

What is named here is imported when it is asked for: the commands that are renderers need no broker, and start sooner.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mainbus.ports import MessageChannel as MessageChannelMain
    from mainbus.ports import MessagePort as MessagePortMain

    from mainbus_broker.broker import Broker, Spawned
    from mainbus_broker.config import Config, Limits
    from mainbus_broker.contents_registry import WebContentsRegistry
    from mainbus_broker.events import IpcMainEvent, IpcMainInvokeEvent
    from mainbus_broker.ipc_main import IpcMain
    from mainbus_broker.listeners import Process
    from mainbus_broker.roles import Match, Role
    from mainbus_broker.web_contents import WebContents
    from mainbus_broker.web_frame import WebFrameMain

__all__ = [
    "Broker",
    "Config",
    "IpcMain",
    "IpcMainEvent",
    "IpcMainInvokeEvent",
    "Limits",
    "Match",
    "MessageChannelMain",
    "MessagePortMain",
    "Process",
    "Role",
    "Spawned",
    "WebContents",
    "WebContentsRegistry",
    "WebFrameMain",
]

_HOMES: Final = {
    "Broker": "mainbus_broker.broker",
    "Config": "mainbus_broker.config",
    "IpcMain": "mainbus_broker.ipc_main",
    "IpcMainEvent": "mainbus_broker.events",
    "IpcMainInvokeEvent": "mainbus_broker.events",
    "Limits": "mainbus_broker.config",
    "Match": "mainbus_broker.roles",
    "MessageChannelMain": "mainbus.ports",
    "MessagePortMain": "mainbus.ports",
    "Process": "mainbus_broker.listeners",
    "Role": "mainbus_broker.roles",
    "Spawned": "mainbus_broker.broker",
    "WebContents": "mainbus_broker.web_contents",
    "WebContentsRegistry": "mainbus_broker.contents_registry",
    "WebFrameMain": "mainbus_broker.web_frame",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    # The client has Electron's other names for what is the same here.
    there = name if home.startswith(f"{__name__}.") else name.removesuffix("Main")
    found = globals()[name] = getattr(import_module(home), there)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
