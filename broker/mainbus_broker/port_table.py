"""Where the ends of all channels are, and what is on its way to those that are between two owners.

An end belongs to an owner: a renderer, or the main process. When its owner lets it leave with a message, the table
tells that owner (PORT_MOVED), behind all that was sent to it, and waits for what had come there to be returned. Until
then what is posted waits here. So a message reaches the final owner behind all that was posted before it, however
often its port has moved meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from mainbus.port_end import MAX_UNTAKEN
from mainbus.wire.packets import FREE
from mainbus.wire.port_table import Entry

from mainbus_broker.port_end import Owner, PortEnd, Return, cost_of
from mainbus_broker.steps import Steps

log: Final = logging.getLogger("mainbus.broker")


class PortTable:
    """All channels of one broker.

    Args:
        max_message: Bytes that the body of one message may have.
    """

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message
        self._most = 2 * MAX_UNTAKEN + max_message
        self.broken = 0
        """Channels that were closed since somebody broke the rules, or posted too much on them."""
        self.closed_at_once = 0
        """Ends that arrived closed, since their receiver had as many as it may."""
        self.work: Final = Steps()
        """Ports are nested as deep as anybody likes, and one that leaves may bring others along."""

    # Public: what an owner says

    def depart(self, owner: Owner, entries: Iterable[Entry]) -> list[PortEnd]:
        """Take the ends from `owner` that leave with a message: they belong to nobody until `assign`."""
        with self.work:
            return [self._depart(owner, *entry) for entry in entries]

    def message(self, owner: Owner, number: int, flags: int, entries: Sequence[Entry], body: bytes) -> None:
        """Take what was posted on an end, or what comes back after one that has left: a message or a part of one."""
        if not entries:
            self._message(owner, number, flags, [], body)
            return
        # What comes back after those that leave may bring this very port along: not before the message is posted.
        with self.work:
            self._message(owner, number, flags, self.depart(owner, entries), body)

    def credit(self, owner: Owner, number: int, credit: int) -> Owner | None:
        """Tell whoever posts to an end that what it has posted was taken; returns who that is."""
        found = owner.ports.get(number)
        if not isinstance(found, PortEnd) or found.other is None:
            return None
        other = found.other
        # No more than it has had: else every packet with credit would be one for whoever posts.
        credit = min(credit, found.untaken)
        if credit:
            found.untaken -= credit
            other.credited(credit)
        return other.owner

    def close(self, owner: Owner, number: int) -> None:
        """Close an end, or note that nothing more comes back after one that has left."""
        found = owner.ports.get(number)
        if isinstance(found, Return):
            del owner.ports[number]
            found.done()
            self._deliver(found.end)
        elif found is not None:
            if found.is_unfinished:
                # The owner waits for the rest of a message, and must not for ever.
                owner.put_port_close(number)
            self.drop(found)

    def forget(self, owner: Owner) -> None:
        """Close all ends of an owner that is gone, behind what it had posted."""
        while owner.ports:
            # What comes back after an end may bring others to the same owner.
            for number, found in list(owner.ports.items()):
                if isinstance(found, Return):
                    del owner.ports[number]
                    self.drop(*found.lost())
                    self._deliver(found.end)
                else:
                    if found.other is not None:
                        # No other owner that it has had can have anything under way past the broker.
                        found.other.is_cut = found.direct is not None or found.poster is owner
                    self.drop(found)

    # Public: where ends go

    def assign(self, ends: Sequence[PortEnd], owner: Owner) -> list[Entry]:
        """Give ends to an owner; `arrived` is to follow when the message with this table has left for it."""
        return [self._assign(end, owner) for end in ends]

    def arrived(self, owner: Owner, numbers: Iterable[int]) -> None:
        """Let flow what has waited for ends, now that their owner knows them (they may have left it already)."""
        for number in numbers:
            end = owner.ports.get(number)
            if isinstance(end, PortEnd):
                end.is_known = True
                end.flush_credit()
                self._deliver(end)

    def drop(self, *ends: PortEnd) -> None:
        """Close ends that nobody gets any more; the other ends are told behind all that was posted."""
        doomed = list(ends)
        while doomed:
            end = doomed.pop()
            other, end.other = end.other, None
            if end.owner is not None:
                end.owner.ports.pop(end.number, None)
                doomed += self._arriving(end, end.owner)
                end.owner = None
            doomed += end.forget()
            if other is not None:
                other.other, other.last_poster = None, end.poster
                self._deliver(other)

    def poster(self, owner: Owner, number: int) -> Owner | None:
        """Return who has posted what came for an end, if it can be but one."""
        found = owner.ports.get(number)
        if not isinstance(found, PortEnd):
            return None
        return found.other.poster if found.other is not None else found.last_poster

    def held(self, owner: Owner) -> int:
        """Return the bytes that wait here, or in the main process, because of an owner."""
        ends = [found for found in owner.ports.values() if isinstance(found, PortEnd)]
        size = sum(end.used for end in ends if end.other is not None and end.other.is_here)
        doubtful, seen = [end.other for end in ends], set[PortEnd]()
        while doubtful:
            end = doubtful.pop()
            if end is not None and end not in seen:
                seen.add(end)
                size += end.waiting
                # Of those on their way nobody else has the other end, or none of them has an owner.
                for one in end.travelling():
                    doubtful += [each for each in (one, one.other) if each is not None and each.owner is None]
        return size

    # Private

    def _message(self, owner: Owner, number: int, flags: int, travelling: list[PortEnd], body: bytes) -> None:
        found = owner.ports.get(number)
        posted = (flags, travelling, body)
        if isinstance(found, Return):
            if found.end.other is not None:
                found.end.other.posts(owner)
            found.add(posted)
            self._deliver(found.end)
            if found.size > self._most:
                self._overrun(found.end)
        elif found is not None and found.other is not None and found.other not in travelling:
            if found.direct is not None and found.direct.has_switched(found):
                found.direct.dissolve()
            # What is posted costs credit, whatever is said of it.
            posted = (flags & ~FREE, travelling, body)
            found.used += cost_of(posted)
            found.posts(owner)
            found.other.post(posted)
            self._deliver(found.other)
            if found.used > self._most:
                self._overrun(found)
        else:
            # Nobody is there, nor for the ends that were to go there; to itself no end can go.
            self.drop(*travelling)

    def _arriving(self, end: PortEnd, owner: Owner) -> Iterator[PortEnd]:
        """Yield the ends whose message has gone to their owner in part: the rest will not come."""
        for number in end.arriving:
            found = owner.ports.get(number)
            if isinstance(found, PortEnd) and not found.is_known:
                yield found

    def _overrun(self, end: PortEnd) -> None:
        """Close a channel on which somebody has posted far more than can wait for its taker."""
        log.warning("a port was closed: more than %d bytes were posted on it and not taken", self._most)
        self._break(end)

    def _break(self, end: PortEnd) -> None:
        """Close both ends of a channel. Those who have them are told, and confirm it as any other close."""
        self.broken += 1
        ends = [each for each in (end, end.other) if each is not None]
        for each in ends:
            each.other = None
        for each in ends:
            doomed = each.forget()
            if each.owner is not None:
                doomed += self._arriving(each, each.owner)
                self._tell(each, each.owner)
            self.drop(*doomed)

    def _tell(self, end: PortEnd, owner: Owner) -> None:
        if end.is_known and not end.told:
            end.told = True
            owner.put_port_close(end.number, is_cut=end.is_cut)

    def _assign(self, end: PortEnd, owner: Owner) -> Entry:
        if len(owner.ports) >= owner.max_ports:
            self.closed_at_once += 1
            # Its receiver has as many as it may: it gets a closed one, and the other end is told.
            self.drop(end)
            return 0, 0
        return end.assign(owner)

    def _depart(self, owner: Owner, number: int, partner: int) -> PortEnd:
        found = owner.ports.get(number)
        if isinstance(found, PortEnd):
            end = found
        elif found is None and partner and partner not in owner.ports:
            end = PortEnd.pair(owner, partner)
        else:
            # Closed meanwhile. Whoever gets it is told at once.
            return PortEnd()
        end.leave(Return(end), owner, number)
        owner.put_port_moved(number)
        return end

    def _deliver(self, end: PortEnd) -> None:
        self.work(partial(self._deliver_now, end))

    def _deliver_now(self, end: PortEnd) -> None:
        owner = end.owner
        if end.is_dead:
            # What comes back after an end that was dropped, or broken, meanwhile.
            self.drop(*end.forget())
            if owner is not None:
                self._tell(end, owner)
            return
        if owner is None or not end.is_known:
            return
        while (posted := end.next_posted()) is not None:
            if not end.fits(posted, self._max_message):
                # Somebody who had it broke the rules; only this channel ends.
                log.warning("a port was closed: a part of a message does not fit to what came before it")
                self._break(end)
                self.drop(*posted[1])
                return
            end.untaken += cost_of(posted)
            owner.put_port_message(end, posted)
        if end.is_over:
            self._tell(end, owner)
