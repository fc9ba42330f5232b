"""The main process of mainbus: a broker to embed, and its daemon."""

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
