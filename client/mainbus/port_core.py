"""What every message touches of a port, of its way to the other end and of a socket past the broker.

Only fields, and a short way for the common message, where that is compiled: `port_core_fast` has the same, and it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mainbus.direct_link import DirectLink
    from mainbus.inbox import Inbox
    from mainbus.port_end import End, Posted
    from mainbus.port_loop import PortLoop
    from mainbus.port_remote import Remote
    from mainbus.ports import MessagePort
    from mainbus.quick import OutboxCore, RouteCore

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that may wait for one port's other end to take what was posted before."""

TURN: Final = 128
"""Messages of one port that are dispatched in one turn of the loop."""


class EndCore:
    """One end of a channel: what has arrived at it, and whether it may be taken."""

    __slots__ = (
        "_inbox",
        "_kept",
        "_scheduled",
        "apart",
        "is_over",
        "is_shut",
        "loop",
        "pulled",
        "queue",
        "remote",
        "size",
        "started",
    )

    def __init__(self, loop: PortLoop) -> None:
        self.loop = loop
        self.remote: Remote | None = None
        """The way to the other end over a connection, when it is not in this process."""
        self.queue: deque[Posted] = deque()
        """What has arrived and was not taken."""
        self.size = 0
        """Bytes of it."""
        self.apart = 0
        """How many of them do not count for the credit of the relay."""
        self.started = False
        self.pulled = False
        """Whether messages are taken by iteration, and not given to listeners."""
        self.is_shut = False
        """Whether this end was closed: nothing more is posted or arrives."""
        self.is_over = False
        """Whether the other end is gone: nothing more arrives."""
        self._kept: MessagePort | None = None
        self._inbox: Inbox | None = None
        self._scheduled = False

    def post_quickly(self, message: object) -> bool:
        """Post a message without ports past the broker, if nothing about it is unusual; False: nothing was done."""
        return False

    def dispatch_quickly(self, handle: MessagePort, count: int) -> int:
        """Give what waits to the listeners, as far as it is common, `count` at most; returns how many there were."""
        return 0


class RemoteCore:
    """The way from one end of a channel over a connection."""

    __slots__ = ("_held", "_size", "end", "link")

    def __init__(self, end: End) -> None:
        self.end = end
        self.link: DirectLink | None = None
        """The socket past the broker; None while there is none, or nothing is to be read there any more."""
        self._held: deque[tuple[bytes, list[End]]] = deque()
        """What waits for credit, or for the other way."""
        self._size = 0
        """Cost of it."""


class LinkCore:
    """The socket of one direct port: its credit both ways, and whether anything may be written or read."""

    __slots__ = (
        "_max_message",
        "_outbox",
        "_owed",
        "_remote",
        "_route",
        "_untaken",
        "_used",
        "has_left",
        "is_drained",
        "is_open",
    )

    def __init__(self, outbox: OutboxCore, route: RouteCore, max_message: int) -> None:
        self.is_open = False
        """Whether the other side has switched: nothing more comes by the relay before this ends."""
        self.has_left = False
        """Whether nothing more is written here."""
        self.is_drained = False
        """Whether nothing more is read here."""
        self._outbox: Any = outbox
        self._route: Any = route
        self._max_message = max_message
        self._remote: Remote | None = None
        self._used = 0
        """Cost of what was sent and not credited."""
        self._untaken = 0
        """Cost of what has come and was not credited: whoever obeys keeps it in bounds."""
        self._owed = 0
        """That of what was taken."""

    def post_held(self, held: deque[tuple[bytes, list[End]]]) -> int:
        """Send what is held, as far as it is common and may leave; returns what it would have cost at the relay."""
        return 0
