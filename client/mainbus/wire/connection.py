"""One connection, without I/O: bytes in, packets out. The same class at both ends, told apart by its role.

Ground rules:

- `feed` and `packets` never raise for what the other end wrote. A fault ends the scan and stands in `failure`.
- A packet is a header tuple and a place in a buffer. Whoever forwards it slices the buffer; nothing else is made.
- Packets are counted from 1. A lane repeats packets that may not have left the main connection yet, and `skip`
  says up to which number they are to be dropped when they do arrive (docs/reference/protocol.md, "Lanes").
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from mainbus.errors import MessageTooLarge, RemoteProtocolError
from mainbus.wire import heap
from mainbus.wire.clone import find_large
from mainbus.wire.fragments import PORTS, STREAMS, Progress, name_of, not_finished, stream_of, without_first
from mainbus.wire.growing import Growing
from mainbus.wire.packets import (
    CONTINUES,
    FREE,
    HEADER,
    HEADER_SIZE,
    HOST,
    KNOWN_FLAGS,
    MAX_FRAGMENT,
    MAX_PACKET,
    MORE,
    POOLED,
    SPECIAL,
    ConnectionCore,
    Head,
    Kind,
    Message,
    scan,
    text_of,
    whole,
)
from mainbus.wire.pieces import Body, Pieces
from mainbus.wire.port_table import ENTRY_SIZE, MAX_PORTS
from mainbus.wire.states import CHANNELED, FRAGMENTED, MOVES, READABLE, Role, State

_SEND: Final = int(Kind.SEND)
_ONCE: Final = int(Kind.ONCE)
_PORT_MESSAGE: Final = int(Kind.PORT_MESSAGE)
_CHANNELED: Final = frozenset(int(kind) for kind in CHANNELED)
_FRAGMENTED: Final = frozenset(int(kind) for kind in FRAGMENTED)
_CARRIERS: Final = frozenset({int(Kind.POST), int(Kind.PORT_MESSAGE)})
_POOLED: Final = frozenset({int(Kind.SEND), int(Kind.INVOKE), int(Kind.RESULT)})
_FRAGMENT: Final = MORE | CONTINUES
_SPECIAL: Final = frozenset(kind for kind in Kind if kind < Kind.SEND) - {Kind.READY}
_NO_PACKETS: Final = sys.maxsize
_TINY: Final = 4096
_LARGE: Final = 32 * 1024

_IN_PLACE: Final = 32 * 1024
"""From when on reading in place pays: to change protocols costs more than to copy less than this."""

_NEEDS: Final = {
    (role, state): bytes(
        SPECIAL if kind in _SPECIAL or kind not in kinds or kind in MOVES[state] else int(kind in CHANNELED)
        for kind in range(256)
    )
    for role, states in READABLE.items()
    for state, kinds in states.items()
}
"""What `scan` asks of each kind; those that may move the state are looked at one by one."""

_KINDS: Final = {
    (role, state): frozenset(int(kind) for kind in kinds)
    for role, states in READABLE.items()
    for state, kinds in states.items()
}

_MOVES: Final = {state: {int(kind): to for kind, to in moves.items()} for state, moves in MOVES.items()}

_NOTHING: Final = bytes([SPECIAL]) * 256

_unpack = HEADER.unpack_from


class Connection(ConnectionCore):
    """The reading half of one connection and its state.

    Args:
        role: The end that this is.
        max_message: Bytes that the body of one message may have, all fragments together; a table of ports in front of
            it is not counted.
        state: Where it stands.
    """

    __slots__ = ("role", "state")

    def __init__(self, role: Role, max_message: int, state: State = State.CONNECTED) -> None:
        super().__init__(_NEEDS[role, state])
        self.role = role
        self.state = state
        self.max_message = max_message

    # Public

    def sent(self, kind: Kind) -> None:
        """Note that a packet which may move the state was sent."""
        self._move(kind)

    @property
    def max_message(self) -> int:
        """Bytes that the body of one message may have, all fragments together."""
        return self._max_message

    @max_message.setter
    def max_message(self, limit: int) -> None:
        self._max_message = limit
        self._max_body = min(limit, MAX_FRAGMENT)

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        if self.failure is not None:
            return
        if type(data) is not bytes:
            # asyncio's Proactor loop hands out bytearrays, of which no slice could be a key.
            data = bytes(data)
        if self._pieces:
            # Joined once a whole packet is there, so that a packet in tiny pieces costs no quadratic copying.
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            behind = self._have - self._need
            if self._need > _LARGE and self._pieces[0][4] != _ONCE:
                # Only the end of the packet, not all that is behind it; but what a ONCE speaks of goes with it.
                cut = len(data) - behind
                self._pieces[-1] = memoryview(data)[:cut]
                self._next = (data, cut) if behind else None
            data = b"".join(self._pieces)
            self._pieces = None
        elif self.backlog:
            rest = self._data[self._at :]
            if self._next is not None:
                rest += self._next[0][self._next[1] :]
                self._next = None
            data = rest + data
        self._data = data
        self._at = 0

    @property
    def is_inside(self) -> bool:
        """Whether fragments of some message are missing."""
        return bool(self._partials)

    @property
    def is_between(self) -> bool:
        """Whether all packets that have begun to come were whole."""
        return not self._pieces and not self.backlog

    @property
    def scanned(self) -> int:
        """Bytes of what was fed that were scanned."""
        return self._at

    @property
    def backlog(self) -> bool:
        """Whether bytes that were fed have not been scanned yet (those of an incomplete packet do not count)."""
        return (self._at < len(self._data) or self._next is not None) and self.failure is None

    @property
    def held(self) -> int:
        """Bytes that were fed and are not yet part of a message that was returned."""
        parts = sum(partial.size for partial in self._partials.values()) if self._partials else 0
        behind = len(self._next[0]) - self._next[1] if self._next is not None else 0
        return len(self._data) - self._at + behind + sum(map(len, self._pieces or ())) + self.lent + parts

    def packets(
        self, count: int = _NO_PACKETS, size: int = _NO_PACKETS, weight: int = 1
    ) -> Iterator[tuple[Head, bytes, int]]:
        """Yield header, buffer and place of each whole packet, until `count` packets or `size` bytes have passed.

        Those that the `taker` takes are not yielded; each that is yielded counts as `weight` of them. The buffer is
        valid for as long as it is referenced.
        """
        data = self._data
        end = len(data)
        start = at = self._at
        last = min(end, at + size)
        taker = self.taker
        while at < last and count and self.failure is None:
            needs = self._needs
            if taker is not None:
                count = self.hand_over(last, count)
                at = self._at
                if count <= 0 or at >= last or self.failure is not None:
                    break
            # One that was not taken stands in front of others that may be.
            found = scan(data, at, last, -(-count // weight) if taker is None else 1, needs, self._max_body)
            for packet in found:
                self._at = at = packet[2] + packet[0][0]
                count = max(0, count - weight)
                self.received = number = self.received + 1
                if number > self.skip:
                    yield packet
                    if self._needs is not needs:
                        # The state has moved, or there was a fault.
                        break
            else:
                if at < last and count and (taker is None or not found):
                    number = self.received + 1
                    special = self._special(data, at)
                    if special is None:
                        return
                    at = self._at
                    if special[0][1] == _ONCE:
                        # It has no number of its own, and goes with the packet that it speaks of: in one scan, or
                        # another connection could bring the next one between them.
                        last = max(last, at + 1)
                    else:
                        self.received = number
                        count = max(0, count - weight)
                    if number > self.skip:
                        yield special
        if self._at == end:
            self._data, self._at = self._next or (b"", 0)
            self._next = None
            if self._data and count > 0:
                yield from self.packets(count, size - (end - start), weight)
        elif self._next is None and self.failure is None:
            self._keep_unfinished()

    def greeting(self) -> tuple[Head, bytes, int] | None:
        """Return the next packet of a handshake, as `packets` does; None if it is not all there, or there was a fault.

        In these states nothing is common, so there is nothing to scan for.
        """
        data = self._data
        found = self._special(data, self._at) if self._at < len(data) else None
        if found is not None:
            self.received += 1
            if self._at == len(data):
                self._data, self._at = self._next or (b"", 0)
                self._next = None
        return found

    def fail(self, reason: str) -> None:
        """End the scan: what the other end wrote is against the protocol."""
        self.failure = RemoteProtocolError(reason)
        self._needs = _NOTHING
        self._data = b""
        self._at = 0
        self._pieces = None
        self._next = None
        self._partials = None

    def message(self, head: Head, data: bytes, at: int) -> Message | None:
        """Return the message that a packet completes; None while fragments are missing, or after a `failure`."""
        flags = head[2]
        if not flags & CONTINUES:
            message = whole(head, data, at)
            # What never comes in fragments may stand between those of anybody: a cancel, a pause, the sender's end.
            if not flags & MORE and (not self._partials or head[1] not in _FRAGMENTED):
                return message
            return self._begin(message)
        length, kind, flags, name_length, channel_length, peer, request, _, _ = head
        start = at + HEADER_SIZE + name_length + channel_length
        return self._continue(kind, flags, peer, request, data, start, at + length)

    def abort(self, peer: int) -> None:
        """Forget the unfinished messages of `peer`: their rest will never come."""
        if self._partials:
            for stream in range(STREAMS):
                self._partials.pop((peer, stream), None)

    def take_unfinished(self, port: int) -> tuple[Message, list[bytes]] | None:
        """Forget the unfinished message of a port, and return its first fragment and all that has come of its body."""
        partial = self._partials.pop((port, PORTS), None) if self._partials else None
        return (partial.first, partial.bodies) if partial is not None else None

    # Private

    def _move(self, kind: int) -> None:
        state = _MOVES[self.state].get(kind)
        if state is not None:
            self.state = state
            self._needs = _NEEDS[self.role, state]

    def _special(self, data: bytes, at: int) -> tuple[Head, bytes, int] | None:
        """Return the packet at a place, which is not like most; None if it is not all there, or against the rules."""
        there = len(data) - at
        if there < HEADER_SIZE:
            self._keep(HEADER_SIZE)
            return None
        head = _unpack(data, at)
        length = head[0]
        if length > there and length <= MAX_PACKET:
            self._keep(length)
            return None
        fault = self._fault(head, data, at)
        if fault is not None:
            self.fail(fault)
            return None
        need = self._need_behind(at + length) if head[1] == _ONCE else 0
        if need:
            self._keep(length + need)
            return None
        self._at = at + length
        return head, data, at

    def _need_behind(self, at: int) -> int:
        """Return the size of the packet at a place if not all of it is there; 0 if it is."""
        there = len(self._data) - at
        if there < HEADER_SIZE:
            return HEADER_SIZE
        length: int = _unpack(self._data, at)[0]
        return length if there < length <= MAX_PACKET else 0

    def _keep_unfinished(self) -> None:
        """Put aside what is left if it is less than a packet: that waits for more, and not for its turn."""
        need = self._need_behind(self._at)
        if need:
            self._keep(need)

    def _keep(self, need: int) -> None:
        """Put the bytes of an incomplete packet aside until `need` of them are there."""
        assert self._next is None, "what is in front of other bytes was put together from its pieces"
        rest = self._data[self._at :]
        self._pieces = [rest]
        self._have = len(rest)
        self._need = need
        self.expects_large = need > _IN_PLACE and not self.in_place
        self._data = b""
        self._at = 0

    def _fault(self, head: Head, data: bytes, at: int) -> str | None:
        """Say what is wrong with a packet, or None. Moves the state when the packet does."""
        length, kind, flags, name_length, channel_length, _, _, _, value = head
        body = length - HEADER_SIZE - name_length - channel_length
        if not 0 <= body <= MAX_FRAGMENT:
            return f"packet of {length} bytes, with a name of {name_length} and a channel of {channel_length}"
        if kind not in _KINDS[self.role, self.state]:
            return f"unexpected packet of kind {name_of(kind)} while {self.state.value}"
        if flags & ~KNOWN_FLAGS:
            return f"unknown flags {flags & ~KNOWN_FLAGS:#x}"
        if flags & _FRAGMENT and kind not in _FRAGMENTED:
            return f"packet of kind {name_of(kind)} in fragments"
        if flags & HOST and kind != _SEND:
            return f"packet of kind {name_of(kind)} between a guest and its host"
        if flags & FREE and kind != _PORT_MESSAGE:
            return f"packet of kind {name_of(kind)} that is free of credit"
        if flags & POOLED and (kind not in _POOLED or flags & _FRAGMENT):
            return f"packet of kind {name_of(kind)} in shared memory"
        if kind >= _SEND and body > self._limit(kind, value):
            return str(MessageTooLarge(body, self._limit(kind, value)))
        name_end = at + HEADER_SIZE + name_length
        try:
            text_of(data[at + HEADER_SIZE : name_end])
            text_of(data[name_end : name_end + channel_length])
        except UnicodeDecodeError:
            return "name or channel is not UTF-8"
        if kind in _CHANNELED and not channel_length and not flags & CONTINUES:
            return f"packet of kind {name_of(kind)} without a channel"
        if kind < _SEND or kind in _MOVES[self.state]:
            self._move(kind)
        return None

    def _limit(self, kind: int, value: int) -> int:
        """Return how long a body may be, the table of ports in front of it included."""
        return self._max_message + (min(value, MAX_PORTS) * ENTRY_SIZE if kind in _CARRIERS else 0)

    def _begin(self, message: Message) -> Message | None:
        """Note the first fragment of a message; one that is whole is returned, if it comes between two messages."""
        kind, flags, peer = message[:3]
        key = (peer, stream_of(kind, flags))
        if self._partials and key in self._partials:
            self.fail(not_finished(kind))
        elif not flags & MORE:
            return message
        else:
            if self._partials is None:
                self._partials = {}
            first = (kind, flags & ~MORE, *message[2:8], b"")
            body = message[8]
            assert isinstance(body, bytes)
            self._partials[key] = _Partial(first, body, self._max_message)
        return None

    def _continue(
        self, kind: int, flags: int, peer: int, request: int, data: bytes, start: int, stop: int
    ) -> Message | None:
        key = (peer, stream_of(kind, flags))
        partial = self._partials.get(key) if self._partials else None
        if partial is None:
            self.fail(without_first(kind))
            return None
        fault = partial.fault(kind, request, stop - start, self._limit(kind, partial.first[5]))
        if fault is not None:
            self.fail(fault)
            return None
        partial.add(data, start, stop)
        if flags & MORE:
            return None
        assert self._partials is not None
        del self._partials[key]
        return (*partial.first[:8], partial.body())


class _Partial(Progress):
    """The fragments of a message that has come in part."""

    __slots__ = ("_front", "_large", "bodies", "first")

    def __init__(self, first: Message, body: bytes, limit: int) -> None:
        super().__init__(first[0], first[3], len(body))
        self.first = first
        self.bodies = [body]
        self._front = b""
        self._large: Growing | None = None
        """The large byte string that the first fragment ends in."""
        found = find_large(body) if len(body) > _LARGE and first[0] not in _CARRIERS else None
        if found is not None and _LARGE < found[1] <= limit:
            heap.expect(found[1])
            self._front = body[: found[0]]
            self._large = Growing(found[1])
            self._large.add(body, found[0], len(body))
            self.bodies = [b""]

    def add(self, data: bytes, start: int, stop: int) -> None:
        """Take in a fragment; tiny ones are joined, since each object costs more than the bytes in it."""
        if self._large is not None:
            end = min(stop, start + self._large.missing)
            self._large.add(data, start, end)
            start = end
        if start == stop:
            return
        if len(self.bodies[-1]) + stop - start <= _TINY:
            self.bodies[-1] += data[start:stop]
        else:
            self.bodies.append(data[start:stop])

    def body(self) -> Body:
        """Return all of it."""
        rest = b"".join(self.bodies)
        if self._large is None:
            return rest
        return Pieces((self._front, self._large.take(), rest))
