"""The renderer's API without a loop, for programs of plain threads: `connect` and what it returns."""

from mainbus.blocking.frame import BlockingFrame
from mainbus.blocking.guest import BlockingGuest
from mainbus.blocking.messages import Messages
from mainbus.blocking.renderer import BlockingRenderer, connect

__all__ = ["BlockingFrame", "BlockingGuest", "BlockingRenderer", "Messages", "connect"]
