"""What has arrived from one sender and may not be started yet.

Two things make arrivals wait, and both keep an order that the loop would break:

- A coroutine or a thread was given to the loop but its first step has not run: a plain function of a later message
  would start before it. Where the loop starts tasks eagerly this never happens for coroutines.
- A reply was handed to the code that awaits it, which runs only in a later turn: a listener called now would run
  before it, although its message was sent after the reply.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mainbus.nothing import NOTHING
from mainbus.quick import InboxCore
from mainbus.streaming import Producer

_TURN: Final = 128
"""Arrivals started in one turn of the loop, so that no sender keeps the others waiting."""

_HOPS_TO_AWAITER: Final = 4
"""Turns from a future's result to the code that awaits it, also through tasks, `gather` or `wait_for`."""

Start = Callable[[], bool]
"""Starts one arrival; False if it could not be finished and has put its rest back in front."""


class Running:
    """A handler under way."""

    __slots__ = ("cancelled", "late", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.cancelled = False
        self.late = False
        """Whether it was cancelled because its caller's deadline has passed."""

    def cancel(self) -> None:
        """Cancel it, once."""
        self.cancelled = True
        self.task.cancel()


class Inbox(InboxCore):
    """The arrivals of one sender, started in order.

    Args:
        loop: The loop on which everything runs.
        limit: Tasks of one-way listeners that may run at a time; further arrivals wait.
    """

    __slots__ = ("_invokes", "_loop", "_on_low", "_replies", "_scheduled", "handlers", "size", "streams")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, on_low: Callable[[], None] | None = None) -> None:
        super().__init__(limit, NOTHING)
        self.handlers: dict[int, Running] = {}
        """Coroutine handlers under way, by request ID."""
        self.streams: dict[int, Producer] = {}
        """Streams under way, by request ID."""
        self.size = 0
        """Bytes of the bodies that wait."""
        self._loop = loop
        self._on_low = on_low
        self._replies = 0
        """How many of those that wait are replies."""
        self._scheduled = False
        self._invokes: dict[int, bool | None] = {}
        """The invokes that wait: None, or once cancelled whether their caller's deadline had passed."""

    # Public

    @property
    def quiet(self) -> bool:
        """Whether nothing waits here."""
        return not self._waits and not self._begins and not self._waiting

    @property
    def count(self) -> int:
        """How many arrivals wait."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return self.quiet and not self.running and not self.handlers and not self.streams

    def requests(self) -> list[tuple[int, Running | Producer]]:
        """Return what is to be answered: invokes and streams under way, with their request IDs."""
        return [*self.handlers.items(), *self.streams.items()]

    def add(self, start: Start, size: int, request: int = 0, *, is_reply: bool = False) -> None:
        """Let an arrival of `size` bytes wait for its turn.

        Args:
            start: Starts it.
            size: Bytes of its body, about.
            request: The request ID of an invoke or a stream; 0 for all others.
            is_reply: Whether somebody awaits it.
        """
        if self._resolved:
            self._wait_for_awaiter()
        self._own_queue().append((start, size, request, is_reply))
        self._replies += is_reply
        self.size += size
        if request:
            self._invokes[request] = None
        self._schedule()

    def put_back(self, start: Start, request: int = 0) -> None:
        """Put the rest of the arrival that is being started in front of all others. `request`: as `add` has it."""
        self._own_queue().appendleft((start, self.starting, request, False))
        self.size += self.starting
        if request:
            self._invokes.setdefault(request, None)
        self._schedule()

    def hold(self) -> None:
        """Let everything wait until `release`."""
        self._waits += 1

    def release(self) -> None:
        """Undo one `hold`."""
        self._waits -= 1
        self._schedule()

    def hold_for_first_step(self) -> None:
        """Let plain functions wait until a task just created has begun."""
        self._begins += 1
        self._loop.call_soon(self._begun)

    def task_started(self) -> None:
        """Count the task of a one-way listener."""
        self.running += 1

    def task_ended(self) -> None:
        """Count it out."""
        self.running -= 1
        self._schedule()

    def waits_for(self, request: int) -> bool:
        """Whether an invoke waits here for its turn."""
        return request in self._invokes

    def cancel(self, request: int, *, late: bool = False) -> None:
        """Note that an invoke was cancelled, if it waits here. `late`: since its caller's deadline has passed."""
        if self._invokes.get(request, False) is None:
            self._invokes[request] = late

    def was_cancelled(self, request: int) -> bool | None:
        """Whether an invoke whose turn has come was cancelled too late for its caller; None: it was not cancelled."""
        return self._invokes.get(request)

    def forget(self) -> None:
        """Drop what waits but for replies: the sender is gone, and those who wait for its answers are not."""
        self._waiting = deque(entry for entry in self._waiting if entry[3])
        self._invokes.clear()
        self.size = sum(entry[1] for entry in self._waiting)

    def forget_replies(self) -> None:
        """Drop the replies that `forget` has left: who waited for them is told otherwise."""
        self._waiting = NOTHING
        self._replies = self.size = 0

    # Private

    def _own_queue(self) -> deque[tuple[Start, int, int, bool]]:
        if self._waiting is NOTHING:
            self._waiting = deque()
        return self._waiting

    def _wait_for_awaiter(self) -> None:
        # Only now that something has arrived behind a reply: most replies are followed by none, and turns cost.
        self._resolved = False
        self._waits += 1
        self._loop.call_soon(self._hop, _HOPS_TO_AWAITER - 1)

    def _hop(self, left: int) -> None:
        if left:
            self._loop.call_soon(self._hop, left - 1)
        else:
            self.release()

    def _begun(self) -> None:
        self._begins -= 1
        self._schedule()

    def _schedule(self) -> None:
        if self._scheduled or self._waits:
            return
        if self._replies if self.full else self._waiting:
            self._scheduled = True
            self._loop.call_soon(self._start_waiting)

    def _start_waiting(self) -> None:
        self._scheduled = False
        if self.full and not self._waits:
            self._start_replies()
        for _ in range(_TURN):
            if self._resolved:
                self._wait_for_awaiter()
            if not self._waiting or self._waits or self.running >= self.limit:
                break
            start, self.starting, request, is_reply = self._waiting.popleft()
            self._replies -= is_reply
            self.size -= self.starting
            if not start():
                break
            if request:
                self._invokes.pop(request, None)
        self._schedule()
        if self._on_low is not None:
            self._on_low()

    def _start_replies(self) -> None:
        """Let replies pass what waits for too many tasks to end: those tasks may wait for the code that awaits one."""
        replies = [entry for entry in self._waiting if entry[3]]
        self._waiting = deque(entry for entry in self._waiting if not entry[3])
        self._replies = 0
        for start, self.starting, _, _ in replies:
            self.size -= self.starting
            start()
