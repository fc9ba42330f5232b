"""The ports that travel with a message: a table in front of its body, as many entries as the header's value says.

An entry is two u32. To the broker: the number of the port's end, and the number that the other end has from now on if
both were here until now, else 0. From the broker: the number of the end, and the bytes that it has posted and that
were not taken yet. A number of 0 is a port that is closed already.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final, TypeAlias

from mainbus.wire.packets import CONTINUES, HEADER, HEADER_SIZE, MORE

ENTRY: Final = Struct(">II")
ENTRY_SIZE: Final = ENTRY.size

MAX_PORTS: Final = 1024
"""Ports that one message carries at most: their table is in its first fragment."""

Entry: TypeAlias = tuple[int, int]

CLOSED: Final[Entry] = (0, 0)
"""A port that is closed already."""


def pack(entries: Iterable[Entry]) -> bytes:
    """Return the table."""
    return b"".join(ENTRY.pack(*entry) for entry in entries)


def unpack(body: bytes, count: int) -> tuple[list[Entry], bytes] | None:
    """Return the entries in front of a body, and the body; None if it is too short for them, or they are too many."""
    size = count * ENTRY_SIZE
    if count > MAX_PORTS or len(body) < size:
        return None
    return list(ENTRY.iter_unpack(body[:size])), body[size:]


def is_fair(entry: Entry) -> bool:
    """Whether an entry to the broker has numbers that a renderer may give: the even ones are the broker's to give."""
    number, partner = entry
    return not partner or (number != partner and bool(number & partner & 1))


def without_ports(packet: bytes) -> bytes:
    """Return a packet whose ports are all closed: they were of a connection that is gone."""
    _, _, flags, name_length, channel_length, _, _, _, count = HEADER.unpack_from(packet)
    if not count or flags & (MORE | CONTINUES):
        return packet
    start = HEADER_SIZE + name_length + channel_length
    end = start + count * ENTRY_SIZE
    return packet[:start] + bytes(end - start) + packet[end:]
