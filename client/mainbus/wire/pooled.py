"""What a packet says whose body is in shared memory: where it is, as four numbers."""

from __future__ import annotations

from struct import Struct, error
from typing import Final, TypeAlias

GONE: Final = 0
"""Value of a POOL_CLOSED: the renderer is gone, and with it the pools both ways."""
NOT_TO: Final = 1
"""There is no pool to it, any more or at all."""
NOT_FROM: Final = 2
"""There is none from it."""

PLACE: Final = Struct(">QQQQ")

Place: TypeAlias = tuple[int, int, int, int]
"""Where in the pool the body begins, and its length; where in the body its largest byte string does, and its length."""


def pack(place: Place) -> bytes:
    """Return the packet's body."""
    return PLACE.pack(*place)


def unpack(body: bytes, pool: int, limit: int) -> Place | None:
    """Read it; None if that is no place for a body.

    Args:
        body: The packet's body.
        pool: Bytes of the pool.
        limit: Bytes that a body may have.
    """
    try:
        place = start, length, large, size = PLACE.unpack(body)
    except error:
        return None
    return place if start + length <= pool and large + size <= length <= limit else None
