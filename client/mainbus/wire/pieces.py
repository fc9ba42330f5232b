"""A run of bytes that lies in several places: what is large is passed on as it is, and not copied to be in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from mainbus.wire import CODEC

__all__ = ["Body", "Packet", "Pieces", "PurePieces", "chunks", "front_of"]


class PurePieces:
    """Bytes in several buffers, none of which anybody changes.

    Args:
        parts: The buffers, in order; a view is one of bytes.
    """

    __slots__ = ("_size", "parts")

    def __init__(self, parts: Sequence[bytes | memoryview]) -> None:
        self.parts = parts
        self._size = sum(map(len, parts))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)

    def __radd__(self, front: bytes) -> Pieces:
        return Pieces((front, *self.parts))


if CODEC == "compiled":
    from mainbus.wire.pieces_fast import Pieces
else:
    Pieces = PurePieces  # type: ignore[assignment, misc]

Body: TypeAlias = bytes | Pieces
"""What a message says."""

Packet: TypeAlias = bytes | Pieces
"""A packet; where it is in pieces, the first one has its header, name and channel."""


def front_of(packet: Packet) -> bytes | memoryview:
    """Return the buffer that has a packet's header, name and channel."""
    return packet if isinstance(packet, bytes) else packet.parts[0]


def chunks(parts: Sequence[bytes | memoryview], size: int) -> Iterator[list[memoryview]]:
    """Yield what lies in several places, `size` bytes at a time, as views."""
    chunk: list[memoryview] = []
    room = size
    for part in parts:
        view = memoryview(part)
        at = 0
        while at < len(view):
            piece = view[at : at + room]
            chunk.append(piece)
            at += len(piece)
            room -= len(piece)
            if not room:
                yield chunk
                chunk = []
                room = size
    if chunk:
        yield chunk
