"""What every message passes, compiled where that was to be had; else the same in Python."""

from typing import Final

from mainbus.wire import CODEC

if CODEC == "compiled":
    from mainbus.cores_fast import CallsCore, InboxCore, OutboxCore, RouteCore, TargetCore
    from mainbus.read_core_fast import ReadCore
else:
    from mainbus.cores import CallsCore, InboxCore, OutboxCore, RouteCore, TargetCore
    from mainbus.read_core import ReadCore

__all__ = ["COMPILED", "CallsCore", "InboxCore", "OutboxCore", "ReadCore", "RouteCore", "TargetCore"]

COMPILED: Final = CODEC == "compiled"
"""Whether common messages take the compiled way."""
