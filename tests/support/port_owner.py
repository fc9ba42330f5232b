"""An owner of ports for tests of the broker's table: it keeps what it is told, in order, and does nothing by itself."""

from __future__ import annotations

from typing import Any

from mainbus.wire.packets import MORE
from mainbus.wire.port_table import Entry
from mainbus_broker.port_end import PortEnd, Posted, Return
from mainbus_broker.port_table import PortTable


class Box:
    """An owner.

    Args:
        table: The table of all ports.
        max_ports: How many it may have.
    """

    is_here = False

    def __init__(self, table: PortTable, max_ports: int = 4096) -> None:
        self.max_ports = max_ports
        self.ports: dict[int, PortEnd | Return] = {}
        self.told: list[tuple[Any, ...]] = []
        self._table = table
        self._last = 0

    def next_port(self) -> int:
        """Count up, evenly."""
        self._last += 2
        return self._last

    def put_port_message(self, end: PortEnd, posted: Posted) -> None:
        """Keep a message; ports that come with it are known as soon as all of it is there."""
        flags, ends, body = posted
        entries = self._table.assign(ends, self)
        self.told.append(("message", end.number, body, *entries))
        end.arriving += [number for number, _ in entries]
        if not flags & MORE:
            arriving, end.arriving = end.arriving, []
            self._table.arrived(self, arriving)

    def put_port_credit(self, number: int, credit: int) -> None:
        """Keep it."""
        self.told.append(("credit", number, credit))

    def put_port_close(self, number: int, *, is_cut: bool = False) -> None:
        """Keep it."""
        self.told.append(("close", number))

    def put_port_moved(self, number: int) -> None:
        """Keep it."""
        self.told.append(("moved", number))

    def take(self) -> list[tuple[Any, ...]]:
        """Return what was told since the last time."""
        told, self.told = self.told, []
        return told

    def bodies(self) -> list[object]:
        """Return the messages that were told since the last time, and nothing but messages."""
        told = self.take()
        assert all(each[0] == "message" for each in told), told
        return [each[2] for each in told]

    # What it says

    def give(self, other: Box, number: int, partner: int = 0) -> Entry:
        """Let an end leave to another owner, who knows it at once; returns its entry there."""
        ends = self._table.depart(self, [(number, partner)])
        (entry,) = self._table.assign(ends, other)
        self._table.arrived(other, [entry[0]])
        return entry

    def post(self, number: int, body: bytes, *entries: Entry, flags: int = 0) -> None:
        """Post on an end, or return something after it."""
        self._table.message(self, number, flags, entries, body)

    def close(self, number: int) -> None:
        """Close an end, or say that nothing more comes back after it."""
        self._table.close(self, number)


LIMIT = 1000
"""Bytes of one message's body, at most."""


def boxes(count: int = 3, limit: int = LIMIT) -> tuple[PortTable, list[Box]]:
    """Return a table and owners."""
    table = PortTable(limit)
    return table, [Box(table) for _ in range(count)]


def channel(a: Box, b: Box) -> None:
    """Let `a` have 3 and `b` have 2 of a channel, with nothing under way."""
    assert a.give(b, 1, 3) == (2, 0)
    a.close(1)
    assert a.take() == [("moved", 1)]
