"""What a packet says whose body is in shared memory: where it is, as four numbers."""

from __future__ import annotations

from struct import Struct, error
from typing import Final, TypeAlias

NOT_TO: Final = 1
"""Value of a POOL_CLOSED: there is no pool to a renderer, any more or at all."""
NOT_FROM: Final = 2
"""There is none from it any more."""

CAN_READ: Final = 1
"""Value of a POOL: who says it can get a descriptor, to read what another one sends; 0: who says it asks for a pool."""
GIVEN_BACK: Final = 2
"""Who says it has no more use for its pool."""

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
