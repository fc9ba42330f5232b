"""The renderer's API without a loop, for programs of plain threads: `connect` and what it returns."""

from mainbus.blocking.messages import Messages
from mainbus.blocking.opening import connect
from mainbus.blocking.renderer import BlockingRenderer
from mainbus.blocking.streams import Items

__all__ = ["BlockingRenderer", "Items", "Messages", "connect"]
