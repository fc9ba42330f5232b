"""The ports of the main process: an owner like any other, but for the connection."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from mainbus.errors import MessageTooLarge
from mainbus.port_registry import PortRegistry
from mainbus.ports import MessagePort
from mainbus.wire.packets import CONTINUES, FREE, MAX_U32, MORE
from mainbus.wire.port_table import Entry

from mainbus_broker.port_end import Owner, PortEnd, Posted, Return

if TYPE_CHECKING:
    from mainbus.port_end import End
    from mainbus.port_remote import Remote

    from mainbus_broker.port_table import PortTable


class MainPorts(PortRegistry):
    """The main process as the owner of ports.

    Args:
        table: The table of all ports.
        max_message: Bytes that the body of one message may have.
    """

    max_ports = MAX_U32
    """Nobody but the program itself limits what it has."""

    is_here = True
    """What goes to it stays in this process."""

    def __init__(self, table: PortTable, max_message: int) -> None:
        super().__init__(MessagePort)
        self.ports: dict[int, PortEnd | Return] = {}
        self._table = table
        self._max_message = max_message
        self._last_given = 0
        self._unfinished: dict[int, list[Posted]] = {}
        """Fragments of messages that have come in part."""

    # Public

    def receive(self, sender: Owner, entries: Sequence[Entry]) -> list[MessagePort]:
        """Return the ports that come with a message of `sender`."""
        ends = self._table.depart(sender, entries)
        entries = self._table.assign(ends, self)
        ports = self.arrive(entries)
        self._now_known(entries)
        return ports

    def close_all(self) -> None:
        """Close all ports: the broker has stopped."""
        super().close_all()
        self._unfinished.clear()
        self._table.forget(self)

    def send_away(self, ends: Sequence[End]) -> list[PortEnd]:
        """Let ends leave that nobody holds here any more."""
        with self._table.work:
            entries, behind = self._leave(ends)
            found = self._table.depart(self, entries)
            self._open(behind)
        return found

    # As an owner

    def next_port(self) -> int:
        """Return an even number that was never used."""
        self._last_given += 2
        return self._last_given

    def put_port_message(self, end: PortEnd, posted: Posted) -> None:
        """Take in a message, or a part of one, for an end."""
        flags = posted[0]
        parts = self._unfinished.setdefault(end.number, [])
        parts.append(posted)
        if flags & MORE:
            return
        del self._unfinished[end.number]
        ends = [end for part in parts for end in part[1]]
        body = b"".join(part[2] for part in parts)
        entries = self._table.assign(ends, self)
        self.message(end.number, entries, body, free=bool(parts[0][0] & FREE))
        self._now_known(entries)

    def put_port_credit(self, number: int, credit: int) -> None:
        """Take credit for an end."""
        # What it lets go must not come between a message that is about to leave and what goes in front of that.
        self._table.work(partial(self.credit, number, credit))

    def put_port_close(self, number: int, *, is_cut: bool = False) -> None:
        """Note that the other end is gone."""
        self._table.drop(*(end for part in self._unfinished.pop(number, ()) for end in part[1]))
        self.closed(number)

    def put_port_moved(self, number: int) -> None:
        """Send after an end that has left what had come for it."""
        self._table.work(partial(self._send_back, number))

    def _send_back(self, number: int) -> None:
        remote = self._remotes[number]
        self.send_after(remote)
        back = self.ports[number]
        assert isinstance(back, Return)
        back.posted.extend(
            (MORE | flags & FREE | (CONTINUES if index else 0), ends, body)
            for index, (flags, ends, body) in enumerate(self._unfinished.pop(number, ()))
        )
        self.put_close(remote, 0)

    # What the base class needs

    def check_size(self, size: int) -> None:
        """Raise if no message may have `size` bytes."""
        if size > self._max_message:
            raise MessageTooLarge(size, self._max_message)

    async def drain(self) -> None:
        """Return at once: here nothing waits to leave but for its credit."""

    def put_message(self, remote: Remote, body: bytes, ends: list[End], flags: int = 0) -> None:
        """Send a message on a port."""
        if not ends:
            self._table.message(self, remote.number, flags, (), body)
            return
        # In one go: whatever comes of what goes in front may have this very port leave, with the message still to go.
        with self._table.work:
            entries, behind = self._leave(ends)
            self._table.message(self, remote.number, flags, entries, body)
            self._open(behind)

    def put_credit(self, number: int, credit: int) -> None:
        """Send credit to the other end of a port."""
        self._table.credit(self, number, credit)

    def put_close(self, remote: Remote, code: int) -> None:
        """Close a port, and forget it."""
        if self._remotes.pop(remote.number, None) is remote:
            self._table.close(self, remote.number)

    # Private

    def _now_known(self, entries: Sequence[Entry]) -> None:
        self._table.arrived(self, [number for number, _ in entries])

    def _open(self, behind: Sequence[Remote]) -> None:
        for back in behind:
            self._table.work(back.open)

    def _leave(self, ends: Sequence[End]) -> tuple[list[Entry], list[Remote]]:
        entries, behind = [], []
        for end in ends:
            if end.remote is not None and end.remote.registry is self:
                # What was posted on it goes in front: behind it, it would be another owner's.
                end.remote.hurry()
                owed = end.owed()
                if owed:
                    self.put_credit(end.remote.number, owed)
        # Behind all of that: it may have had the partner of one of them.
        for end in ends:
            entry, back = self.depart(end)
            entries.append(entry)
            if back is not None:
                behind.append(back)
        return entries, behind
