"""Where the ends of all channels are, and what is on its way to those that are between two owners.

An end belongs to an owner: a renderer, or the main process. When its owner lets it leave with a message, the table
tells that owner (PORT_MOVED), behind all that was sent to it, and waits for what had come there to be returned. Until
then what is posted waits here. So a message reaches the final owner behind all that was posted before it, however
often its port has moved meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mainbus.wire.credit import OVERHEAD
from mainbus.wire.packets import CONTINUES
from mainbus.wire.port_table import Entry

from mainbus_broker.port_end import Owner, PortEnd, Return


class PortTable:
    """All channels of one broker.

    Args:
        max_message: Bytes that the body of one message may have.
    """

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message

    # Public: what an owner says

    def depart(self, owner: Owner, entries: Iterable[Entry]) -> list[PortEnd]:
        """Take the ends from `owner` that leave with a message: they belong to nobody until `assign`."""
        return [self._depart(owner, *entry) for entry in entries]

    def message(self, owner: Owner, number: int, flags: int, entries: Iterable[Entry], body: bytes) -> None:
        """Take what was posted on an end, or what comes back after one that has left: a message or a part of one."""
        travelling = self.depart(owner, entries)
        found = owner.ports.get(number)
        if isinstance(found, Return):
            found.posted.append((flags, travelling, body))
            self._deliver(found.end)
        elif found is not None and found.other is not None:
            found.has_posted = True
            found.used += len(body) + (0 if flags & CONTINUES else OVERHEAD)
            found.other.posted.append((flags, travelling, body))
            self._deliver(found.other)
        else:
            # Nobody is there any more, nor for the ends that were to go there.
            for end in travelling:
                self.drop(end)

    def credit(self, owner: Owner, number: int, credit: int) -> None:
        """Tell whoever posts to an end that what it has posted was taken."""
        found = owner.ports.get(number)
        if isinstance(found, PortEnd) and found.other is not None:
            found.other.credited(credit)

    def close(self, owner: Owner, number: int) -> None:
        """Close an end, or note that nothing more comes back after one that has left."""
        found = owner.ports.pop(number, None)
        if isinstance(found, Return):
            found.is_done = True
            self._deliver(found.end)
        elif found is not None:
            if found.is_unfinished:
                # The owner waits for the rest of a message, and must not for ever.
                owner.put_port_close(number)
            found.owner = None
            self.drop(found)

    def forget(self, owner: Owner) -> None:
        """Close all ends of an owner that is gone, behind what it had posted."""
        for number in list(owner.ports):
            self.close(owner, number)

    # Public: where ends go

    def assign(self, ends: Sequence[PortEnd], owner: Owner) -> list[Entry]:
        """Give ends to an owner; `arrived` is to follow when the message with this table has left for it."""
        return [self._assign(end, owner) for end in ends]

    def arrived(self, ends: Sequence[PortEnd]) -> None:
        """Let flow what has waited for ends, now that their owner knows them."""
        for end in ends:
            end.is_known = True
            end.flush_credit()
            self._deliver(end)

    def drop(self, end: PortEnd) -> None:
        """Close an end that nobody gets any more; the other end is told behind all that was posted."""
        other, end.other = end.other, None
        if end.owner is not None:
            end.owner.ports.pop(end.number, None)
            end.owner = None
        for travelling in end.forget():
            self.drop(travelling)
        if other is not None:
            other.other = None
            self._deliver(other)

    def poster(self, owner: Owner, number: int) -> Owner | None:
        """Return who has posted what came for an end, if that is still who could post."""
        found = owner.ports.get(number)
        other = found.other if isinstance(found, PortEnd) else None
        return other.owner if other is not None and other.has_posted else None

    # Private

    def _assign(self, end: PortEnd, owner: Owner) -> Entry:
        if len(owner.ports) >= owner.max_ports:
            # Its receiver has as many as it may: it gets a closed one, and the other end is told.
            self.drop(end)
            return 0, 0
        return end.assign(owner)

    def _depart(self, owner: Owner, number: int, partner: int) -> PortEnd:
        found = owner.ports.get(number)
        if isinstance(found, PortEnd):
            end = found
        elif found is None and partner and number and partner not in owner.ports:
            end = PortEnd.pair(owner, partner)
        else:
            # Closed meanwhile. Whoever gets it is told at once.
            return PortEnd()
        end.leave(Return(end), owner, number)
        owner.put_port_moved(number)
        return end

    def _deliver(self, end: PortEnd) -> None:
        owner = end.owner
        if end.is_dead:
            # What comes back after an end that was dropped meanwhile.
            for travelling in end.forget():
                self.drop(travelling)
            return
        if owner is None or not end.is_known:
            return
        while (posted := end.next_posted()) is not None:
            if not end.fits(posted, self._max_message):
                # Somebody who had it broke the rules; only this channel ends.
                for travelling in posted[1]:
                    self.drop(travelling)
                owner.put_port_close(end.number)
                self.drop(end)
                return
            owner.put_port_message(end, posted)
        if end.is_over:
            end.told = True
            owner.put_port_close(end.number)
