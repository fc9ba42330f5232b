"""mainbus: Electron's IPC for Python. This package is the renderer's side, and the core that both sides share."""

from mainbus import context_bridge
from mainbus.context_bridge import main_world
from mainbus.errors import (
    AddressError,
    BadMessage,
    CloneError,
    ConfigError,
    ConnectionLost,
    ConnectRefused,
    InvokeTimeout,
    LimitExceeded,
    LocalProtocolError,
    MainbusError,
    MessageTooLarge,
    NameTaken,
    NoHandlerError,
    NoSuchRenderer,
    ObjectDestroyedError,
    PermissionDenied,
    PortError,
    RemoteError,
    RemoteProtocolError,
    ReplyNeverSent,
    SendQueueFull,
    TooManyRequests,
    ValidationError,
)
from mainbus.events import IpcMessageEvent, IpcRendererEvent, IpcRendererInvokeEvent, MessageEvent
from mainbus.frame import IpcFrame
from mainbus.guest import Guest
from mainbus.ports import MessageChannel, MessagePort
from mainbus.registration import Registration
from mainbus.remote import register_error
from mainbus.renderer import IpcRenderer, PeerInfo, connect
from mainbus.reply import Reply
from mainbus.streams import Stream
from mainbus.wire.regexp import RegExp

__all__ = [
    "AddressError",
    "BadMessage",
    "CloneError",
    "ConfigError",
    "ConnectRefused",
    "ConnectionLost",
    "Guest",
    "InvokeTimeout",
    "IpcFrame",
    "IpcMessageEvent",
    "IpcRenderer",
    "IpcRendererEvent",
    "IpcRendererInvokeEvent",
    "LimitExceeded",
    "LocalProtocolError",
    "MainbusError",
    "MessageChannel",
    "MessageEvent",
    "MessagePort",
    "MessageTooLarge",
    "NameTaken",
    "NoHandlerError",
    "NoSuchRenderer",
    "ObjectDestroyedError",
    "PeerInfo",
    "PermissionDenied",
    "PortError",
    "RegExp",
    "Registration",
    "RemoteError",
    "RemoteProtocolError",
    "Reply",
    "ReplyNeverSent",
    "SendQueueFull",
    "Stream",
    "TooManyRequests",
    "ValidationError",
    "connect",
    "context_bridge",
    "main_world",
    "register_error",
]
