"""What every message on a port passes, compiled where that was to be had; else the same in Python."""

from typing import Final

from mainbus.quick import COMPILED
from mainbus.wire.packets import Taker

if COMPILED:
    from mainbus.port_core_fast import EndCore, LinkCore, QuickPorts, RemoteCore
else:
    from mainbus.port_core import EndCore, LinkCore, RemoteCore

__all__ = ["TAKER", "EndCore", "LinkCore", "RemoteCore"]

TAKER: Final[Taker | None] = QuickPorts() if COMPILED else None
"""Who takes what is common of what comes on a socket past the broker."""
