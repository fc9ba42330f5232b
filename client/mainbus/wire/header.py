"""The packet: a fixed header, a name, a channel, a body. Built, found among what was read, taken apart.

``packets_fast`` does the same compiled, and ``packets`` chooses; what packets mean is understood elsewhere.

Layout, big-endian (docs/reference/protocol.md is the specification):

    0  u32  length of the packet, this header included
    4  u8   kind
    5  u8   flags
    6  u8   length of the name
    7  u8   length of the channel
    8  u32  peer: to the broker the target, from the broker the source; 0 is the main process
   12  u32  request, which a reply repeats
   16  u32  frame
   20  u32  value, whose meaning depends on the kind
   24  name, channel, body

The name stands before the channel so that forwarding replaces header and name and takes the rest as one slice.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final, TypeAlias

from mainbus.errors import RemoteProtocolError
from mainbus.wire.pieces import Body

HEADER: Final = Struct(">IBBBBIIII")
HEADER_SIZE: Final = HEADER.size

Head: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]
"""length, kind, flags, name length, channel length, peer, request, frame, value."""

Message: TypeAlias = tuple[int, int, int, int, int, int, bytes, str, Body]
"""kind, flags, peer, request, frame, value, name, channel, body: a packet, or its fragments put together."""

SPECIAL: Final = 2
"""Of a kind: packets of it are looked at one by one, if they may be read at all."""

_BY_NAME: Final = 4
"""The flag that most packets with flags have."""

_TEXTS_KEPT: Final = 4096
_pack = HEADER.pack
_unpack = HEADER.unpack_from
_texts: dict[bytes, str] = {}


class Taker:
    """Who takes common packets as they are found, one by one; where nothing is compiled nobody does."""

    __slots__ = ()


class ConnectionCore:
    """What was fed to a connection, and how far it was scanned."""

    __slots__ = (
        "_at",
        "_data",
        "_have",
        "_max_body",
        "_max_message",
        "_need",
        "_needs",
        "_next",
        "_partials",
        "_pieces",
        "expects_large",
        "failure",
        "in_place",
        "lent",
        "owner",
        "received",
        "skip",
        "taker",
    )

    def __init__(self, needs: bytes) -> None:
        self.received = 0
        """The number of the last packet scanned, dropped ones included."""
        self.skip = 0
        """Packets up to this number have come another way and are dropped."""
        self.taker: Taker | None = None
        """Who takes common packets before anybody else sees them; None: nobody does."""
        self.expects_large = False
        """Whether the rest of something large is about to come: set when that is found, for whoever reads."""
        self.in_place = False
        """Whether it is read to where it stays already."""
        self.lent = 0
        """Bytes that were made room for, and are being read to there."""
        self.owner: object = None
        """Whose packets they are, for the taker."""
        self._needs = needs
        self._data = b""
        self._at = 0
        self._max_body = self._max_message = 0
        self._pieces: list[bytes | memoryview] | None = None
        """What has come of a packet that is not all there; None if there is no such."""
        self._have = 0
        """Bytes of that."""
        self._need = 0
        """Bytes of which it, or at least its header, is known to be."""
        self._next: tuple[bytes, int] | None = None
        """What was fed behind `_data`, and where in it the next packet begins."""
        self.failure: RemoteProtocolError | None = None
        """The other end's fault, once there was one; nothing is scanned after it."""
        self._partials: dict[tuple[int, int], Any] | None = None

    def take_in(self, data: bytes, count: int, size: int) -> int:
        """Take bytes as they arrive, and hand their packets over; returns how many more there may be.

        Returns:
            Packets that may still be scanned, if some are left, whole or not; -1 if none is.
        """
        self.feed(data)
        return count

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        raise NotImplementedError

    def hand_over(self, last: int, count: int) -> int:
        """Hand packets to the taker while it takes them; returns how many more there may be, or -1 if it has enough.

        Args:
            last: Where none may begin any more.
            count: How many there may be.
        """
        return count


def build(
    kind: int,
    peer: int = 0,
    request: int = 0,
    body: bytes | memoryview = b"",
    *,
    flags: int = 0,
    frame: int = 0,
    value: int = 0,
    name: bytes = b"",
    channel: bytes = b"",
) -> bytes:
    """Build one packet; the body must fit into it (`MAX_FRAGMENT` bytes)."""
    head = _pack(
        HEADER_SIZE + len(name) + len(channel) + len(body),
        kind,
        flags,
        len(name),
        len(channel),
        peer,
        request,
        frame,
        value,
    )
    return b"".join((head, name, channel, body))


def front(
    kind: int,
    peer: int,
    request: int,
    size: int,
    *,
    flags: int = 0,
    frame: int = 0,
    value: int = 0,
    name: bytes = b"",
    channel: bytes = b"",
) -> bytes:
    """Build a packet without its body, which has `size` bytes."""
    length = HEADER_SIZE + len(name) + len(channel) + size
    return _pack(length, kind, flags, len(name), len(channel), peer, request, frame, value) + name + channel


def scan(data: bytes, at: int, last: int, count: int, needs: bytes, max_body: int) -> list[tuple[Head, bytes, int]]:
    """Return header, buffer and place of the packets from `at` on that have nothing special about them.

    Args:
        data: What was read.
        at: Where a packet begins.
        last: Where none may begin any more.
        count: How many to find at most.
        needs: By kind: 0, or 1 if it needs a channel, or `SPECIAL`.
        max_body: Bytes that a body may have.

    Returns:
        Packets that are whole, right and of one piece, up to the first other one.
    """
    found: list[tuple[Head, bytes, int]] = []
    end = len(data)
    while at < last and count and end - at >= HEADER_SIZE:
        head = _unpack(data, at)
        length, kind, flags, name_length, channel_length, _, _, _, _ = head
        text = at + HEADER_SIZE
        body = text + name_length + channel_length
        after = at + length
        if (
            after > end
            or (flags and flags != _BY_NAME)
            or not body <= after <= body + max_body
            or needs[kind] > (channel_length > 0)
            or (body != text and not data[text:body].isascii())
        ):
            break
        found.append((head, data, at))
        at = after
        count -= 1
    return found


def whole(head: Head, data: bytes, at: int) -> Message:
    """Take a packet apart that is a message of its own."""
    length, kind, flags, name_length, channel_length, peer, request, frame, value = head
    name_end = at + HEADER_SIZE + name_length
    body = name_end + channel_length
    name = data[at + HEADER_SIZE : name_end] if name_length else b""
    channel = text_of(data[name_end:body]) if channel_length else ""
    return (kind, flags, peer, request, frame, value, name, channel, data[body : at + length])


def readdress(data: bytes, at: int, peer: int, name: bytes) -> bytes:
    """Return a whole packet with another peer and name, and all the rest as it is."""
    length, kind, flags, name_length, channel_length, _, request, frame, value = _unpack(data, at)
    head = _pack(length - name_length + len(name), kind, flags, len(name), channel_length, peer, request, frame, value)
    return b"".join((head, name, data[at + HEADER_SIZE + name_length : at + length]))


def text_of(raw: bytes) -> str:
    """Return the text of a channel or name; the last few thousand are remembered.

    Raises:
        UnicodeDecodeError: `raw` is not UTF-8.
    """
    text = _texts.get(raw)
    if text is None:
        text = raw.decode()
        if len(_texts) >= _TEXTS_KEPT:
            _texts.clear()
        _texts[raw] = text
    return text
