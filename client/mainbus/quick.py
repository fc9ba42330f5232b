"""What every message passes, compiled where that was to be had; else the same in Python."""

from typing import Final

try:
    from mainbus.cores_fast import CallsCore, InboxCore, OutboxCore, RouteCore, TargetCore

    _compiled = True
except ImportError:
    from mainbus.cores import CallsCore, InboxCore, OutboxCore, RouteCore, TargetCore

    _compiled = False

__all__ = ["COMPILED", "CallsCore", "InboxCore", "OutboxCore", "RouteCore", "TargetCore"]

COMPILED: Final = _compiled
