"""The renderer's API without a loop, for programs of plain threads: `connect` and what it returns."""

from mainbus.blocking.frame import BlockingFrame
from mainbus.blocking.guest import BlockingGuest
from mainbus.blocking.messages import Messages
from mainbus.blocking.opening import connect
from mainbus.blocking.ports import MessageChannel, MessageEvent, MessagePort
from mainbus.blocking.renderer import BlockingRenderer
from mainbus.blocking.streams import Items

__all__ = [
    "BlockingFrame",
    "BlockingGuest",
    "BlockingRenderer",
    "Items",
    "MessageChannel",
    "MessageEvent",
    "MessagePort",
    "Messages",
    "connect",
]
