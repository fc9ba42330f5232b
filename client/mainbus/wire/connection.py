"""One connection, without I/O: bytes in, packets out. The same class at both ends, told apart by its role.

Ground rules:

- `feed` and `packets` never raise for what the other end wrote. A fault ends the scan and stands in `failure`.
- A packet is a header tuple and a place in a buffer. Whoever forwards it slices the buffer; nothing else is made.
- Packets are counted from 1. A lane repeats packets that may not have left the main connection yet, and `skip`
  says up to which number they are to be dropped when they do arrive (docs/reference/protocol.md, "Lanes").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from mainbus.errors import MessageTooLarge, RemoteProtocolError
from mainbus.wire.packets import (
    CONTINUES,
    HEADER,
    HEADER_SIZE,
    KNOWN_FLAGS,
    MAX_PACKET,
    MORE,
    Head,
    Kind,
)
from mainbus.wire.states import CHANNELED, FRAGMENTED, MOVES, READABLE, Role, State

Message: TypeAlias = tuple[int, int, int, int, int, int, bytes, str, bytes]
"""kind, flags, peer, request, frame, value, name, channel, body: a packet, or its fragments put together."""

_CHANNELED: Final = frozenset(int(kind) for kind in CHANNELED)
_FRAGMENTED: Final = frozenset(int(kind) for kind in FRAGMENTED)
_FRAGMENT: Final = MORE | CONTINUES
_STREAMS: Final = {int(Kind.BROADCAST): 1, int(Kind.RESULT): 2, int(Kind.ERROR): 2}
_CHANNELS_KEPT: Final = 4096
_NO_PACKETS: Final = 1 << 60


def stream_of(kind: int) -> int:
    """Return which of a pair's streams a kind belongs to: fragments of one stream never mix.

    Messages are one, broadcasts another, replies the third, since replies go on where messages are paused.
    """
    return _STREAMS.get(kind, 0)


_unpack = HEADER.unpack_from
_texts: dict[bytes, str] = {}


def text_of(raw: bytes) -> str:
    """Return the text of a channel or name; the last few thousand are remembered.

    Raises:
        UnicodeDecodeError: `raw` is not UTF-8.
    """
    text = _texts.get(raw)
    if text is None:
        text = raw.decode()
        if len(_texts) >= _CHANNELS_KEPT:
            _texts.clear()
        _texts[raw] = text
    return text


class Connection:
    """The reading half of one connection and its state.

    Args:
        role: The end that this is.
        max_message: Bytes that the body of one message may have, all fragments together.
    """

    __slots__ = (
        "_at",
        "_data",
        "_expected",
        "_have",
        "_need",
        "_partials",
        "_pieces",
        "failure",
        "max_message",
        "received",
        "role",
        "skip",
        "state",
    )

    def __init__(self, role: Role, max_message: int) -> None:
        self.role = role
        self.max_message = max_message
        self.state = State.CONNECTED
        self.received = 0
        """Packets scanned so far, dropped ones included."""
        self.skip = 0
        """Packets up to this number have come another way and are dropped."""
        self.failure: RemoteProtocolError | None = None
        """The other end's fault, once there was one; nothing is scanned after it."""
        self._expected: frozenset[int] = READABLE[role][self.state]
        self._data = b""
        self._at = 0
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = HEADER_SIZE
        self._partials: dict[tuple[int, int], _Partial] | None = None

    # Public

    def sent(self, kind: Kind) -> None:
        """Note that a packet which may move the state was sent."""
        self._move(kind)

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        if self._pieces:
            # Joined once a whole packet is there, so that a packet in tiny pieces costs no quadratic copying.
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        elif self._at < len(self._data):
            data = self._data[self._at :] + data
        self._data = data
        self._at = 0

    @property
    def backlog(self) -> bool:
        """Whether bytes that were fed have not been scanned yet (those of an incomplete packet do not count)."""
        return self._at < len(self._data) and self.failure is None

    def packets(self, count: int = _NO_PACKETS, size: int = _NO_PACKETS) -> Iterator[tuple[Head, bytes, int]]:
        """Yield header, buffer and place of each whole packet, until `count` packets or `size` bytes have passed.

        The buffer is valid for as long as it is referenced.
        """
        data = self._data
        end = len(data)
        last = min(end, self._at + size)
        while self._at < last and count and self.failure is None:
            at = self._at
            if end - at < HEADER_SIZE:
                self._keep(HEADER_SIZE)
                return
            head = _unpack(data, at)
            length = head[0]
            if length > end - at and length <= MAX_PACKET:
                self._keep(length)
                return
            self.received += 1
            fault = self._fault(head, data, at)
            if fault is not None:
                self.fail(fault)
                return
            self._at = at + length
            count -= 1
            if self.received > self.skip:
                yield head, data, at
        if self._at == end:
            self._data = b""
            self._at = 0

    def fail(self, reason: str) -> None:
        """End the scan: what the other end wrote is against the protocol."""
        self.failure = RemoteProtocolError(reason)
        self._data = b""
        self._at = 0
        self._pieces.clear()
        self._partials = None

    def message(self, head: Head, data: bytes, at: int) -> Message | None:
        """Return the message that a packet completes; None while fragments are missing, or after a `failure`."""
        length, kind, flags, name_length, channel_length, peer, request, frame, value = head
        name_end = at + HEADER_SIZE + name_length
        body_start = name_end + channel_length
        body = data[body_start : at + length]
        if flags & CONTINUES:
            return self._continue(kind, flags, peer, body)
        name = data[at + HEADER_SIZE : name_end] if name_length else b""
        channel = text_of(data[name_end:body_start]) if channel_length else ""
        if flags & MORE:
            if self._partials is None:
                self._partials = {}
            first: Message = (kind, flags & ~MORE, peer, request, frame, value, name, channel, b"")
            self._partials[peer, stream_of(kind)] = _Partial(first, body)
            return None
        return (kind, flags, peer, request, frame, value, name, channel, body)

    def abort(self, peer: int) -> None:
        """Forget the unfinished messages of `peer`: their rest will never come."""
        if self._partials:
            for stream in range(3):
                self._partials.pop((peer, stream), None)

    # Private

    def _move(self, kind: int) -> None:
        state = MOVES[self.state].get(Kind(kind))
        if state is not None:
            self.state = state
            self._expected = READABLE[self.role][state]

    def _keep(self, need: int) -> None:
        """Put the bytes of an incomplete packet aside until `need` of them are there."""
        rest = self._data[self._at :]
        self._pieces = [rest]
        self._have = len(rest)
        self._need = need
        self._data = b""
        self._at = 0

    def _fault(self, head: Head, data: bytes, at: int) -> str | None:
        """Say what is wrong with a header, or None. Moves the state when the packet does."""
        length, kind, flags, name_length, channel_length, _, _, _, _ = head
        if not HEADER_SIZE + name_length + channel_length <= length <= MAX_PACKET:
            return f"packet of {length} bytes, with a name of {name_length} and a channel of {channel_length}"
        if kind not in self._expected:
            return f"unexpected packet of kind {_named(kind)} while {self.state.value}"
        if flags:
            if flags & ~KNOWN_FLAGS:
                return f"unknown flags {flags & ~KNOWN_FLAGS:#x}"
            if flags & _FRAGMENT and kind not in _FRAGMENTED:
                return f"packet of kind {_named(kind)} in fragments"
        if channel_length or name_length:
            start = at + HEADER_SIZE
            try:
                if name_length:
                    text_of(data[start : start + name_length])
                if channel_length:
                    text_of(data[start + name_length : start + name_length + channel_length])
            except UnicodeDecodeError:
                return "name or channel is not UTF-8"
        if kind in _CHANNELED and not channel_length and not flags & CONTINUES:
            return f"packet of kind {_named(kind)} without a channel"
        if kind < Kind.SEND:
            self._move(kind)
        return None

    def _continue(self, kind: int, flags: int, peer: int, body: bytes) -> Message | None:
        key = (peer, stream_of(kind))
        partial = self._partials.get(key) if self._partials else None
        if partial is None or partial.first[0] != kind:
            self.fail(f"fragment of kind {_named(kind)} without its first")
            return None
        partial.bodies.append(body)
        partial.size += len(body)
        if partial.size > self.max_message:
            self.fail(str(MessageTooLarge(partial.size, self.max_message)))
            return None
        if flags & MORE:
            return None
        assert self._partials is not None
        del self._partials[key]
        return (*partial.first[:8], b"".join(partial.bodies))


class _Partial:
    """A message of which fragments are missing."""

    __slots__ = ("bodies", "first", "size")

    def __init__(self, first: Message, body: bytes) -> None:
        self.first = first
        self.bodies = [body]
        self.size = len(body)


def _named(kind: int) -> str:
    try:
        return Kind(kind).name
    except ValueError:
        return str(kind)
