"""Packets: their kinds and flags, and messages, which are one packet or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum, IntFlag
from typing import Final, TypedDict, TypeVar, Unpack

from mainbus.wire import CODEC, heap
from mainbus.wire.header import HEADER, HEADER_SIZE, SPECIAL, Head, Message, front, text_of
from mainbus.wire.pieces import Body, Packet, Pieces, chunks

if CODEC == "compiled":
    from mainbus.wire.packets_fast import ConnectionCore, Taker, build, readdress, scan, whole
else:
    from mainbus.wire.header import ConnectionCore, Taker, build, readdress, scan, whole

__all__ = [
    "BROADCAST",
    "BY_NAME",
    "CHUNKS",
    "CONTINUES",
    "ERROR",
    "FREE",
    "HEADER",
    "HEADER_SIZE",
    "HOST",
    "INVOKE",
    "ITEM",
    "KIND_AT",
    "KNOWN_FLAGS",
    "LARGE",
    "MAIN",
    "MAX_FRAGMENT",
    "MAX_PACKET",
    "MAX_U32",
    "MORE",
    "POOLED",
    "RESULT",
    "SEND",
    "SPECIAL",
    "STREAM",
    "ConnectionCore",
    "Fields",
    "Flag",
    "Head",
    "Kind",
    "Message",
    "Taker",
    "build",
    "fragments",
    "message",
    "plain",
    "pure_fragments",
    "readdress",
    "readdressed",
    "scan",
    "text_of",
    "whole",
]

KIND_AT: Final = 4
"""Where in a packet its kind is."""

MAX_FRAGMENT: Final = 132 * 1024
"""Bytes of a body that one packet carries at most; a longer body travels in fragments, which let other pairs pass.

A little more than 128 KiB: large bytes come in powers of two, and what stands around them needs no packet of its own.
"""

LARGE: Final = 32 * 1024
"""Packets from this size on (bytes) are passed on as they lie in what was read, not copied."""

MAX_PACKET: Final = HEADER_SIZE + 255 + 255 + MAX_FRAGMENT

CHUNKS: Final = 2 * 1024 * 1024
"""Bytes of all that is read of one large message, or waits for one receiver, before it goes on."""

MAIN: Final = 0
"""The main process, as a peer."""

MAX_U32: Final = 0xFFFF_FFFF


class Kind(IntEnum):
    """What a packet is. The number is the one on the wire."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    GOODBYE = 4
    READY = 5
    LANE = 6
    REPEAT = 7
    ONCE = 8

    SEND = 16
    POST = 17
    SYNC = 18
    INVOKE = 19
    BROADCAST = 20
    QUERY = 21
    STREAM = 22

    RESULT = 24
    ERROR = 25
    CANCEL = 26
    ITEM = 27
    DEMAND = 28

    PAUSE = 32
    PAUSED = 33
    RESUME = 34
    CREDIT = 35
    WHO = 36

    PORT_MESSAGE = 40
    PORT_CREDIT = 41
    PORT_CLOSE = 42
    PORT_MOVED = 43
    PORT_DIRECT = 44
    PORT_SWITCH = 45

    UNDELIVERABLE = 48
    GAP = 49
    ABORT = 50
    BAD_MESSAGE = 51
    WATCH = 52
    JOINED = 53
    LEFT = 54
    FRAME = 55
    FRAME_CLOSED = 56
    GUEST = 57
    GUEST_CLOSED = 58
    HOST = 59
    POOL = 60
    POOL_READY = 61
    POOL_FREE = 62
    POOL_CLOSED = 63


class Flag(IntFlag):
    """Bits of the header's flags."""

    MORE = 1
    """Another fragment of this body follows."""
    CONTINUES = 2
    """Not the first fragment: it carries no channel, and what the first one said still holds."""
    BY_NAME = 4
    """The sender addressed its target by name."""
    HOST = 8
    """Between a guest and its host: the broker lets it pass from nobody else."""
    FREE = 16
    """Comes back after a port that has left, and costs no credit of the broker's: it had come past it."""
    POOLED = 32
    """Its body is in shared memory, and what it has in the place of that says where."""


# As plain numbers, for what every message passes: an attribute of an enum costs a lookup in Python.
SEND: Final = int(Kind.SEND)
INVOKE: Final = int(Kind.INVOKE)
STREAM: Final = int(Kind.STREAM)
BROADCAST: Final = int(Kind.BROADCAST)
RESULT: Final = int(Kind.RESULT)
ERROR: Final = int(Kind.ERROR)
ITEM: Final = int(Kind.ITEM)

MORE: Final = int(Flag.MORE)
CONTINUES: Final = int(Flag.CONTINUES)
BY_NAME: Final = int(Flag.BY_NAME)
HOST: Final = int(Flag.HOST)
FREE: Final = int(Flag.FREE)
POOLED: Final = int(Flag.POOLED)
KNOWN_FLAGS: Final = MORE | CONTINUES | BY_NAME | HOST | FREE | POOLED


Value = TypeVar("Value")


def plain(table: Mapping[int, Value]) -> dict[int, Value]:
    """Return a table by kind with plain numbers for keys, which are found faster than members of an enum."""
    return {int(kind): value for kind, value in table.items()}


class Fields(TypedDict, total=False):
    """The parts of a packet that most packets leave out."""

    flags: int
    frame: int
    value: int
    name: bytes
    channel: bytes


def message(
    kind: int,
    peer: int,
    request: int,
    body: Body,
    *,
    flags: int = 0,
    frame: int = 0,
    value: int = 0,
    name: bytes = b"",
    channel: bytes = b"",
) -> bytes | Iterator[Packet]:
    """Return a message's packet, or an iterator of its fragments if the body is too long for one."""
    if len(body) <= MAX_FRAGMENT and isinstance(body, bytes):
        return build(kind, peer, request, body, flags=flags, frame=frame, value=value, name=name, channel=channel)
    return fragments(kind, peer, request, body, flags=flags, frame=frame, value=value, name=name, channel=channel)


def pure_fragments(kind: int, peer: int, request: int, body: Body, **fields: Unpack[Fields]) -> Iterator[Packet]:
    """Yield the packets of a body that is too long for one.

    Every fragment repeats the addressing, so that a reader can match it to what it belongs to; only the first
    carries the channel and the value. The body is not copied.
    """
    heap.expect(CHUNKS)
    flags = fields.get("flags", 0)
    left = len(body)
    for chunk in chunks((body,) if isinstance(body, bytes) else body.parts, MAX_FRAGMENT):
        size = min(left, MAX_FRAGMENT)
        fields["flags"] = flags | (CONTINUES if left < len(body) else 0) | (MORE if size < left else 0)
        yield Pieces((front(kind, peer, request, size, **fields), *chunk))
        left -= size
        fields["channel"] = b""
        fields["value"] = 0


if CODEC == "compiled":
    from mainbus.wire.pieces_fast import fragments
else:
    fragments = pure_fragments


def readdressed(head: Head, data: bytes, at: int, peer: int, name: bytes) -> Packet:
    """Do as `readdress`, for a large packet: its body stays where it is."""
    length, kind, flags, name_length, channel_length, _, request, frame, value = head
    channel = at + HEADER_SIZE + name_length
    body = channel + channel_length
    start = front(
        kind,
        peer,
        request,
        at + length - body,
        flags=flags,
        frame=frame,
        value=value,
        name=name,
        channel=data[channel:body],
    )
    return Pieces((start, memoryview(data)[body : at + length]))
