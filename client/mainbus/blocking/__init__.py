"""The renderer's API without a loop, for programs of plain threads: `connect` and what it returns."""

from mainbus.blocking.messages import Messages
from mainbus.blocking.ports import MessageChannel, MessagePort
from mainbus.blocking.renderer import BlockingRenderer, connect

__all__ = ["BlockingRenderer", "MessageChannel", "MessagePort", "Messages", "connect"]
