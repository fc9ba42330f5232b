"""One end of a channel, as the broker knows it: who has it, and what is on its way to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias

from mainbus.routes import Route
from mainbus.wire.credit import OVERHEAD
from mainbus.wire.fragments import Progress
from mainbus.wire.packets import CONTINUES, FREE, MORE, Kind
from mainbus.wire.port_table import Entry

if TYPE_CHECKING:
    from mainbus_broker.direct_pairs import Pair

Posted: TypeAlias = "tuple[int, list[PortEnd], bytes]"
"""Flags, ends that travel along, and body: a message, or a fragment of one."""

_TINY: Final = 4096
"""Bytes up to which fragments are joined: each costs more than the bytes in it, and only those are counted."""


class Owner(Protocol):
    """Who has ends of channels."""

    @property
    def ports(self) -> dict[int, PortEnd | Return]:
        """Its ends, and those that have left and after which something may still come back, by their numbers."""

    @property
    def max_ports(self) -> int:
        """How many of them it may have."""

    @property
    def is_here(self) -> bool:
        """Whether what goes to it stays in this process."""

    def next_port(self) -> int:
        """Return a number that it never had."""

    def put_port_message(self, end: PortEnd, posted: Posted) -> None:
        """Send it a message, or a part of one, for an end."""

    def put_port_credit(self, number: int, credit: int) -> None:
        """Send it credit for an end."""

    def put_port_close(self, number: int, *, is_cut: bool = False) -> None:
        """Tell it that the other end of one of its ends is gone, behind all that goes to that one.

        Args:
            number: The one of its own.
            is_cut: Whether the other one's owner is gone, too.
        """

    def put_port_moved(self, number: int) -> None:
        """Tell it that nothing more comes for an end that has left it, behind all that goes to that one."""


class Return:
    """What comes back from an owner that an end has left."""

    __slots__ = ("_part", "end", "is_done", "posted", "route", "size", "untaken")

    def __init__(self, end: PortEnd) -> None:
        self.end = end
        self.route = end.route
        """Where what had gone to that owner waits for room."""
        self.size = 0
        """Cost of what has come back."""
        self.untaken = end.untaken
        """Cost of what has neither come back nor been taken there."""
        self.posted: deque[Posted] = deque()
        self.is_done = False
        """Whether nothing more comes back."""
        self._part: deque[Posted] = deque()
        """The fragments of a message that has not come back whole: its owner may die."""

    def add(self, posted: Posted) -> None:
        """Take what has come back: a message, or a part of one."""
        self.size += size_of(posted)
        self.untaken -= cost_of(posted)
        _append(self._part, posted)
        if not posted[0] & MORE:
            self._accept()

    def done(self) -> None:
        """Note that nothing more comes back. A part of a message stays: the rest was not sent to that owner."""
        self._accept()
        self._end()

    def lost(self) -> list[PortEnd]:
        """Note that the owner is gone; returns the ends in the message that has not come back whole."""
        part, self._part = self._part, deque()
        self.untaken += sum(cost_of(posted) for posted in part)
        self.end.has_gap = True
        self._end()
        return _ends_in(part)

    def forget(self) -> list[PortEnd]:
        """Drop what has come back; returns the ends in it."""
        self._accept()
        found = _ends_in(self.posted)
        self.posted.clear()
        return found

    def waiting(self) -> Iterator[Posted]:
        """Return what has come back and waits."""
        return chain(self.posted, self._part)

    def _accept(self) -> None:
        self.posted.extend(self._part)
        self._part.clear()

    def _end(self) -> None:
        self.is_done = True
        if self.end.other is not None and self.untaken > 0:
            # Lost: nobody will ever take it, and it must not hold up who has posted it.
            self.end.other.credited(self.untaken)


def cost_of(posted: Posted) -> int:
    """Return what a message or a fragment costs of the credit."""
    return 0 if posted[0] & FREE else size_of(posted)


def size_of(posted: Posted) -> int:
    """Return what a message or a fragment counts for where it waits."""
    flags, _, body = posted
    return len(body) + (0 if flags & CONTINUES else OVERHEAD)


_PIECE: Final = 256
"""Bytes that each takes besides its body."""


def _append(queue: deque[Posted], posted: Posted) -> None:
    """Let a message or a fragment wait; a tiny fragment becomes one with what it continues."""
    flags, ends, body = posted
    if flags & CONTINUES and not ends and queue:
        first_flags, first_ends, first = queue[-1]
        if first_flags & MORE and first_flags & FREE == flags & FREE and len(first) + len(body) <= _TINY:
            queue[-1] = (first_flags & (CONTINUES | FREE)) | (flags & MORE), first_ends, first + body
            return
    queue.append(posted)


def _ends_in(queue: Iterable[Posted]) -> list[PortEnd]:
    return [end for _, ends, _ in queue for end in ends]


class PortEnd:
    """One end of a channel; a new one belongs to nobody, and its other end is gone."""

    __slots__ = (
        "_due",
        "_posters",
        "_progress",
        "_returns",
        "arriving",
        "channel",
        "direct",
        "has_gap",
        "is_cut",
        "is_dead",
        "is_known",
        "last_poster",
        "number",
        "other",
        "owner",
        "posted",
        "route",
        "told",
        "untaken",
        "used",
        "wants_direct",
    )

    def __init__(self) -> None:
        self.owner: Owner | None = None
        """None between two owners."""
        self.number = 0
        self.is_known = False
        """Whether the owner has its number."""
        self.other: PortEnd | None = None
        """The other end, unless that one is gone."""
        self.last_poster: Owner | None = None
        """Who alone had posted at the other end, now that it is gone."""
        self.posted: deque[Posted] = deque()
        """What was posted for it since it last left an owner."""
        self.used = 0
        """Cost of what was posted from here and not taken there."""
        self.untaken = 0
        """Cost of what has gone to the owner and was not taken."""
        self.is_dead = False
        """Whether nothing goes to it any more: it was dropped, or the channel broken."""
        self.is_cut = False
        """Whether the other end is gone with its owner's connection."""
        self.has_gap = False
        """Whether an owner that it has left was gone before it had returned all."""
        self.told = False
        """Whether its owner knows that the other end is gone."""
        self.route: Route | None = None
        """Where what goes to its owner waits for room."""
        self.arriving: list[int] = []
        """The numbers of the ends that arrive with a message that has gone to the owner in part."""
        self.channel = b""
        """The channel that it has come by to its owner, or that the other end has left by."""
        self.direct: Pair | None = None
        """What leads past the broker to the other end, or is about to."""
        self.wants_direct = False
        """Whether its owner has asked for that."""
        self._posters: tuple[Owner, ...] = ()
        self._returns: deque[Return] | None = None
        self._due = 0
        self._progress: Progress | None = None

    @classmethod
    def pair(cls, owner: Owner, partner: int) -> Self:
        """Return one end of a new channel, whose other one is `owner`'s under the number `partner`."""
        end, other = cls(), cls()
        end.other, other.other = other, end
        other.owner, other.number, other.is_known = owner, partner, True
        owner.ports[partner] = other
        return end

    # Where it is

    def leave(self, back: Return, owner: Owner, number: int) -> None:
        """Belong to nobody, and wait for what comes back from `owner`."""
        owner.ports[number] = back
        if self._returns is None:
            self._returns = deque()
        # What has come there was posted before all that waits here.
        self._returns.appendleft(back)
        if self.direct is not None:
            self.direct.dissolve(self)
        self.owner = self.route = self._progress = None
        self.wants_direct = False
        self.is_known = self.told = False
        self.untaken = 0
        # Its owner gives them back, with the part of the message that it has.
        self.arriving = []

    def assign(self, owner: Owner) -> Entry:
        """Belong to `owner`; returns its entry in the table that tells it."""
        self.owner = owner
        self.number = owner.next_port()
        owner.ports[self.number] = self
        return self.number, self.used

    # What goes to it

    def post(self, posted: Posted) -> None:
        """Let a message or a fragment wait for its owner."""
        _append(self.posted, posted)

    def next_posted(self) -> Posted | None:
        """Return the next message or fragment for its owner; None while there is none."""
        while (posted := self._next()) is not None:
            if not (self.has_gap and self._progress is None and posted[0] & CONTINUES):
                break
            # The rest of a message whose beginning, with the ends, was an owner's that is gone.
            if self.other is not None:
                self.other.credited(cost_of(posted))
        return posted

    def _next(self) -> Posted | None:
        returns = self._returns
        while returns:
            first = returns[0]
            if first.posted:
                return first.posted.popleft()
            if not first.is_done:
                return None
            returns.popleft()
        return self.posted.popleft() if self.posted and not self._grows else None

    @property
    def _grows(self) -> bool:
        """Whether all that waits is a tiny part from amid a message, to which more is to come."""
        flags, _, body = self.posted[0]
        is_tiny = len(body) < _TINY and flags & (MORE | CONTINUES) == MORE | CONTINUES
        return is_tiny and len(self.posted) == 1 and self.is_unfinished and self.other is not None

    def fits(self, posted: Posted, max_message: int) -> bool:
        """Whether a fragment continues the message before it, or a message begins where none is unfinished."""
        flags, _, body = posted
        if len(body) > max_message:
            # It was posted where no broker was known yet.
            return False
        if flags & CONTINUES:
            if self._progress is None or self._progress.fault(Kind.PORT_MESSAGE, 0, len(body), max_message):
                return False
        elif self._progress is not None:
            return False
        elif flags & MORE:
            self._progress = Progress(Kind.PORT_MESSAGE, 0, len(body))
        if not flags & MORE:
            self._progress = None
        return True

    @property
    def is_settled(self) -> bool:
        """Whether its owner has all that was posted for it, and nothing is between two owners."""
        return self.is_known and not self.posted and not self._returns and self._progress is None and not self.is_over

    @property
    def is_unfinished(self) -> bool:
        """Whether a part of a message has gone to its owner, and not the rest."""
        return self._progress is not None

    @property
    def is_over(self) -> bool:
        """Whether its owner has all, and is to be told that nothing more comes."""
        return self.other is None and not self.told and not self.posted and not self._returns

    def forget(self) -> list[PortEnd]:
        """Drop what waits for it, for good; returns the ends that travel with it."""
        if self.direct is not None:
            self.direct.dissolve(self)
        self.is_dead = True
        self._progress = None
        found = _ends_in(self.posted)
        self.posted.clear()
        for back in self._returns or ():
            found += back.forget()
        return found

    @property
    def is_here(self) -> bool:
        """Whether what goes to its owner stays in this process."""
        return self.owner is not None and self.owner.is_here

    @property
    def waiting(self) -> int:
        """Bytes of what was posted for it and has not gone to its owner, about."""
        return sum(_PIECE + len(body) for _, _, body in self._waiting())

    def travelling(self) -> list[PortEnd]:
        """Return the ends that wait with it."""
        return _ends_in(self._waiting())

    def _waiting(self) -> Iterator[Posted]:
        return chain(self.posted, *(back.waiting() for back in self._returns or ()))

    # What comes from it

    def posts(self, owner: Owner) -> None:
        """Note that `owner` has posted something from here, or has brought it."""
        if owner not in self._posters and len(self._posters) < 2:
            self._posters += (owner,)

    @property
    def poster(self) -> Owner | None:
        """Who has posted all that ever was, if it was one alone."""
        return self._posters[0] if len(self._posters) == 1 else None

    def credited(self, credit: int) -> None:
        """Take the credit for what was posted from here."""
        self.used = max(0, self.used - credit)
        if self.owner is None:
            return  # its next owner is told what is used
        if self.is_known:
            self.owner.put_port_credit(self.number, credit)
        else:
            self._due += credit

    def flush_credit(self) -> None:
        """Give its owner the credit that came while it did not know the number."""
        due, self._due = self._due, 0
        if due and self.owner is not None:
            self.owner.put_port_credit(self.number, due)
