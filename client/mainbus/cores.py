"""What every message touches of an outbox, a route, an inbox and the calls; `cores_fast` has the same, compiled.

Only fields, and the few steps that each message takes. What is rare stands in the classes that derive from these.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mainbus.wire.pieces import Packet

if TYPE_CHECKING:
    from mainbus.reply import Reply

ROOM: Final = 1024 * 1024
"""Bytes that may wait in an outbox; what is more waits in its route, where a pause can still hold it."""

CHUNK: Final = 256 * 1024
"""Bytes handed to a transport at once, at most (but for a single packet that is longer)."""

LARGE_CHUNK: Final = 576 * 1024
"""The same where some of it is large, and stays where it is: four fragments, and what is said between them."""

MAX_U32: Final = 0xFFFF_FFFF


class OutboxCore:
    """Packets in the order in which they leave."""

    __slots__ = (
        "_blocked",
        "_in_flight",
        "_in_pieces",
        "_loop",
        "_packets",
        "_ready",
        "_scheduled",
        "_starved",
        "_transport",
        "_waiters",
        "_when_low",
        "_widened",
        "calls",
        "handed",
        "max_calls",
        "queued",
        "written",
    )

    flush: Callable[[], None]

    def __init__(self, loop: asyncio.AbstractEventLoop, max_calls: int) -> None:
        self.calls = 0
        """Invokes that have left and are unanswered, to all targets together."""
        self.max_calls = max_calls
        self.queued = 0
        """Bytes that wait here, in order."""
        self.handed = 0
        """Bytes handed to the transport, ever."""
        self.written = 0
        """Packets handed to the transport, ever."""
        self._loop = loop
        self._transport: Any = None
        # Lists: they are short at the front of which something is taken, and an empty one is small.
        self._packets: list[Packet] = []
        self._in_pieces = 0
        """How many of them are in pieces."""
        self._ready: list[Any] | None = None
        self._starved: dict[Any, None] | None = None
        self._scheduled = False
        self._blocked = True
        self._in_flight: tuple[Packet, int] = (b"", 0)
        self._waiters: list[asyncio.Future[None]] | None = None
        self._when_low: tuple[int, Callable[[], None]] | None = None
        self._widened = False
        """Whether the system's buffer of this connection was made larger, for what is large."""

    def put(self, packet: bytes) -> None:
        """Queue one packet; all of one turn of the loop leave in one write."""
        self._packets.append(packet)
        self.queued += len(packet)
        self.flush_soon()

    def flush_soon(self) -> None:
        """Hand over what waits, and what is put meanwhile, with the next turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def hold(self) -> bool:
        """Let what is put wait for `let_go`, which must follow; False: it is going to leave anyhow, and needs none."""
        if self._scheduled:
            return False
        self._scheduled = True
        return True

    def let_go(self) -> None:
        """Let what was held leave now."""
        if self._packets or self._ready:
            self.flush()
        else:
            self._scheduled = False


class RouteCore:
    """The way to one target: whether the next packet may leave at once."""

    __slots__ = ("_outbox", "_queue", "credit", "paused", "unanswered")

    def __init__(self, outbox: OutboxCore, credit: int, queue: deque[Any]) -> None:
        self.credit = credit
        """Invokes that may be unanswered at a time."""
        self.unanswered = 0
        self.paused = False
        self._outbox: Any = outbox
        self._queue = queue

    @property
    def is_free(self) -> bool:
        """Whether a packet that costs no credit may leave at once."""
        return not self._queue and not self.paused and self._outbox.queued < ROOM

    @property
    def has_credit(self) -> bool:
        """Whether another invoke may be unanswered."""
        return self.unanswered < self.credit and bool(self._outbox.calls < self._outbox.max_calls)

    def charge(self, invokes: int) -> None:
        """Count invokes that leave."""
        self.unanswered += invokes
        self._outbox.calls += invokes


class CallsCore:
    """The invokes that have no answer yet, by their numbers."""

    __slots__ = ("_last", "_loop", "_pending")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: dict[int, Reply] = {}
        self._last = 0

    def next_request(self) -> int:
        """Return a request ID that is not in use."""
        request = self._last
        while True:
            request = request + 1 if request < MAX_U32 else 1
            if request not in self._pending:
                self._last = request
                return request


class TargetCore:
    """A registered callable: what calling it takes, as far as nothing about it is unusual."""

    __slots__ = ("fn", "is_plain", "least", "most", "takes_main", "takes_renderers")

    def __init__(
        self, fn: Callable[..., Any], least: int, most: int, is_plain: bool, takes_main: bool, takes_renderers: bool
    ) -> None:
        self.fn = fn
        self.least = least
        self.most = most
        self.is_plain = is_plain
        """Whether it is called here and now, any number of times, with whatever is sent."""
        self.takes_main = takes_main
        self.takes_renderers = takes_renderers


class InboxCore:
    """The arrivals of one sender: whether the next may start at once."""

    __slots__ = ("_begins", "_resolved", "_waiting", "_waits", "limit", "running", "starting")

    def __init__(self, limit: int, waiting: deque[Any]) -> None:
        self.limit = limit
        self.running = 0
        """Tasks of one-way listeners under way."""
        self.starting = 0
        """Bytes of the body that is being started."""
        self._waiting = waiting
        self._waits = 0
        self._resolved = False
        self._begins = 0

    @property
    def clear(self) -> bool:
        """Whether an arrival may be started at once, before anything else is asked."""
        return not (self._waits or self._begins or self._waiting or self._resolved)

    @property
    def full(self) -> bool:
        """Whether arrivals wait because too many tasks run."""
        return self.running >= self.limit

    @property
    def waiting(self) -> bool:
        """Whether a reply must wait too: arrivals wait in front of it, for a reason that passes by itself."""
        return bool(self._waiting) and not self.full

    def may_call(self, is_coroutine: bool) -> bool:
        """Whether a callable may be called now: tasks of coroutines keep their order among themselves."""
        if self._waits or self._resolved:
            return False
        return (is_coroutine or not self._begins) and self.running < self.limit

    def hold_for_awaiter(self) -> None:
        """Let what arrives from now on wait until code that awaits a reply just resolved has run."""
        self._resolved = True
