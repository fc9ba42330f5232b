"""The sans-I/O core that both ends share: packets, states, structured clone. No clock, no socket, no loop.

Attributes:
    CODEC: "compiled", or "pure" where structured clone, packets and messages are handled in Python: not all of it was
        compiled, or MAINBUS_PURE is set.
"""

from importlib import import_module
from typing import Final

try:
    import_module("mainbus.wire.clone_fast")
    import_module("mainbus.wire.packets_fast")
    import_module("mainbus.wire.pieces_fast")
    import_module("mainbus.cores_fast")
    _codec = "compiled"
except ImportError:
    _codec = "pure"

CODEC: Final = _codec
