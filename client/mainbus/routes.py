"""The way from one sender to one target, in order: pause, credit, and messages of more than one packet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from mainbus.cores import ROOM
from mainbus.nothing import NOTHING
from mainbus.outbox import Outbox
from mainbus.quick import RouteCore
from mainbus.wire.packets import BY_NAME, HEADER
from mainbus.wire.pieces import Packet, front_of


class Route(RouteCore):
    """What one sender has for one target and may not send yet.

    Five things hold a route up: the target is `paused`, a large message is still leaving, the next invoke has no
    credit, who has put the next message holds it, or the connection has enough to write. Whatever comes after waits
    behind it, so that the order within a pair never changes; other routes go on.
    """

    __slots__ = ("_replies", "_unsent", "listed", "owed", "size")

    _outbox: Outbox
    _queue: deque[Entry]

    def __init__(self, outbox: Outbox, credit: int) -> None:
        super().__init__(outbox, credit, NOTHING)
        self.size = 0
        """Bytes that wait here."""
        self.owed = 0
        """Those of them that are replies."""
        self.listed = False
        """Whether the outbox will ask for packets by itself."""
        self._unsent: dict[int, Entry] | None = None
        self._replies: deque[Entry] | None = None
        """The replies among what waits, in order; None before the first."""

    # Public

    def put(self, packet: bytes | Iterator[Packet], size: int, request: int = 0, *, is_free: bool = False) -> None:
        """Send a packet, or the packets of a large message, now or when its turn comes.

        Args:
            packet: One packet, or an iterator of packets that belong together.
            size: Bytes of all of it, about.
            request: The request ID of an invoke or stream; 0 for all others.
            is_free: Whether the request costs no credit: that of a stream.
        """
        cost = 1 if request and not is_free else 0
        if self.is_free and (not cost or self.has_credit) and isinstance(packet, bytes):
            if cost:
                self.charge(cost)
            self._outbox.put(packet)
            return
        entry = Entry(packet, size, request, cost)
        if request:
            if self._unsent is None:
                self._unsent = {}
            self._unsent[request] = entry
        self._append(entry)

    def hold(self, packet: bytes | Iterator[Packet], size: int) -> Entry:
        """Let a message wait in its place, and what comes after it behind it, until `let_go` of what is returned."""
        entry = Entry(packet, size, 0)
        entry.is_held = True
        self._append(entry)
        return entry

    def let_go(self, entry: Entry) -> None:
        """Let what `hold` has returned leave when its turn comes."""
        entry.is_held = False
        self._outbox.pull(self)

    def reply(self, packet: bytes | Iterator[Packet], size: int) -> None:
        """Send a reply: in its place, but while what is in front of it may not leave, it overtakes that.

        Whoever pauses, or owes the credit that an invoke in front waits for, may be waiting for this very reply.
        """
        if self.takes_replies and isinstance(packet, bytes):
            self._outbox.put(packet)
            return
        entry = Entry(packet, size, 0)
        entry.is_reply = True
        self._note_reply(entry)
        self._append(entry)

    def adopt(self, entry: Entry) -> None:
        """Send, when its turn comes, what has waited elsewhere."""
        if entry.request:
            if self._unsent is None:
                self._unsent = {}
            self._unsent[entry.request] = entry
        if entry.is_reply:
            self._note_reply(entry)
        self._append(entry)

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
        self._release(self._unsent.pop(request))
        self._outbox.pull(self)
        return True

    @property
    def takes_replies(self) -> bool:
        """Whether a reply may leave at once."""
        return not self._queue and self._outbox.queued < ROOM

    @property
    def idle(self) -> bool:
        """Whether nothing waits here and nothing is owed."""
        return not self._queue and not self.unanswered and not self.paused

    def put_behind(self, request: int, packet: bytes) -> bool:
        """Put a packet right behind an invoke of which a part has left; False if there is no such invoke."""
        for index, entry in enumerate(self._queue):
            if not entry.begun and not entry.given_back:
                break
            if entry.request == request:
                behind = Entry(packet, len(packet), 0)
                behind.given_back = True
                self._insert(index + 1, behind)
                return True
        return False

    def next_packet(self) -> Packet | None:
        """Return the next packet that may leave, or None while there is none."""
        while self._queue:
            if self.paused:
                return self._next_reply()
            entry = self._queue[0]
            if not entry.begun:
                if self._is_withdrawn(entry):
                    self._drop_first()
                    continue
                if entry.is_held:
                    return self._next_reply()
                if entry.cost and not self.has_credit:
                    if self.unanswered < self.credit:
                        self._outbox.starve(self)
                    return self._next_reply()
                self._begin(entry)
            packet = next(entry.packets, None)
            if packet is not None:
                return packet
            self._drop_first()
        return None

    def take(self) -> list[Entry]:
        """Return all that waits, in order, whatever holds it up: it leaves another way."""
        entries = []
        while self._queue:
            entry = self._queue[0]
            if not self._is_withdrawn(entry):
                if not entry.begun:
                    self._begin(entry)
                    entry.taken = True
                entries.append(entry)
            self._drop_first()
        return entries

    def give_back(self, entries: list[Entry]) -> None:
        """Put back in front what was taken, some of which may have arrived: none of it can be withdrawn any more."""
        for entry in reversed(entries):
            if entry.taken:
                entry.taken = entry.begun = False
                self.charge(-entry.cost)
            entry.given_back = True
            self._insert(0, entry)
            if entry.is_reply and self._replies is not None:
                self._replies.appendleft(entry)
                self.owed += entry.size
        self._outbox.pull(self)

    def reset(self) -> set[int]:
        """Drop what has left in part, lift the pause, and return the invokes that have not begun to leave.

        For a connection that is gone: the rest waits for the next one.
        """
        self._drop_replies()
        while self._queue and (self._queue[0].begun or self._queue[0].given_back):
            if not self._queue[0].begun:
                # Its answer, or its failure, gives back what was never charged again.
                self._begin(self._queue[0])
            self._drop_first()
        self.paused = False
        self.listed = False
        return set(self._unsent or ())

    def forget_ids(self) -> list[bytes]:
        """Drop what is addressed to an id and return the first packet of each; what has a name stays."""
        dropped: list[bytes] = []
        kept: deque[Entry] = deque()
        for entry in self._queue:
            first = entry.first()
            if first is not None and HEADER.unpack_from(first)[2] & BY_NAME:
                kept.append(entry)
                continue
            self._release(entry)
            # One that was cancelled while it waited has its outcome.
            if first is not None and not self._is_withdrawn(entry):
                dropped.append(first)
            if self._unsent:
                self._unsent.pop(entry.request, None)
        self._queue = kept
        return dropped

    # Private

    def _is_withdrawn(self, entry: Entry) -> bool:
        is_final = entry.begun or entry.given_back or not entry.request
        return not is_final and entry.request not in (self._unsent or ())

    def _begin(self, entry: Entry) -> None:
        entry.begun = True
        self.charge(entry.cost)
        if entry.request and self._unsent:
            self._unsent.pop(entry.request, None)

    def _next_reply(self) -> Packet | None:
        """Return the next packet of a reply that overtakes what is held."""
        while self._replies:
            entry = self._replies[0]
            packet = next(entry.packets, None)
            if packet is not None:
                return packet
            # It keeps its place in the queue, with nothing left to send.
            self._forget_reply()
            self._release(entry)
        return None

    def _note_reply(self, entry: Entry) -> None:
        if self._replies is None:
            self._replies = deque()
        self._replies.append(entry)
        self.owed += entry.size

    def _forget_reply(self) -> None:
        assert self._replies
        self.owed -= self._replies.popleft().size

    def _drop_replies(self) -> None:
        """Drop the replies: who asked on the connection that is gone waits no more."""
        if self._replies:
            self._replies.clear()
            self.owed = 0
            replies = [entry for entry in self._queue if entry.is_reply]
            self._queue = deque(entry for entry in self._queue if not entry.is_reply)
            for entry in replies:
                self._release(entry)

    def _append(self, entry: Entry) -> None:
        if self._queue is NOTHING:
            self._queue = deque()
        self._queue.append(entry)
        self.size += entry.size
        self._outbox.held += entry.size
        self._outbox.pull(self)

    def _insert(self, index: int, entry: Entry) -> None:
        if self._queue is NOTHING:
            self._queue = deque()
        self._queue.insert(index, entry)
        self.size += entry.size
        self._outbox.held += entry.size

    def _drop_first(self) -> None:
        entry = self._queue.popleft()
        if self._replies and self._replies[0] is entry:
            self._forget_reply()
        self.size -= entry.size
        self._outbox.held -= entry.size

    def _release(self, entry: Entry) -> None:
        """Free what an entry holds; an empty one is left."""
        self.size -= entry.size
        self._outbox.held -= entry.size
        entry.size = 0
        entry.packets = iter(())


class Entry:
    """One message that waits in a route."""

    __slots__ = ("begun", "cost", "given_back", "is_held", "is_reply", "packets", "request", "size", "taken")

    def __init__(self, packet: bytes | Iterator[Packet], size: int, request: int, cost: int = 0) -> None:
        self.packets: Iterator[Packet] = iter((packet,)) if isinstance(packet, bytes) else packet
        self.size = size
        self.request = request
        self.cost = cost
        """Invokes that it counts for: 1 for an invoke, 0 for all others."""
        self.is_reply = False
        self.is_held = False
        """Whether it may not leave yet, whatever its target says."""
        self.begun = False
        """Whether a part of it has left."""
        self.taken = False
        """Whether that part left by `take` only."""
        self.given_back = False
        """Whether it was taken, and may have arrived: of no use on another connection."""

    def first(self) -> bytes | None:
        """Return the first packet that has not left, or the start of it; it stays where it is."""
        packet = next(self.packets, None)
        if packet is not None:
            self.packets = chain((packet,), self.packets)
        return bytes(front_of(packet)) if packet is not None else None
