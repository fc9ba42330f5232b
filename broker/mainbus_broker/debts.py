"""What processes owe for acts that keep others waiting: what they send next waits the longer.

Round robin by packets and bytes is fair where packets cost about the same. A message with a thousand ports costs as
much as thousands of others, in one piece; and so does a connection that has to be closed, again and again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mainbus_broker.listeners import Process

FAULT: Final = 0.25
"""Seconds for a connection that is refused, or closed for what it did."""

NOBODY: Final = 20e-6
"""Seconds for a message to nobody."""

UNREAD: Final = 1 / (16 * 1024 * 1024)
"""Seconds for a byte of an answer behind very many bytes of answers that were not read."""

FREE: Final = 0.25
"""Seconds that nobody who owes nothing has to wait for."""

MOST: Final = 1.0
"""Seconds that anybody waits at most."""

_PORT: Final = 50e-6
_PORT_BESIDE_PORT: Final = 0.4e-6
_KEPT: Final = 1024


def for_ports(count: int) -> float:
    """Return the seconds for a message with so many ports: many at once keep others waiting, one by one do not."""
    return count * (_PORT + count * _PORT_BESIDE_PORT)


class Debts:
    """When the processes of attackers, and of the careless, are served again; nobody else is in it.

    Args:
        loop: The loop whose time counts.
    """

    __slots__ = ("_loop", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._until: dict[int, float] = {}
        """By process ID, not by connection: a new connection pays no debts."""

    def __len__(self) -> int:
        return len(self._until)

    def charge(self, process: Process, seconds: float) -> bool:
        """Add to what a process owes; returns whether it has to wait now."""
        now = self._loop.time()
        if len(self._until) >= _KEPT:
            self._until = {pid: until for pid, until in self._until.items() if until > now}
        until = max(self._until.pop(process.pid, 0.0), now - FREE) + seconds
        self._until[process.pid] = min(until, now + MOST)
        return until > now

    def wait(self, process: Process) -> float:
        """Return the seconds until a process is served again; 0 for nearly everybody."""
        until = self._until.get(process.pid)
        return max(0.0, until - self._loop.time()) if until is not None else 0.0
