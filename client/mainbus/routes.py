"""The way from one sender to one target, in order: pause, credit, and messages of more than one packet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mainbus.outbox import ROOM, Outbox


class Route:
    """What one sender has for one target and may not send yet.

    Four things hold a route up: the target is `paused`, a large message is still leaving, the next invoke has no
    credit, or the connection has enough to write. Whatever comes after waits behind it, so that the order within a
    pair never changes; other routes go on.
    """

    __slots__ = ("_outbox", "_queue", "_replies", "_unsent", "credit", "listed", "paused", "size", "unanswered")

    def __init__(self, outbox: Outbox, credit: int) -> None:
        self.credit = credit
        """Invokes that may be unanswered at a time."""
        self.unanswered = 0
        self.paused = False
        self.size = 0
        """Bytes that wait here."""
        self.listed = False
        """Whether the outbox will ask for packets by itself."""
        self._outbox = outbox
        self._queue: deque[_Entry] = deque()
        self._unsent: set[int] | None = None
        self._replies: Route | None = None

    # Public

    def put(self, packet: bytes | Iterator[bytes], size: int, request: int = 0) -> None:
        """Send a packet, or the packets of a large message, now or when its turn comes.

        Args:
            packet: One packet, or an iterator of packets that belong together.
            size: Bytes of all of it, about.
            request: The request ID of an invoke, which costs one credit; 0 for all others.
        """
        if (
            not self._queue
            and not self.paused
            and self._outbox.queued < ROOM
            and (not request or self._may_invoke())
            and isinstance(packet, bytes)
        ):
            if request:
                self._charge()
            self._outbox.put(packet)
            return
        if request:
            if self._unsent is None:
                self._unsent = set()
            self._unsent.add(request)
        self._queue.append(_Entry(packet, size, request))
        self.size += size
        self._outbox.held += size
        self._outbox.pull(self)

    def reply(self, packet: bytes | Iterator[bytes], size: int) -> None:
        """Send a reply: in its place, but while the target is paused it overtakes what is held.

        Who pauses may be waiting for this very reply.
        """
        if self.paused or (self._replies is not None and not self._replies.idle):
            if self._replies is None:
                self._replies = Route(self._outbox, 0)
            self._replies.put(packet, size)
        else:
            self.put(packet, size)

    def answered(self) -> None:
        """Give back the credit of one invoke."""
        self.unanswered -= 1
        self._outbox.answered()
        if self._queue:
            self._outbox.pull(self)

    def pause(self) -> None:
        """Hold everything from here on, at a packet's end."""
        self.paused = True

    def resume(self) -> None:
        """Go on sending."""
        self.paused = False
        if self._queue:
            self._outbox.pull(self)

    def set_credit(self, credit: int) -> None:
        """Allow `credit` unanswered invokes from now on."""
        self.credit = credit
        if self._queue:
            self._outbox.pull(self)

    def withdraw(self, request: int) -> bool:
        """Take an invoke back; False if it has left, at least in part, and must be cancelled at the other end."""
        if not self._unsent or request not in self._unsent:
            return False
        self._unsent.discard(request)
        self._outbox.pull(self)
        return True

    @property
    def idle(self) -> bool:
        """Whether nothing waits here and nothing is owed."""
        return not self._queue and not self.unanswered and not self.paused

    def put_behind(self, request: int, packet: bytes) -> bool:
        """Put a packet right behind an invoke of which a part has left; False if there is no such invoke."""
        if not self._queue or not self._queue[0].begun or self._queue[0].request != request:
            return False
        self._queue.insert(1, _Entry(packet, len(packet), 0))
        self.size += len(packet)
        self._outbox.held += len(packet)
        return True

    def next_packet(self) -> bytes | None:
        """Return the next packet that may leave, or None while there is none."""
        while self._queue and not self.paused:
            entry = self._queue[0]
            if self._is_withdrawn(entry):
                self._drop_first()
                continue
            if not entry.begun:
                if entry.request and not self._may_invoke():
                    if self.unanswered < self.credit:
                        self._outbox.starve(self)
                    return None
                self._begin(entry)
            packet = next(entry.packets, None)
            if packet is not None:
                return packet
            self._drop_first()
        return None

    def take(self) -> Iterator[bytes]:
        """Yield all that waits, in order, whatever holds it up: it leaves another way."""
        while self._queue:
            entry = self._queue[0]
            if not self._is_withdrawn(entry):
                if not entry.begun:
                    self._begin(entry)
                yield from entry.packets
            self._drop_first()

    def reset(self) -> set[int]:
        """Drop what has left in part, lift the pause, and return the invokes that have not begun to leave.

        For a connection that is gone: the rest waits for the next one.
        """
        if self._queue and self._queue[0].begun:
            self._drop_first()
        self.paused = False
        self.listed = False
        self._replies = None
        return set(self._unsent or ())

    def forget(self) -> set[int]:
        """Drop all that waits and return the requests of the invokes among it that had not begun to leave."""
        requests, self._unsent = self._unsent or set(), None
        while self._queue:
            self._drop_first()
        return requests

    # Private

    def _may_invoke(self) -> bool:
        return self.unanswered < self.credit and self._outbox.calls < self._outbox.max_calls

    def _charge(self) -> None:
        self.unanswered += 1
        self._outbox.calls += 1

    def _is_withdrawn(self, entry: _Entry) -> bool:
        return bool(entry.request) and not entry.begun and entry.request not in (self._unsent or ())

    def _begin(self, entry: _Entry) -> None:
        entry.begun = True
        if entry.request:
            self._charge()
            assert self._unsent is not None
            self._unsent.discard(entry.request)

    def _drop_first(self) -> None:
        entry = self._queue.popleft()
        self.size -= entry.size
        self._outbox.held -= entry.size


class _Entry:
    """One message that waits in a route."""

    __slots__ = ("begun", "packets", "request", "size")

    def __init__(self, packet: bytes | Iterator[bytes], size: int, request: int) -> None:
        self.packets = iter((packet,)) if isinstance(packet, bytes) else packet
        self.size = size
        self.request = request
        self.begun = False
