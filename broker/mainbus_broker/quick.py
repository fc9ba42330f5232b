"""What every message passes in the broker, compiled where that was to be had; else the same in Python."""

from mainbus.quick import COMPILED

if COMPILED:
    from mainbus_broker.peer_core_fast import Load, PeerCore
else:
    from mainbus_broker.peer_core import Load, PeerCore

__all__ = ["Load", "PeerCore"]
